"""The frame of every page: who sees which navigation, what it costs, the choice of theme, error pages."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.signed_cookies import SessionStore
from django.core.exceptions import PermissionDenied
from django.test import RequestFactory

from onboarding.models import Instance, Person, Request, Run, Step
from onboarding.views.shell import ACCOUNT_KEY, Shell, look_at, page_to_return_to, render_page_or_part
from portal import errors

pytestmark = pytest.mark.django_db


def frame(person, path="/instances/", **session):
    request = RequestFactory().get(path)
    request.user = person
    request.session = SessionStore()
    request.session.update(session)
    return Shell(request)


def draw_all(shell):
    return shell.navigation, shell.admin_navigation, shell.account, shell.accounts, shell.waiting_for_me


def test_nobody_costs_no_query(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert draw_all(frame(AnonymousUser())) == ([], [], None, [], 0)


def test_an_analyst_costs_one_query_and_sees_no_administration(person, account, give, django_assert_num_queries):
    give(account, "analyst")
    with django_assert_num_queries(1):
        _, administration, in_view, accounts, _ = draw_all(frame(person))
    assert administration == []
    assert in_view == account
    assert accounts == [account]


def test_an_approver_and_admin_costs_two_queries(person, account, other_account, give, django_assert_num_queries):
    give(account, "approver", "admin")
    give(other_account, "analyst")
    with django_assert_num_queries(2):
        _, administration, in_view, accounts, _ = draw_all(frame(person, "/people/7/"))
    assert [entry.text for entry in administration if entry.current] == ["People"]
    assert accounts == [account, other_account]
    assert in_view is None


def test_requests_that_wait_are_counted(person, account, give, now):
    give(account, "approver")
    asker = Person.objects.create_user("amzn1.account.Q", name="Q")
    instance = Instance.objects.create(account=account, name="I", status_since=now)
    run = Run.objects.create(account=account, instance=instance, owner=asker, started_at=now)
    for position, asked_by in enumerate((asker, person)):
        step = Step.objects.create(run=run, key=f"s{position}", position=position, since=now)
        Request.objects.create(
            account=account,
            step=step,
            title="T",
            plan=[],
            digest="d",
            asked_by=asked_by,
            asked_at=now,
            expires_at=now + timedelta(days=1),
        )
    assert frame(person).waiting_for_me == 1


def test_the_account_in_view_is_one_of_mine(person, account, other_account, give):
    give(account, "analyst")
    give(other_account, "analyst")
    assert frame(person, **{ACCOUNT_KEY: other_account.pk}).account == other_account
    person.roles.filter(account=other_account).delete()
    assert frame(person, **{ACCOUNT_KEY: other_account.pk}).account == account
    shell = frame(person)
    look_at(shell.request, other_account)
    assert shell.request.session[ACCOUNT_KEY] == other_account.pk
    look_at(shell.request, None)
    assert ACCOUNT_KEY not in shell.request.session


@pytest.mark.parametrize(
    ("wanted", "led_to"), [("/people/?a=1", "/people/?a=1"), ("https://evil.example/", "/"), ("//evil.example", "/")]
)
def test_returning_stays_on_this_site(wanted, led_to):
    assert page_to_return_to(RequestFactory().post("/theme", {"next": wanted})) == led_to


def test_the_theme_is_kept_in_a_cookie(client):
    answer = client.post("/theme", {"theme": "dark", "next": "/sign-in"})
    assert answer.status_code == 302
    assert answer["Location"] == "/sign-in"
    assert answer.cookies["theme"].value == "dark"
    assert answer.cookies["theme"]["httponly"]
    assert "theme" not in client.post("/theme", {"theme": "<script>"}).cookies
    assert client.get("/theme").status_code == 405


def test_a_page_varies_by_htmx(rf):
    request = rf.get("/")
    request.htmx = None
    whole = render_page_or_part(request, "errors/500.html", "errors/reference.html", {"request_id": "R-1"})
    assert whole["Vary"] == "HX-Request"
    assert b"<html" in whole.content

    class Asking:
        boosted = False
        history_restore_request = False

    request.htmx = Asking()
    part = render_page_or_part(request, "errors/500.html", "errors/reference.html", {"request_id": "R-1"})
    assert b"<html" not in part.content
    assert b"R-1" in part.content


def test_the_gallery_is_for_development(client, settings):
    assert client.get("/gallery/").status_code == 404
    settings.DEBUG = True
    assert client.get("/gallery/").status_code == 200
    assert client.get("/gallery/nonsense/").status_code == 404


def test_a_missing_page_says_so_and_names_the_request(client):
    answer = client.get("/nowhere", headers={"X-Request-Id": "abcdefgh-1"})
    assert answer.status_code == 404
    assert "abcdefgh-1" in answer.content.decode()
    assert "There is nothing here" in answer.content.decode()


@pytest.mark.parametrize(
    ("view", "status"),
    [(errors.bad_request, 400), (errors.forbidden, 403), (errors.not_found, 404), (errors.csrf_failure, 403)],
)
def test_error_pages_draw_for_somebody_and_nobody(view, status, person, account, give):
    give(account, "admin")
    for user in (person, AnonymousUser()):
        request = frame(user).request
        request._messages = []
        request.META["portal.request_id"] = "abc"
        answer = view(request)
        assert answer.status_code == status
        assert b"abc" in answer.content


def test_a_refusal_says_why(person):
    answer = errors.forbidden(frame(person).request, PermissionDenied("Nobody approves a request of <their> own."))
    assert "Nobody approves a request of &lt;their&gt; own." in answer.content.decode()


def test_the_page_for_a_failure_needs_no_database(django_assert_num_queries):
    with django_assert_num_queries(0):
        answer = errors.server_error(RequestFactory().get("/"))
    assert answer.status_code == 500
    assert b"Something went wrong on our side" in answer.content


def test_no_template_has_inline_styles_or_scripts(settings):
    for path in (settings.BASE_DIR / "templates").rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        for refused in (" style=", "<style", "onclick=", "hx-on", "javascript:"):
            assert refused not in text, f"{path.name} has {refused}"


def test_health(client):
    assert client.get("/healthz").content == b"ok\n"
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"database": "ok", "redis": "does not answer"}
