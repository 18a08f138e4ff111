"""Personal tokens: made once, kept as a hash, never more than the person, ended in every way."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from onboarding.models import ApiToken, AuditEntry, Role
from onboarding.services import people, tokens
from onboarding.services.errors import NotAllowed, Refused

pytestmark = pytest.mark.django_db
SECRET = re.compile(r"amcp_[\w-]{43}")


def test_the_page_shows_a_token_once_and_keeps_its_hash(analyst, as_):
    client = as_(analyst)
    made = client.post("/tokens/", {"name": "Nightly job", "scopes": ["act"], "days": 30})
    assert made.status_code == 200 and "no-store" in made["Cache-Control"]
    (token,) = set(SECRET.findall(made.content.decode()))
    assert Client(headers={"Authorization": f"Bearer {token}"}).get("/api/v1/me").status_code == 200
    again = client.get("/tokens/").content.decode()
    assert "Nightly job" in again and not SECRET.search(again)
    row = ApiToken.objects.get()
    assert token not in str(vars(row)) and row.scopes == ["read", "act"] and row.last_used_at is not None
    entry = AuditEntry.objects.get(act="token.made")
    assert entry.actor == analyst and token not in str(entry.details)


def test_a_form_says_what_is_missing(analyst, as_):
    answer = as_(analyst).post("/tokens/", {"scopes": ["everything"], "days": 3000})
    assert answer.status_code == 422 and "Say what the token is for." in answer.content.decode()
    assert not ApiToken.objects.exists()


def test_who_has_too_many_has_to_revoke_one(analyst):
    now = timezone.now()
    for _ in range(tokens.MOST_TOKENS):
        tokens.make(analyst, name="x", may_act=False, may_approve=False, days=1, now=now)
    with pytest.raises(Refused, match="Revoke one"):
        tokens.make(analyst, name="x", may_act=False, may_approve=False, days=1, now=now)


@pytest.mark.parametrize("way", ["revoked", "expired", "disabled", "unknown", "cut", "basic", "none", "cookie"])
def test_what_opens_nothing(way, program, analyst, as_):
    caller = program(analyst)
    assert caller.get("/me").status_code == 200
    client, headers = caller.client, {}
    if way == "revoked":
        tokens.revoke(analyst, caller.row, now=timezone.now())
    elif way == "expired":
        ApiToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    elif way == "disabled":
        type(analyst).objects.filter(pk=analyst.pk).update(is_active=False)
    else:
        headers = {
            "unknown": {"Authorization": f"Bearer {tokens.PREFIX}{'a' * 43}"},
            "cut": {"Authorization": f"Bearer {caller.token[:-1]}"},
            "basic": {"Authorization": f"Basic {caller.token}"},
        }.get(way, {})
        client = as_(analyst) if way == "cookie" else Client()
    answer = client.get("/api/v1/me", headers=headers)
    assert answer.status_code == 401 and answer["Content-Type"] == "application/problem+json"
    assert answer["WWW-Authenticate"].startswith("Bearer ")
    assert answer.json()["code"] == "no-token" and caller.token not in answer.content.decode()


def test_a_role_that_is_taken_is_gone_with_the_next_request(program, analyst, admin, account):
    caller = program(analyst)
    run = caller.get("/me").json()
    assert run["roles"] == [{"account": account.pk, "role": "analyst"}]
    people.take_role(admin, analyst, account, "analyst", now=timezone.now())
    assert caller.get("/me").json()["roles"] == []


def test_an_admin_sees_and_revokes_the_tokens_of_their_people_alone(program, analyst, admin, outsider, as_):
    caller, foreign = program(analyst), program(outsider)
    client = as_(admin)
    page = client.get(f"/people/{analyst.pk}/").content.decode()
    assert "Nightly job" in page and caller.token not in page
    assert client.post(f"/tokens/{foreign.row.pk}/revoke").status_code == 404
    assert client.post(f"/tokens/{caller.row.pk}/revoke").status_code == 302
    assert caller.get("/me").status_code == 401 and foreign.get("/me").status_code == 200
    assert AuditEntry.objects.get(act="token.revoked").actor == admin
    with pytest.raises(NotAllowed):
        tokens.revoke(analyst, foreign.row, now=timezone.now())


def test_a_colleague_without_the_role_of_admin_sees_nothing(program, analyst, approver, as_):
    caller = program(analyst)
    assert as_(approver).post(f"/tokens/{caller.row.pk}/revoke").status_code == 404
    assert Role.objects.filter(person=approver).exists()
    assert caller.get("/me").status_code == 200


def test_tokens_are_in_no_log(program, analyst, caplog):
    caller = program(analyst)
    with caplog.at_level("DEBUG"):
        caller.get("/instances")
        caller.get("/nothing-here")
        Client(headers={"Authorization": f"Bearer {caller.token}x"}).get("/api/v1/me")
    assert caller.token not in caplog.text
