"""Signing in with Amazon, from the button to the page after it."""

from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from social_django.models import UserSocialAuth

from onboarding.models import AuditEntry, Person
from simulator import people
from tests.simulated import browser, database_bytes, sign_in, somebody

pytestmark = pytest.mark.django_db
BEGIN = "/sign-in/amazon/begin"
COMPLETE = "/sign-in/amazon/complete"


def begin(client, **form):
    return client.post(BEGIN, form)["Location"]


def person_in(client):
    key = client.session.get("_auth_user_id")
    return Person.objects.get(pk=key) if key else None


def test_a_stranger_becomes_a_person_and_comes_back_where_they_wanted(amazon):
    client = sign_in(amazon, "analyst", next="/access/")
    assert client.last.status_code == 302 and client.last["Location"] == "/access/"
    person = person_in(client)
    assert (person.name, person.email) == ("Ana Lindqvist", "ana@harbour.example")
    assert person.amazon_id == people.PEOPLE[0].user_id
    assert not person.is_superuser and not person.has_usable_password() and not person.roles.exists()
    assert AuditEntry.objects.get().act == "person.signed_in"
    assert "You have no role yet" in client.get("/access/").content.decode()


def test_the_second_time_it_is_the_same_person_with_the_newest_name(amazon):
    sign_in(amazon, "analyst", next="/access/")
    Person.objects.update(name="Old name")
    client = sign_in(amazon, "analyst", next="/access/")
    assert person_in(client) == Person.objects.get()
    assert Person.objects.get().name == "Ana Lindqvist"
    assert UserSocialAuth.objects.count() == 1


def test_amazon_is_asked_with_state_pkce_and_the_profile_scope_only(amazon):
    address = urlsplit(begin(Client()))
    query = {name: values[0] for name, values in parse_qs(address.query).items()}
    assert query["scope"] == "profile"
    assert len(query["state"]) >= 32
    assert query["code_challenge_method"] == "S256" and len(query["code_challenge"]) == 43
    assert query["redirect_uri"] == f"http://testserver{COMPLETE}"


def test_the_token_travels_in_a_header_and_is_kept_nowhere(amazon):
    client = sign_in(amazon, "analyst", next="/access/")
    (profile,) = amazon.exchanges("lwa:profile")
    assert profile["query"] == ""
    assert UserSocialAuth.objects.get().extra_data == {}
    assert "Atz" not in str(dict(client.session))


@pytest.mark.django_db(transaction=True)
def test_the_database_holds_no_token_after_a_sign_in(amazon, tmp_path):
    sign_in(amazon, "analyst", next="/access/")
    everything = database_bytes(tmp_path)
    assert b"Ana Lindqvist" in everything
    assert b"Atza" not in everything and b"Atzr" not in everything


def test_the_session_gets_a_new_key(amazon):
    client = Client()
    address = begin(client, next="/access/")
    before = client.session.session_key
    client.get(amazon.consent(address, "analyst"))
    assert person_in(client) is not None
    assert client.session.session_key != before


def test_first_admins_become_superusers_whatever_the_case(amazon, settings):
    settings.FIRST_ADMINS = ["ingrid@harbour.example"]
    client = sign_in(amazon, "admin", next="/access/")
    assert person_in(client).is_superuser
    assert [entry.act for entry in AuditEntry.objects.all()] == ["person.made_superuser", "person.signed_in"]
    assert not person_in(sign_in(amazon, "analyst", next="/access/")).is_superuser


def test_a_second_login_with_the_address_of_a_first_admin_is_nobody_special(amazon, settings):
    settings.FIRST_ADMINS = ["ingrid@harbour.example"]
    somebody("Ingrid", is_superuser=True)
    Person.objects.update(email="Ingrid@harbour.example")
    assert not person_in(sign_in(amazon, "admin", next="/access/")).is_superuser


def test_who_was_disabled_is_refused(amazon):
    Person.objects.create_user(people.PEOPLE[0].user_id, name="Ana", is_active=False)
    client = sign_in(amazon, "analyst")
    assert client.last.status_code == 403
    assert "You may not sign in" in client.last.content.decode()
    assert person_in(client) is None


def test_a_session_ends_when_its_person_is_disabled(amazon):
    client = sign_in(amazon, "analyst", next="/access/")
    assert client.get("/access/").status_code == 200
    Person.objects.update(is_active=False)
    answer = client.get("/access/")
    assert answer.status_code == 302 and answer["Location"].startswith("/sign-in?next=")


def test_saying_no_at_amazon_is_a_page(amazon):
    client = Client()
    answer = client.get(amazon.consent(begin(client), "analyst", answer="cancel"))
    assert answer.status_code == 403
    assert "You did not allow the sign-in" in answer.content.decode()
    assert not Person.objects.exists()


def test_a_callback_works_once_and_only_in_its_browser(amazon):
    client = Client()
    back = amazon.consent(begin(client, next="/access/"), "analyst")
    stranger = Client().get(back)
    assert stranger.status_code == 400 and "could not be finished" in stranger.content.decode()
    assert not Person.objects.exists()
    assert client.get(back).status_code == 302
    client.post("/sign-out")
    again = client.get(back)
    assert again.status_code == 400
    assert person_in(client) is None


@pytest.mark.parametrize(
    "query",
    ["", "?code=abc", "?state=abc", "?code=abc&state=abc", "?state=" + "x" * 5000, "?error=access_denied",
     "?error=<script>alert(1)</script>", "?code[]=1&state[]=2", "?error=server_error&error_description=secret-words"],
)  # fmt: skip
def test_a_made_up_callback_is_a_page(amazon, query):
    answer = Client().get(COMPLETE + query)
    assert 400 <= answer.status_code < 600 and answer.status_code != 500
    text = answer.content.decode()
    assert "Traceback" not in text and "<script>alert" not in text and "secret-words" not in text
    assert "Go to the sign-in page" in text


