"""How answers and silence of Amazon become one of the three kinds of failure."""

from datetime import UTC, datetime

import httpx
import pytest

from onboarding.clients import http
from onboarding.clients.amc import AmcClient
from onboarding.clients.failures import Fix, Later, Reconnect
from onboarding.models import AmcAccount, AmcConnection, AuditEntry

pytestmark = pytest.mark.django_db
NEW = {"instanceName": "Acme US", "awsAccountId": "111122223333", "acrBacked": True}


@pytest.fixture
def account():
    connection = AmcConnection.objects.create(
        label="ada@example.com",
        amazon_id="amzn1.account.A",
        refresh_token="Atzr|refresh",
        access_token="Atza|access",
        access_expires_at=datetime(2100, 1, 1, tzinfo=UTC),
    )
    return AmcAccount.objects.create(entity_id="ENTITY1", marketplace_id="M", name="Acme", connection=connection)


@pytest.fixture
def answering(monkeypatch, account):
    """Makes Amazon answer with the given function of the request; returns the client and what was sent."""

    def use(answer):
        sent = []

        def handle(request):
            sent.append(request)
            result = answer(request)
            if isinstance(result, Exception):
                raise result
            return result

        client = httpx.Client(transport=httpx.MockTransport(handle))
        monkeypatch.setattr(http, "shared_client", lambda: client)
        return AmcClient.of(account), sent

    return use


def refusal(status, **headers):
    return httpx.Response(status, json={"code": str(status), "details": "said by Amazon"}, headers=headers)


@pytest.mark.parametrize(("value", "seconds"), [("7", 7), ("0", 0), ("soon", None), ("", None), ("999999", 86400)])
def test_throttling_waits_as_long_as_amazon_asks(answering, value, seconds):
    client, _ = answering(lambda _: refusal(429, **{"Retry-After": value}))
    with pytest.raises(Later) as caught:
        client.call("createInstance", NEW)
    assert caught.value.retry_after == seconds
    assert caught.value.status == 429
    assert not caught.value.ambiguous


def test_retry_after_may_be_a_date():
    now = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)
    assert http.retry_after_seconds("Sun, 01 Nov 2026 12:00:30 GMT", now) == 30
    assert http.retry_after_seconds("Sun, 01 Nov 2026 11:00:00 GMT", now) == 0
    assert http.retry_after_seconds("nan", now) is None


@pytest.mark.parametrize("status", [500, 502, 503, 504])
@pytest.mark.parametrize(
    ("operation", "params", "ambiguous"),
    [
        ("createInstance", NEW, True),
        ("deleteInstance", {"instanceId": "amc1"}, True),
        ("getInstance", {"instanceId": "amc1"}, False),
        ("listCollaborationIdNamespaces", {"instanceId": "amc1"}, False),
    ],
)
def test_a_server_error_is_for_later_and_ambiguous_where_it_may_have_had_effect(
    answering, status, operation, params, ambiguous
):
    client, _ = answering(lambda _: refusal(status))
    with pytest.raises(Later) as caught:
        client.call(operation, params)
    assert caught.value.ambiguous is ambiguous


@pytest.mark.parametrize(
    ("error", "ambiguous"),
    [
        (httpx.ConnectError("no"), False),
        (httpx.ConnectTimeout("no"), False),
        (httpx.PoolTimeout("no"), False),
        (httpx.ReadTimeout("no"), True),
        (httpx.WriteTimeout("no"), True),
        (httpx.ReadError("cut"), True),
        (httpx.RemoteProtocolError("cut"), True),
    ],
)
def test_silence_is_for_later_and_ambiguous_once_the_call_was_sent(answering, error, ambiguous):
    client, _ = answering(lambda _: error)
    with pytest.raises(Later) as caught:
        client.call("createInstance", NEW)
    assert caught.value.ambiguous is ambiguous
    assert "Bearer" not in repr(caught.value.as_dict())
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("content", [b"<html>busy</html>", b"[]", b"\xff\xfe"])
def test_an_unreadable_answer_is_for_later(answering, content):
    client, _ = answering(lambda _: httpx.Response(200, content=content))
    with pytest.raises(Later) as caught:
        client.call("createInstance", NEW)
    assert caught.value.ambiguous


