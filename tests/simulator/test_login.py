"""Login with Amazon: consent, codes, tokens, profile."""

import base64
import hashlib
import re
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from werkzeug.test import Client

from simulator.people import CLIENT_ID, CLIENT_SECRET

REDIRECT = "http://127.0.0.1:8000/complete/amazon/"
ASKED = {
    "client_id": CLIENT_ID,
    "redirect_uri": REDIRECT,
    "response_type": "code",
    "scope": "profile advertising::campaign_management",
    "state": "the state",
}


def consent(client, answer="allow", person="analyst", **changes):
    """Go through the consent page as a browser does; returns where it leads."""
    values = {name: value for name, value in {**ASKED, **changes}.items() if value is not None}
    page = client.get("/ap/oa?" + urlencode(values))
    assert page.status_code == 200, page.text
    fields = {
        name: _unescape(value) for name, value in re.findall(r'name="(request|nonce)" value="([^"]*)"', page.text)
    }
    return client.post("/ap/oa", data={**fields, "person": person, "answer": answer})


def _unescape(text):
    return text.replace("&amp;", "&").replace("&#34;", '"')


def code_of(response):
    assert response.status_code == 302
    return parse_qs(urlsplit(response.headers["Location"]).query)["code"][0]


def exchange(client, code, **changes):
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": REDIRECT,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        **changes,
    }
    return client.post("/auth/o2/token", data={name: value for name, value in form.items() if value is not None})


@pytest.fixture
def browser(simulator):
    return Client(simulator)


def test_a_person_allows_and_the_application_learns_who(browser):
    page = browser.get("/ap/oa?" + urlencode(ASKED))
    assert "Ana Lindqvist" in page.text and "Has no rights" in page.text
    assert "advertising::campaign_management" in page.text
    back = consent(browser)
    query = parse_qs(urlsplit(back.headers["Location"]).query)
    assert back.headers["Location"].startswith(REDIRECT)
    assert query["state"] == ["the state"] and query["scope"] == [ASKED["scope"]]
    tokens = exchange(browser, query["code"][0]).json
    assert tokens["access_token"].startswith("Atza|") and tokens["refresh_token"].startswith("Atzr|")
    assert (tokens["expires_in"], tokens["token_type"]) == (3600, "bearer")
    profile = browser.get("/user/profile", headers={"Authorization": f"Bearer {tokens['access_token']}"})
    assert profile.json == {
        "user_id": "amzn1.account.DEMOANALYST0000000000000001",
        "name": "Ana Lindqvist",
        "email": "ana@harbour.example",
    }
    assert browser.get("/auth/o2/tokeninfo", query_string={"access_token": tokens["access_token"]}).json["aud"] == (
        CLIENT_ID
    )


def test_a_browser_stays_signed_in_as_whoever_allowed_last(browser):
    def chosen():
        page = browser.get("/ap/oa?" + urlencode(ASKED)).text
        return re.findall(r'value="([a-z]+)" required checked', page)

    assert chosen() == ["analyst"]
    consent(browser, "cancel", person="approver")
    assert chosen() == ["analyst"]
    consent(browser, person="admin")
    assert chosen() == ["admin"]
    page = browser.get("/ap/oa?" + urlencode({**ASKED, "login_hint": "approver"})).text
    assert re.findall(r'value="([a-z]+)" required checked', page) == ["approver"]


def test_cancelling_leads_back_without_a_code(browser):
    query = parse_qs(urlsplit(consent(browser, "cancel").headers["Location"]).query)
    assert query["error"] == ["access_denied"] and query["state"] == ["the state"] and "code" not in query


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"scope": "everything"}, "invalid_scope"),
        ({"scope": ""}, "invalid_scope"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge": "short", "code_challenge_method": "S256"}, "invalid_request"),
        ({"code_challenge": "x" * 43, "code_challenge_method": "plain"}, "invalid_request"),
    ],
)
def test_a_wrong_request_leads_back_with_an_error(browser, changes, error):
    response = browser.get("/ap/oa?" + urlencode({**ASKED, **changes}))
    assert response.status_code == 302
    assert parse_qs(urlsplit(response.headers["Location"]).query)["error"] == [error]


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "amzn1.application-oa2-client.other"},
        {"redirect_uri": "https://evil.example/"},
        {"redirect_uri": "http://127.0.0.1@evil.example/"},
        {"redirect_uri": "http://127.0.0.1:8000/#fragment"},
        {"redirect_uri": "javascript:alert(1)"},
        {"redirect_uri": "http://127.0.0.1:notaport/"},
    ],
)
def test_nobody_is_sent_to_an_unknown_place(browser, changes):
    response = browser.get("/ap/oa?" + urlencode({**ASKED, **changes}))
    assert response.status_code == 400 and "Location" not in response.headers