def test_a_code_that_amazon_refuses_is_a_page(amazon):
    client = Client()
    state = parse_qs(urlsplit(begin(client)).query)["state"][0]
    answer = client.get(COMPLETE, {"code": "ANmadeup", "state": state})
    assert answer.status_code == 400
    assert "could not be finished" in answer.content.decode()


def test_a_code_for_another_challenge_is_refused(amazon):
    client = Client()
    first, second = begin(client), begin(client)
    code = parse_qs(urlsplit(amazon.consent(first, "analyst")).query)["code"][0]
    state = parse_qs(urlsplit(second).query)["state"][0]
    assert client.get(COMPLETE, {"code": code, "state": state}).status_code == 400
    assert not Person.objects.exists()


@pytest.mark.parametrize("operation", ["lwa:token", "lwa:profile"])
@pytest.mark.parametrize(
    ("action", "status"),
    [
        ({"kind": "error", "status": 500}, 503),
        ({"kind": "throttle", "retry_after": 5}, 503),
        ({"kind": "cut_before"}, 503),
        ({"kind": "cut_after"}, 503),
    ],
)
def test_an_amazon_in_trouble_is_a_page(amazon, operation, action, status):
    client = Client()
    back = amazon.consent(begin(client), "analyst")
    amazon.rule(operation, times=None, **action)
    answer = client.get(back)
    assert answer.status_code == status
    assert answer["Retry-After"]
    assert "Amazon does not answer" in answer.content.decode()
    assert person_in(client) is None


def test_a_wrong_client_secret_is_a_page(amazon, settings):
    settings.SOCIAL_AUTH_AMAZON_SECRET = "wrong"
    client = sign_in(amazon, "analyst")
    assert client.last.status_code == 503
    assert "not set up" in client.last.content.decode()


def test_amazon_answering_something_else_is_a_page(amazon, settings):
    client = Client()
    back = amazon.consent(begin(client), "analyst")
    settings.LOGIN_PROFILE_URL = f"{amazon.url}/"
    answer = client.get(back)
    assert answer.status_code == 502
    assert person_in(client) is None


@pytest.mark.parametrize(
    "evil",
    ["https://evil.example/", "//evil.example/", "/\\evil.example", "http:///evil.example", "javascript:alert(1)"],
)
def test_nobody_is_sent_elsewhere(amazon, evil):
    client = Client()
    back = amazon.consent(begin(client, next=evil), "analyst")
    answer = client.get(f"{back}&next={evil}")
    assert answer.status_code == 302
    assert answer["Location"].startswith("/") and not answer["Location"].startswith(("//", "/\\"))
    assert "evil" not in urlsplit(answer["Location"]).netloc
    page = client.get("/sign-in", {"next": evil})
    assert page.status_code == 302 and page["Location"] == "/"
    assert evil not in Client().get("/sign-in", {"next": evil}).content.decode()


def test_signing_in_begins_with_a_post_that_is_ours(amazon):
    assert Client().get(BEGIN).status_code == 405
    assert Client(enforce_csrf_checks=True).post(BEGIN).status_code == 403
    assert Client().post("/sign-in/facebook/begin").status_code == 404
    assert Client().get("/sign-in/facebook/complete").status_code == 404


def test_signing_out_is_a_post_and_ends_the_session(amazon):
    client = sign_in(amazon, "analyst", next="/access/")
    assert client.get("/sign-out").status_code == 405
    assert person_in(client) is not None
    answer = client.post("/sign-out")
    assert answer.status_code == 302 and answer["Location"] == "/sign-in"
    assert person_in(client) is None
    assert AuditEntry.objects.last().act == "person.signed_out"
    assert client.get("/access/").status_code == 302


def test_another_amazon_login_in_the_same_browser_takes_nobody_over(amazon):
    client = sign_in(amazon, "analyst", next="/access/")
    sign_in(amazon, "approver", client, next="/access/")
    assert client.last.status_code == 409
    assert person_in(client).name == "Ana Lindqvist"
    assert UserSocialAuth.objects.count() == 1


def test_too_many_tries_wait(amazon):
    client = Client()
    answers = [client.get(COMPLETE, REMOTE_ADDR="203.0.113.9").status_code for _ in range(121)]
    assert set(answers[:120]) == {400} and answers[120] == 429
    refused = client.get(COMPLETE, REMOTE_ADDR="203.0.113.9")
    assert 1 <= int(refused["Retry-After"]) <= 61
    assert client.get(COMPLETE, REMOTE_ADDR="203.0.113.10").status_code == 400


def test_the_sign_in_page_is_open_and_says_what_amazon_tells():
    page = Client().get("/sign-in?next=/people/")
    assert page.status_code == 200
    assert "Sign in with Amazon" in page.content.decode() and 'value="/people/"' in page.content.decode()
    assert "no-store" in page["Cache-Control"] or "no-cache" in page["Cache-Control"]


def test_health_answers_without_a_sign_in():
    assert Client().get("/healthz").status_code == 200
    ready = Client().get("/readyz")
    assert ready.json()["database"] == "ok"
    assert ready.status_code == (200 if ready.json()["redis"] == "ok" else 503)


def test_a_person_who_is_signed_in_goes_on():
    client = browser(somebody("Mia"))
    assert client.get("/sign-in?next=/access/")["Location"] == "/access/"