@pytest.mark.parametrize("status", [400, 403, 404, 409, 415, 422, 418, 302])
def test_a_refusal_says_what_why_who_and_what_to_do(answering, status):
    client, _ = answering(
        lambda _: refusal(status, **{"x-amz-request-id": "req-1", "Location": "http://evil.example/"})
    )
    with pytest.raises(Fix) as caught:
        client.call("createInstance", NEW)
    failure = caught.value
    assert failure.what == "Amazon refused to create the instance"
    assert failure.why and failure.who and failure.todo
    assert failure.code == str(status) and failure.request_id == "req-1"
    assert failure.details["amazon"] == "said by Amazon"
    assert "said by Amazon" not in failure.what + failure.todo
    # Of a refused creation Amazon's own words name the answer that has to be changed.
    assert ("Amazon says: said by Amazon" in failure.why) == (status == 400)


def test_what_amazon_says_of_other_calls_may_be_personal_and_stays_below(answering):
    client, _ = answering(lambda _: refusal(400))
    with pytest.raises(Fix) as caught:
        client.call("inviteUsers", {})
    assert "said by Amazon" not in caught.value.why


def test_the_account_is_named_where_the_login_may_not(answering):
    client, _ = answering(lambda _: refusal(403))
    with pytest.raises(Fix) as caught:
        client.call("listInstances", {})
    assert "Acme" in caught.value.why


def test_the_accounts_api_words_its_errors_otherwise(answering):
    body = {"message": "no rights", "requestId": "req-2"}
    client, _ = answering(lambda _: httpx.Response(403, json=body))
    with pytest.raises(Fix) as caught:
        client.call("AmcpLinkListAmcAccounts")
    assert caught.value.details["amazon"] == "no rights"
    assert caught.value.request_id == "req-2"


def test_a_refused_token_is_renewed_once_and_the_call_made_again(answering, account):
    def answer(request):
        if request.url.path == "/auth/o2/token":
            return httpx.Response(
                200, json={"access_token": "Atza|new", "refresh_token": "Atzr|refresh", "expires_in": 3600}
            )
        good = request.headers["Authorization"] == "Bearer Atza|new"
        return httpx.Response(200, json={"instances": []}) if good else refusal(401)

    client, sent = answering(answer)
    assert client.call("listInstances") == {"instances": []}
    assert [request.url.path for request in sent] == ["/amc/instances", "/auth/o2/token", "/amc/instances"]
    assert client.call("listInstances") == {"instances": []}
    assert len(sent) == 4


def test_a_token_refused_twice_breaks_the_connection(answering, account):
    def answer(request):
        if request.url.path == "/auth/o2/token":
            return httpx.Response(200, json={"access_token": f"Atza|{len(sent)}", "expires_in": 3600})
        return refusal(401)

    client, sent = answering(answer)
    with pytest.raises(Reconnect) as caught:
        client.call("listInstances")
    assert len(sent) == 3
    connection = AmcConnection.objects.get()
    assert caught.value.connection == f"amc:{connection.pk}"
    assert connection.state == "broken" and connection.broken_reason
    assert AuditEntry.objects.get().act == "connection.broken"
    with pytest.raises(Reconnect):
        client.call("listInstances")
    assert len(sent) == 3


def test_a_call_goes_to_amazon_only_and_carries_what_is_demanded(answering, settings):
    client, sent = answering(lambda _: httpx.Response(204))
    assert client.call("deleteInstance", {"instanceId": "@evil.example/x"}) == {}
    request = sent[0]
    assert str(request.url).startswith(settings.AMC_URL + "/amc/instances/%40evil.example%2Fx")
    assert request.headers["Amazon-Advertising-API-ClientId"] == settings.LOGIN_CLIENT_ID
    assert request.headers["Amazon-Advertising-API-AdvertiserId"] == "ENTITY1"
    assert request.headers["Authorization"] == "Bearer Atza|access"


def test_pages_follow_the_token_and_stop_at_null(answering):
    pages = {None: ("a", "2"), "2": ("b", "3"), "3": ("c", None)}

    def answer(request):
        name, after = pages[request.url.params.get("nextToken")]
        return httpx.Response(200, json={"instances": [{"instanceId": name}], "nextToken": after})

    client, sent = answering(answer)
    found = [one["instanceId"] for one in client.pages("listInstances", {"limit": 1}, "instances")]
    assert found == ["a", "b", "c"]
    assert all(request.url.params["limit"] == "1" for request in sent)


def test_a_page_that_repeats_itself_ends(answering):
    client, _ = answering(lambda _: httpx.Response(200, json={"instances": [], "nextToken": "again"}))
    with pytest.raises(Later) as caught:
        list(client.pages("listInstances", None, "instances"))
    assert caught.value.code == "repeated_page"


def test_a_client_is_only_for_accounts_of_its_connection(account):
    other = AmcConnection.objects.create(label="x", amazon_id="amzn1.account.B", refresh_token="r")
    with pytest.raises(ValueError, match="another connection"):
        AmcClient(other, account)
