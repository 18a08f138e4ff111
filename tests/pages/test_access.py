"""Every route of these pages, for every kind of person, on one's own account and on a foreign one."""

from __future__ import annotations

import pytest
from django.urls import reverse

from onboarding.models import AuditEntry, Decision, Instance, Person, Request, RequestState
from tests.pages.conftest import text_of

# name, what comes after the instance's or request's number, then the answers: analyst, approver, admin.
# A number is the status; "->" is a redirect. Everybody of another account gets 404 where an object is named.
READ = [
    ("instance", (), 200, 200, 200),
    ("instance-members", (), 200, 200, 200),
    ("instance-activity", (), 200, 200, 200),
    ("instance-commands", (), 200, 200, 200),
    ("instance-cancel", (), 200, 403, 200),
    ("step", ("create-instance",), 302, 302, 302),
    ("step-question", ("create-instance", "name"), 200, 403, 200),
    ("step-review", ("create-instance",), 200, 200, 200),
    ("step-progress", ("create-instance",), 200, 200, 200),
    ("step-commands", ("create-instance",), 200, 200, 200),
    ("request", None, 200, 200, 200),
]
LISTS = [
    ("home", 200, 200, 200),
    ("instances", 200, 200, 200),
    ("instance-new", 200, 403, 200),
    ("requests", 200, 200, 200),
    ("notices", 200, 200, 200),
    ("audit", 403, 403, 200),
]
ACTS = [
    ("instance-onboard", (), 302, 403, 302),
    ("instance-cancel", (), 422, 403, 422),
    ("step-question", ("create-instance", "name"), 422, 403, 422),
    ("step-review", ("create-instance",), 302, 403, 302),
    ("step-retry", ("create-instance",), 302, 403, 302),
    ("step-check", ("create-instance",), 302, 403, 302),
    ("request-approve", None, 403, 422, 403),
    ("request-send-back", None, 403, 422, 403),
    ("request-withdraw", None, 302, 403, 302),
    ("request-comment", None, 422, 422, 422),
]


@pytest.fixture
def asked(pages):
    return pages.until_asked()


def address(name: str, more, pages, request) -> str:
    return reverse(name, args=[request.pk] if more is None else [pages.pk, *more])


@pytest.mark.parametrize("role", ["analyst", "approver", "admin"])
def test_what_each_role_may_read(asked, pages, as_, analyst, approver, admin, role):
    who = {"analyst": analyst, "approver": approver, "admin": admin}[role]
    column = ["analyst", "approver", "admin"].index(role)
    client = as_(who)
    found = {}
    for name, more, *expected in READ:
        found[name] = (client.get(address(name, more, pages, asked)).status_code, expected[column])
    for name, *expected in LISTS:
        found[name] = (client.get(reverse(name)).status_code, expected[column])
    assert {name: got for name, (got, _) in found.items()} == {name: want for name, (_, want) in found.items()}


@pytest.mark.parametrize("role", ["analyst", "approver", "admin"])
def test_what_each_role_may_do(asked, pages, as_, analyst, approver, admin, role):
    who = {"analyst": analyst, "approver": approver, "admin": admin}[role]
    column = ["analyst", "approver", "admin"].index(role)
    client = as_(who)
    found = {}
    for name, more, *expected in ACTS:
        found[name] = (client.post(address(name, more, pages, asked)).status_code, expected[column])
    assert {name: got for name, (got, _) in found.items()} == {name: want for name, (_, want) in found.items()}


@pytest.mark.parametrize("kind", ["outsider", "nobody"])
def test_others_are_told_that_nothing_is_there(asked, pages, as_, outsider, nobody, kind):
    client = as_(outsider if kind == "outsider" else nobody)
    before = AuditEntry.objects.count()
    for name, more, *_ in READ:
        for headers in ({}, {"HX-Request": "true"}):
            assert client.get(address(name, more, pages, asked), headers=headers).status_code == 404, name
    for name, more, *_ in ACTS:
        answer = client.post(address(name, more, pages, asked), {"digest": asked.digest, "text": "x", "comment": "x"})
        assert answer.status_code == 404, name
    asked.refresh_from_db()
    assert asked.state == RequestState.OPEN
    assert AuditEntry.objects.count() == before


def test_lists_hold_nothing_of_other_accounts(asked, pages, as_, outsider):
    client = as_(outsider)
    for name in ("home", "instances", "requests", "audit", "notices"):
        for query in ("", "?show=all", "?q=Acme"):
            text = text_of(client.get(reverse(name) + query))
            assert "Acme US" not in text and "Mia" not in text, name


def test_who_has_no_role_is_sent_to_ask_for_one(as_, nobody):
    client = as_(nobody)
    for name in ("home", "instances", "requests"):
        answer = client.get(reverse(name))
        assert (answer.status_code, answer.url) == (302, reverse("access")), name
    assert client.get(reverse("instance-new")).status_code == 403


def test_who_is_not_signed_in_is_sent_to_sign_in(client, pages):
    request = pages.until_asked()
    for name, more, *_ in [*READ, *ACTS]:
        answer = client.post(address(name, more, pages, request))
        assert answer.status_code == 302 and answer.url.startswith(reverse("sign-in")), name
    for name, *_ in LISTS:
        assert client.get(reverse(name)).url.startswith(reverse("sign-in")), name


def test_a_role_that_is_taken_away_is_gone_with_the_next_click(pages, analyst):
    assert pages.client.get(f"/instances/{pages.pk}/").status_code == 200
    analyst.roles.all().delete()
    assert pages.client.get(f"/instances/{pages.pk}/").status_code == 404


def test_a_superuser_sees_everything(asked, pages, as_, db):
    root = Person.objects.create_user("amzn1.account.root", name="Root", is_superuser=True)
    client = as_(root)
    for name, more, *_ in READ:
        assert client.get(address(name, more, pages, asked)).status_code in (200, 302), name
    assert "Acme US" in text_of(client.get("/instances/"))


def test_nobody_starts_an_onboarding_on_a_foreign_account(as_, analyst, account, other_account):
    answer = as_(analyst).post("/instances/new/", {"account": other_account.pk, "name": "Mine now"})
    assert answer.status_code == 422
    assert not Instance.objects.exists()


def test_a_step_of_another_instance_is_not_found(asked, pages):
    assert pages.client.get(pages.url("no-such-step")).status_code == 404
    assert pages.client.get(pages.url("create-instance", "q/no-such-question/")).status_code == 404
    assert pages.client.get(pages.url("create-instance", "q/partners/")).status_code == 404
    assert pages.client.get("/instances/999999/").status_code == 404
    assert pages.client.get("/requests/999999/").status_code == 404


def test_acts_are_posts(asked, pages):
    for name, more, *_ in ACTS:
        if name in ("instance-cancel", "step-question", "step-review"):
            continue
        assert pages.client.get(address(name, more, pages, asked)).status_code == 405, name


def test_a_form_from_elsewhere_is_refused(asked, approver):
    from django.test import Client

    client = Client(enforce_csrf_checks=True)
    client.force_login(approver)
    answer = client.post(f"/requests/{asked.pk}/approve", {"digest": asked.digest})
    assert answer.status_code == 403
    assert not Decision.objects.exists()
    assert Request.objects.get().state == RequestState.OPEN
