"""A joined instance whose settings the portal knows, connected by the roles of the template."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from onboarding.clients.aws import forget_sessions
from onboarding.guide.join import note_membership
from onboarding.models import AwsConnection, Difference, Membership
from onboarding.services import drift
from tests.aws_roles import make_portal_roles
from tests.join.conftest import PRIMARY, aws
from tests.lifecycle.conftest import amazon, connected, hung, killed_before_writing, life, portal_itself, settled

__all__ = ["amazon", "connected", "hung", "killed_before_writing", "life", "portal_itself", "settled"]


class Drifting:
    """What somebody changes in the account, and what the comparison says of it."""

    def __init__(self, life, row: Membership) -> None:
        self.life, self.row, self.instance = life, row, life.instance
        self.at = timezone.now() + timedelta(minutes=1)
        self.role = f"amc-cleanrooms-results-{life.instance.instance_id}"

    def client(self, service: str):
        return aws(self.life.amazon.url, PRIMARY, service)

    def membership(self) -> dict:
        found = self.client("cleanrooms").get_membership(membershipIdentifier=self.row.membership_id)
        return found["membership"]

    def compare(self) -> list[Difference]:
        """Compare a day later; the open differences."""
        self.at += timedelta(days=1)
        forget_sessions()  # Amazon's own clock may have moved as well
        drift.compare(self.instance, now=self.at)
        return list(Difference.objects.open())

    def aspects(self) -> list[tuple[str, str]]:
        return [(row.kind, row.aspect) for row in self.compare()]

    def point_to(self, bucket: str, **more: str) -> None:
        """Somebody points the membership to another bucket."""
        where = self.membership()["defaultResultConfiguration"]
        where["outputConfiguration"]["s3"] |= {"bucket": bucket, **more}
        self.client("cleanrooms").update_membership(
            membershipIdentifier=self.row.membership_id, defaultResultConfiguration=where
        )


def by_the_template(life) -> AwsConnection:
    """The connection of the primary account with the two roles that its template makes, and no more."""
    connection = AwsConnection.objects.get(aws_account_id=PRIMARY)
    made = make_portal_roles(life.amazon.url, PRIMARY, connection.external_id, deletes=False)
    connection.provisioner_role_arn, connection.reader_role_arn = made
    connection.save()
    forget_sessions()
    return connection


@pytest.fixture
def drifting(life, settled) -> Drifting:
    by_the_template(life)
    found = Drifting(life, settled)
    note_membership(life.instance, _plain(found.membership()), PRIMARY, timezone.now())
    settled.refresh_from_db()
    return found


def _plain(document: dict) -> dict:
    return {name: str(value) if hasattr(value, "isoformat") else value for name, value in document.items()}
