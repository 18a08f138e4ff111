"""Three instances at different places of the way, made inside a running stack by `manage.py shell`.

One whose onboarding stands before joining, one that was made and joined elsewhere, and one that the portal has joined
and that holds everything that has to be deleted before its account can leave.
"""

from __future__ import annotations

import time
from datetime import timedelta

import httpx
from django.conf import settings
from django.utils import timezone

from onboarding.models import AmcAccount, AwsConnection, Membership, Person, Request, Role, Step
from onboarding.services import from_file, requests
from simulator.people import LUMEN
from tests.aws_roles import make_portal_roles
from tests.hanging import Hanging
from tests.lifecycle.conftest import Lifecycle, settle
from tests.simulated import Amazon, connect

JOINING, PARTNER, ELSEWHERE, LEAVING = "121212121212", "343434343434", "565656565656", "787878787878"
SECONDS = 90
FILE = f"""
account: {LUMEN.id}
steps:
  requirements:
    eligibility: {{agreement: yes, campaigns: yes, advertisers: yes}}
    aws: {{aws_account: yes, aws_services: yes, two_buckets: yes}}
  create-instance:
    name: {{name: Summer Sale}}
    advertiser: {{name: Lumen}}
    aws-account: {{account_id: {JOINING}}}
    parties: {{multi: yes}}
    partners: {{account_1: {PARTNER}, name_1: Loyalty data}}
  advertisers:
    when: {{when: later}}
"""


class Here(Lifecycle):
    """An instance in the stack, its AWS accounts connected by the roles of the template."""

    def connect(self, account: str) -> None:
        connection = AwsConnection(account=self.account, aws_account_id=account, state=AwsConnection.State.WORKING)
        made = make_portal_roles(self.amazon.url, account, connection.external_id)
        connection.provisioner_role_arn, connection.reader_role_arn = made
        # The health of the roles is not due to be read.
        connection.checked_at, connection.next_check_at = timezone.now(), timezone.now() + timedelta(days=1)
        connection.save()


def make() -> None:
    """The AMC account "Lumen Media Agency" with its three instances; who signed in before gets the roles."""
    amazon = Amazon(settings.AMC_URL)
    amazon.control("POST", "settings", role_delay=0)
    account = connect(amazon, account=LUMEN)
    AmcAccount.objects.filter(pk=account.pk).update(instances_read_at=timezone.now())
    analyst, approver = (Person.objects.get(name=name) for name in ("Ana Lindqvist", "Omar Haddad"))
    Role.objects.create(person=analyst, account=account, name="analyst")
    Role.objects.create(person=approver, account=account, name="approver")
    first = Here(amazon, account, analyst, approver, primary=JOINING)
    for aws_account in (JOINING, PARTNER):
        first.connect(aws_account)
    run = from_file.onboard(from_file.read(FILE), person=analyst, now=timezone.now())
    # While the workers make it, the other two are made.
    elsewhere = Here(amazon, account, analyst, approver, primary=ELSEWHERE)
    elsewhere.made("Winter Archive")
    settle(elsewhere, elsewhere.joins(ELSEWHERE), bucket="winter-results")
    elsewhere.instance.members.all().delete()
    Membership.objects.all().delete()
    leaving = Here(amazon, account, analyst, approver, primary=LEAVING)
    leaving.made("Autumn Test")
    Hanging(amazon.url, LEAVING, leaving.joins(LEAVING).membership_id, leaving.map_table)
    began = time.monotonic()
    while not Step.objects.filter(run=run, key="aws-access", state="ready").exists():
        from_file.go_on(from_file.read(FILE), run, person=analyst, now=timezone.now())
        from_file.submit_ready(run, person=analyst, now=timezone.now())
        for request in Request.objects.filter(step__run=run, state="open"):
            requests.approve(person=approver, request=request, digest=request.digest, now=timezone.now())
        if time.monotonic() - began > SECONDS:
            raise httpx.TimeoutException(f"Not before joining after {SECONDS} s: {list(run.steps.values_list())}")
        time.sleep(0.1)
