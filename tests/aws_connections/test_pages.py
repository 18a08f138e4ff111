"""The pages of AWS connections, as an admin and as a partner's own person."""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from onboarding.models import (
    AmcAccount,
    AuditEntry,
    AwsConnection,
    CollaborationMember,
    Instance,
    PartnerInvitation,
)
from onboarding.services import aws_connections as service
from tests.aws_connections.conftest import CUSTOMER
from tests.aws_roles import PORTAL_PRINCIPAL, make_portal_roles
from tests.simulated import browser, database_bytes, sign_in, somebody

PARTNER = "444455556666"


def text_of(answer) -> str:
    words = re.sub(r"<[^>]+>", " ", re.sub(r"<svg.*?</svg>", " ", answer.content.decode(), flags=re.DOTALL))
    return re.sub(r"\s+", " ", words)


@pytest.fixture
def ada(account_admin) -> Client:
    return browser(account_admin)


@pytest.fixture
def multi_party(connected) -> Instance:
    """An instance with one partner, in the database."""
    instance = Instance.objects.create(
        account=connected, instance_id="amc1", name="Autumn", aws_account_id=CUSTOMER, status_since=timezone.now()
    )
    CollaborationMember.objects.create(
        instance=instance,
        kind=CollaborationMember.Kind.PARTNER,
        account_id=PARTNER,
        display_name="Source Data 1",
        status="INVITED",
        seen_at=timezone.now(),
    )
    return instance


def invited_link(ada: Client, multi_party: Instance) -> str:
    answer = ada.post("/connections/aws/invite", {"partner": f"{multi_party.pk}/{PARTNER}", "days": "7"})
    assert answer.status_code == 200
    return re.search(r"http://testserver(/partner/link/[\w-]+)", answer.content.decode())[1]


# --- admins


def test_adding_connecting_and_checking(ada, connected, portal_itself, amazon):
    assert "Connect an AWS account" in text_of(ada.get("/connections/"))
    answer = ada.post("/connections/aws/new", {"account": connected.pk, "aws_account_id": "5555-6666 7777"})
    row = AwsConnection.objects.get()
    assert answer["Location"] == f"/connections/aws/{row.pk}/"
    assert row.aws_account_id == CUSTOMER
    assert re.fullmatch(r"amc-[0-9a-f]{40}", row.external_id)

    page = ada.get(answer["Location"])
    assert page.content.decode().count(row.external_id) >= 4  # shown, and in each of the three ways
    assert PORTAL_PRINCIPAL in text_of(page)
    provisioner, reader = make_portal_roles(amazon.url, CUSTOMER, row.external_id)
    answer = ada.post(
        f"/connections/aws/{row.pk}/roles", {"provisioner": f" {provisioner} ", "reader": reader}, follow=True
    )
    assert "is connected. Anything that was paused for it goes on by itself" in text_of(answer)
    for title in service.TITLES.values():
        assert title in text_of(answer)
    row.refresh_from_db()
    assert row.state == "working"
    assert "Working" in text_of(ada.get("/connections/"))
    assert "is connected" in text_of(ada.post(f"/connections/aws/{row.pk}/check", follow=True))


def test_a_failed_check_says_what_to_do(ada, with_roles, amazon):
    make_portal_roles(amazon.url, CUSTOMER, "amc-somebody-elses")
    answer = ada.post(f"/connections/aws/{with_roles.pk}/check", follow=True)
    words = text_of(answer)
    assert "Not in order: account of the provisioner role" in words
    assert "What to do: Compare the ARN" in words
    assert "Not connected yet" in words


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"provisioner": ""}, "Paste the ARN of the provisioner role"),
        ({"provisioner": "amc-onboarding-portal-provisioner"}, "begins with arn:aws:iam::"),
        ({"provisioner": "arn:aws:iam::555566667777:user/me"}, "begins with arn:aws:iam::"),
        ({"provisioner": "arn:aws:iam::111122223333:role/x"}, "it must be in 555566667777"),
        (
            {"provisioner": "arn:aws:iam::555566667777:role/x", "reader": "arn:aws:iam::555566667777:role/x"},
            "This is the provisioner role",
        ),
    ],
)
def test_what_is_no_role_of_the_account_is_refused(given, said, ada, connection):
    answer = ada.post(f"/connections/aws/{connection.pk}/roles", given)
    assert answer.status_code == 422
    assert said in text_of(answer)
    connection.refresh_from_db()
    assert connection.provisioner_role_arn == ""