def test_the_form_of_another_session_is_refused(simulator, browser):
    page = Client(simulator).get("/ap/oa?" + urlencode(ASKED))
    fields = dict(re.findall(r'name="(request|nonce)" value="([^"]*)"', page.text))
    browser.get("/ap/oa?" + urlencode(ASKED))
    fields["request"] = _unescape(fields["request"])
    response = browser.post("/ap/oa", data={**fields, "person": "admin", "answer": "allow"})
    assert response.status_code == 400
    assert Client(simulator).post("/ap/oa", data={**fields, "person": "admin", "answer": "allow"}).status_code == 400


def test_a_code_works_once(browser):
    code = code_of(consent(browser))
    assert exchange(browser, code).status_code == 200
    again = exchange(browser, code)
    assert again.status_code == 400
    assert again.json == {
        "error": "invalid_grant",
        "error_description": "The request has an invalid parameter : code",
    }


def test_a_code_works_for_five_minutes(simulator, browser):
    early, late = code_of(consent(browser)), code_of(consent(browser))
    simulator.clock.advance(290)
    assert exchange(browser, early).status_code == 200
    simulator.clock.advance(11)
    assert exchange(browser, late).json["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"client_secret": None}, 401, "invalid_client"),
        ({"client_id": "other"}, 401, "invalid_client"),
        ({"client_id": None}, 400, "invalid_request"),
        ({"redirect_uri": "http://127.0.0.1:8000/elsewhere"}, 400, "invalid_grant"),
        ({"redirect_uri": None}, 400, "invalid_request"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": None}, 400, "invalid_request"),
        ({"code_verifier": "not asked for"}, 400, "invalid_grant"),
    ],
)
def test_a_wrong_exchange_is_refused_and_the_code_stays_good(browser, changes, status, error):
    code = code_of(consent(browser))
    refused = exchange(browser, code, **changes)
    assert (refused.status_code, refused.json["error"]) == (status, error)
    assert exchange(browser, code).status_code == 200


def test_pkce_binds_the_code_to_its_verifier(browser):
    verifier = "v" * 64
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    code = code_of(consent(browser, code_challenge=challenge, code_challenge_method="S256"))
    assert exchange(browser, code).json["error"] == "invalid_grant"
    assert exchange(browser, code, code_verifier="w" * 64).json["error"] == "invalid_grant"
    assert exchange(browser, code, code_verifier=verifier).status_code == 200


def test_an_access_token_lasts_an_hour_and_the_refresh_token_stays_the_same(simulator, browser):
    first = exchange(browser, code_of(consent(browser))).json
    simulator.clock.advance(3601)
    old = browser.get("/user/profile", headers={"Authorization": f"Bearer {first['access_token']}"})
    assert (old.status_code, old.json["error"]) == (401, "invalid_token")
    form = {
        "grant_type": "refresh_token",
        "refresh_token": first["refresh_token"],
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
    }
    second = browser.post("/auth/o2/token", data=form).json
    assert second["refresh_token"] == first["refresh_token"]
    assert second["access_token"] != first["access_token"]
    assert (
        browser.get("/user/profile", headers={"Authorization": f"Bearer {second['access_token']}"}).status_code == 200
    )


def test_revoking_ends_the_grant_at_once(simulator, browser):
    tokens = exchange(browser, code_of(consent(browser))).json
    assert browser.post("/_simulator/people/analyst/revoke").json == {"revoked": 1}
    profile = browser.get("/user/profile", headers={"Authorization": f"Bearer {tokens['access_token']}"})
    assert profile.status_code == 401
    form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"], "client_id": CLIENT_ID}
    refused = browser.post("/auth/o2/token", data={**form, "client_secret": CLIENT_SECRET})
    assert (refused.status_code, refused.json["error"]) == (400, "invalid_grant")


def test_the_profile_shows_what_the_scopes_allow(simulator, browser):
    only_id = simulator.login.issue("analyst", ["profile:user_id"])["access_token"]
    assert list(browser.get("/user/profile", headers={"Authorization": f"Bearer {only_id}"}).json) == ["user_id"]
    nothing = simulator.login.issue("analyst", ["advertising::campaign_management"])["access_token"]
    refused = browser.get("/user/profile", headers={"Authorization": f"Bearer {nothing}"})
    assert (refused.status_code, refused.json["error"]) == (403, "insufficient_scope")
    assert browser.get("/user/profile").json["error"] == "invalid_request"
