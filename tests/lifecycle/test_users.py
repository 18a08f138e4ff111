"""Inviting people to AMC: what is sent, what is kept, who sees it, and what is nowhere to be read."""

import json

import pytest
from django.utils import timezone

from onboarding.models import AuditEntry, UserInvitation
from onboarding.services import users
from onboarding.services.errors import NotAllowed, Refused
from tests.engine.conftest import person
from tests.simulated import browser

pytestmark = pytest.mark.django_db
EMAIL = "vera.viewer@example.com"


@pytest.fixture
def admin(life):
    return person(life.account, "Ada", "admin")


def invite(life, admin, email: str = EMAIL, role: str = "viewer") -> UserInvitation:
    return users.invite(person=admin, account=life.account, name="Vera", email=email, role=role, now=timezone.now())


@pytest.mark.parametrize("role", ["viewer", "admin"])
def test_somebody_is_invited_through_the_page(life, admin, role):
    page = f"/accounts/{life.account.pk}/users/"
    form = {"name": "Vera", "email": EMAIL, "role": role}
    client = browser(admin)
    assert client.post(page, form).status_code == 302
    row = UserInvitation.objects.get()
    assert (row.state, row.role, row.problem, row.invited_by) == ("invited", role, "", admin)
    assert row.amazon_id
    shown = client.get(page).content.decode()
    assert EMAIL in shown and "Invited" in shown and "AMC console" in shown
    # A second click invites nobody twice.
    again = client.post(page, {**form, "email": EMAIL.upper()})
    assert again.status_code == 422 and "invited already" in again.content.decode()
    assert len(life.amazon.exchanges("amc:createUserInvitations") + life.amazon.exchanges("amc:inviteUsers")) == 1


def test_the_address_is_in_no_audit_entry_and_no_log(life, admin, caplog, capsys):
    row = invite(life, admin)
    users.resend(person=admin, invitation=row, now=timezone.now())
    users.revoked(person=admin, invitation=row, now=timezone.now())
    entries = list(AuditEntry.objects.order_by("number"))
    assert [entry.act for entry in entries] == ["user.invited", "user.invited_again", "user.revoked"]
    assert entries[0].subject == "1 person invited as viewer"
    told = json.dumps([[entry.subject, entry.subject_ref, entry.details] for entry in entries])
    everything = told + caplog.text + "".join(capsys.readouterr()) + str(row)
    assert "vera" not in everything.lower()


def test_only_admins_see_and_invite(life, admin):
    row = invite(life, admin)
    for somebody in (life.analyst, life.approver):
        assert browser(somebody).get(f"/accounts/{life.account.pk}/users/").status_code == 403
        assert list(UserInvitation.objects.visible_to(somebody)) == []
        with pytest.raises(NotAllowed):
            users.resend(person=somebody, invitation=row, now=timezone.now())
    assert list(UserInvitation.objects.visible_to(admin)) == [row]


def test_sending_again_says_what_amazon_says(life, admin):
    row = invite(life, admin)
    again = users.resend(person=admin, invitation=row, now=timezone.now())
    assert again.state == "invited"
    assert "invited already" in again.problem


def test_a_cut_connection_is_not_called_a_success(life, admin):
    life.amazon.rule("amc:*", kind="cut_after")
    row = invite(life, admin)
    assert row.state == "unknown"
    assert "Nobody can tell" in row.problem
    row = users.resend(person=admin, invitation=UserInvitation.objects.get(), now=timezone.now())
    assert row.state == "unknown" and "invited already" in row.problem


def test_what_amazon_refuses_is_shown(life, admin):
    life.amazon.rule("amc:*", kind="error", status=503)
    row = invite(life, admin)
    assert row.state in ("refused", "unknown") and row.problem
    row = users.resend(person=admin, invitation=UserInvitation.objects.get(), now=timezone.now())
    assert (row.state, row.problem) == ("invited", "")


def test_two_cannot_send_one_at_the_same_time(life, admin):
    row = invite(life, admin)
    UserInvitation.objects.filter(pk=row.pk).update(state="sending", tried_at=timezone.now())
    with pytest.raises(Refused, match="being sent"):
        users.resend(person=admin, invitation=UserInvitation.objects.get(), now=timezone.now())
    later = timezone.now() + users.UNDER_WAY
    assert users.resend(person=admin, invitation=UserInvitation.objects.get(), now=later).state != "sending"


def test_who_was_revoked_can_be_invited_anew(life, admin):
    row = invite(life, admin)
    users.revoked(person=admin, invitation=row, now=timezone.now())
    with pytest.raises(Refused, match="recorded already"):
        users.revoked(person=admin, invitation=row, now=timezone.now())
    with pytest.raises(Refused, match="revoked"):
        users.resend(person=admin, invitation=UserInvitation.objects.get(), now=timezone.now())
    assert invite(life, admin).pk != row.pk