def test_an_access_key_is_refused_and_not_shown_again(ada, connection):
    key = "AKIA" + "IOSFODNN7EXAMPLE"
    answer = ada.post(f"/connections/aws/{connection.pk}/roles", {"provisioner": key})
    assert answer.status_code == 422
    assert "The portal never takes one" in text_of(answer)
    assert key not in answer.content.decode()


def test_no_page_asks_for_an_access_key(ada, connection):
    for address in ("/connections/aws/new", f"/connections/aws/{connection.pk}/", "/connections/aws/invite"):
        names = re.findall(r'<(?:input|textarea)[^>]* name="(\w+)"', ada.get(address).content.decode())
        assert names
        assert [name for name in names if "key" in name or "secret" in name] == []


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("cloudformation", "amc-onboarding-portal.yaml"),
        ("commands", "amc-onboarding-portal.sh"),
        ("terraform", "amc-onboarding-portal.tf"),
    ],
)
def test_the_downloads(kind, name, ada, connection):
    answer = ada.get(f"/connections/aws/{connection.pk}/template/{kind}")
    assert answer.status_code == 200
    assert answer["Content-Disposition"] == f'attachment; filename="{name}"'
    assert connection.external_id in answer.content.decode()
    assert ada.get(f"/connections/aws/{connection.pk}/template/another").status_code == 404


def test_a_portal_without_an_identity_says_who_has_to_act(ada, connection, settings):
    settings.PORTAL_AWS_PRINCIPAL = ""
    words = text_of(ada.get(f"/connections/aws/{connection.pk}/"))
    assert "PORTAL_AWS_PRINCIPAL" in words
    assert "CloudFormation template" not in words


def test_the_same_account_twice_or_a_wrong_number(ada, connection, connected):
    for number, said in ((CUSTOMER, "is there already"), ("12345", "has 12 digits"), ("", "Enter the AWS account id")):
        answer = ada.post("/connections/aws/new", {"account": connected.pk, "aws_account_id": number})
        assert answer.status_code == 422
        assert said in text_of(answer)
    assert AwsConnection.objects.count() == 1


def test_aws_out_of_reach_changes_nothing(ada, with_roles, settings):
    settings.AWS_ENDPOINT_URL = "http://127.0.0.1:9"
    answer = ada.post(f"/connections/aws/{with_roles.pk}/check", follow=True)
    assert "Nothing was changed; check again in a minute" in text_of(answer)


def test_disabling_and_replacing(ada, with_roles):
    address = f"/connections/aws/{with_roles.pk}"
    assert "no longer acts in" in text_of(ada.post(f"{address}/disable", {"disabled": "yes"}, follow=True))
    assert "Let the portal use it again" in text_of(ada.get(f"{address}/"))
    assert "may be used again" in text_of(ada.post(f"{address}/disable", {"disabled": "no"}, follow=True))
    old = with_roles.external_id
    assert old not in ada.post(f"{address}/replace", follow=True).content.decode()


def test_lists_cost_the_same_however_long(ada, connected, django_assert_max_num_queries):
    for number in range(30):
        AwsConnection.objects.create(account=connected, aws_account_id=f"{number:012}", state="working")
    with django_assert_max_num_queries(10):
        assert ada.get("/connections/").status_code == 200


def test_a_page_costs_few_queries(ada, with_roles, multi_party, account_admin, django_assert_max_num_queries):
    for number in range(10):
        PartnerInvitation.objects.create(
            connection=with_roles,
            instance=multi_party,
            partner_name="P",
            token_hash=f"{number:064}",
            made_by=account_admin,
            made_at=timezone.now(),
            expires_at=timezone.now(),
        )
    ada.get(f"/connections/aws/{with_roles.pk}/")  # the needs of all steps are read once a process
    with django_assert_max_num_queries(8):
        assert ada.get(f"/connections/aws/{with_roles.pk}/").status_code == 200


# --- partners


def test_a_partner_connects_their_own_account_and_sees_nothing_else(ada, multi_party, portal_itself, amazon):
    link = invited_link(ada, multi_party)
    connection = AwsConnection.objects.get(aws_account_id=PARTNER)
    invitation = PartnerInvitation.objects.get()

    # Whoever has the link signs in with Amazon first, and comes back to it.
    stranger = Client()
    away = stranger.get(link)
    assert away.status_code == 302
    assert away["Location"].startswith("/sign-in?next=")
    noor = sign_in(amazon, "outsider", stranger, next=link)
    assert noor.last["Location"] == link
    page = noor.get(link)
    assert "4444-5555-6666" in text_of(page)
    assert noor.get(f"/partner/{invitation.pk}/").status_code == 404  # not accepted yet
    answer = noor.post(link, follow=True)
    assert answer.redirect_chain[-1][0] == f"/partner/{invitation.pk}/"
    words = text_of(answer)
    assert connection.external_id in words
    assert "Invited" in words
    assert 'aria-label="Main"' not in answer.content.decode()
    assert "Paper Boat Foods" not in words

    provisioner, reader = make_portal_roles(amazon.url, PARTNER, connection.external_id)
    answer = noor.post(f"/partner/{invitation.pk}/roles", {"provisioner": provisioner, "reader": reader}, follow=True)
    assert "is connected" in text_of(answer)
    connection.refresh_from_db()
    assert connection.state == "working"
    assert "is connected" in text_of(noor.post(f"/partner/{invitation.pk}/check", follow=True))
    assert noor.get(f"/partner/{invitation.pk}/template/commands").status_code == 200

    CollaborationMember.objects.update(status="ACTIVE")
    assert "Member" in text_of(noor.get(f"/partner/{invitation.pk}/"))
    for path in ("/connections/", "/people/", "/audit/", "/connections/aws/new", "/connections/aws/invite"):
        assert noor.get(path).status_code == 403, path
    for path in (f"/instances/{multi_party.pk}/", f"/connections/aws/{connection.pk}/"):
        assert noor.get(path).status_code == 404, path
    assert "Autumn" not in text_of(noor.get("/instances/"))
    assert f'href="/partner/{invitation.pk}/"' in noor.get("/", follow=True).content.decode()
    # The acts are told apart from the admin's in the audit log.
    acts = AuditEntry.objects.filter(actor__name="Noor Petrov").values_list("act", flat=True)
    assert [act for act in acts if act != "person.signed_in"] == [
        "partner.accepted",
        "aws_connection.roles",
        "aws_connection.working",
    ]


def test_a_link_is_used_once_and_by_one_person(ada, multi_party, portal_itself):
    link = invited_link(ada, multi_party)
    first, second = browser(somebody("First")), browser(somebody("Second"))
    assert first.post(link).status_code == 302
    assert first.get(link).status_code == second.get(link).status_code == second.post(link).status_code == 410
    pk = PartnerInvitation.objects.get().pk
    assert first.get(f"/partner/{pk}/").status_code == 200
    for method, path in (("get", ""), ("post", "roles"), ("post", "check"), ("get", "template/commands")):
        assert getattr(second, method)(f"/partner/{pk}/{path}").status_code == 404
        assert getattr(ada, method)(f"/partner/{pk}/{path}").status_code == 404


def test_an_expired_or_withdrawn_link_opens_nothing(ada, multi_party, portal_itself):
    somebody_else = browser(somebody("Else"))
    expired = invited_link(ada, multi_party)
    PartnerInvitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert somebody_else.get(expired).status_code == somebody_else.post(expired).status_code == 410

    link = invited_link(ada, multi_party)
    invitation = PartnerInvitation.objects.first()
    somebody_else.post(link)
    assert somebody_else.get(f"/partner/{invitation.pk}/").status_code == 200
    answer = ada.post(f"/connections/aws/invitations/{invitation.pk}/withdraw", follow=True)
    assert "is withdrawn" in text_of(answer)
    assert somebody_else.get(f"/partner/{invitation.pk}/").status_code == 404
    with pytest.raises(service.NotAllowed):
        service.prove(invitation.connection, now=timezone.now(), actor=invitation.accepted_by or somebody("X"))


@pytest.mark.django_db(transaction=True)
def test_the_token_itself_is_kept_nowhere(ada, multi_party, portal_itself, tmp_path):
    token = invited_link(ada, multi_party).rpartition("/")[2]
    content = database_bytes(tmp_path)
    assert hashlib.sha256(token.encode()).hexdigest().encode() in content
    assert token.encode() not in content


def test_a_foreign_admin_invites_nobody(ada, multi_party, portal_itself, connected):
    other = AmcAccount.objects.create(
        entity_id="ENTITY9", marketplace_id="M", name="Other", connection=connected.connection
    )
    rival = somebody("Rival", other, "admin")
    answer = browser(rival).post("/connections/aws/invite", {"partner": f"{multi_party.pk}/{PARTNER}", "days": "7"})
    assert answer.status_code == 422
    partner = service.Partner(multi_party, PARTNER, "Source Data 1")
    with pytest.raises(service.NotAllowed):
        service.invite(rival, partner, now=timezone.now())
    assert PartnerInvitation.objects.count() == 0


def test_an_account_without_partners_says_so(ada):
    assert "No partner yet" in text_of(ada.get("/connections/aws/invite"))
