"""Access tokens: renewed ahead, once for everybody, and what happens when the grant is gone."""

from datetime import timedelta

import pytest
from django.utils import timezone

from onboarding import audit
from onboarding.clients import login
from onboarding.clients.amc import AmcClient
from onboarding.clients.failures import Later, Reconnect
from onboarding.models import AmcConnection, AuditEntry
from tests.simulated import connect, database_bytes, in_threads


def row() -> AmcConnection:
    return AmcConnection.objects.get()


def test_a_token_is_used_again_until_five_minutes_before_its_end(amazon, connected):
    now = timezone.now()
    first = login.access_token(row(), now)
    assert login.access_token(row(), now + timedelta(minutes=54)) == first
    assert len(amazon.exchanges("lwa:token")) == 1
    second = login.access_token(row(), now + timedelta(minutes=56))
    assert second != first
    assert len(amazon.exchanges("lwa:token")) == 2


def test_while_somebody_renews_it_the_old_token_is_used(amazon, connected):
    now = timezone.now()
    first = login.access_token(row(), now)
    later = now + timedelta(minutes=57)
    AmcConnection.objects.update(refreshing_until=later + timedelta(seconds=5))
    assert login.access_token(row(), later) == first
    with pytest.raises(Later) as caught:
        login.access_token(row(), later, rejected=first)
    assert caught.value.retry_after == 1
    after_the_lease = later + timedelta(seconds=6)
    assert login.access_token(row(), after_the_lease) != first
    assert row().refreshing_until is None


def test_when_amazon_is_away_the_old_token_is_used_while_it_is_valid(amazon, connected):
    now = timezone.now()
    first = login.access_token(row(), now)
    amazon.rule("lwa:token", times=None, kind="error", status=503)
    assert login.access_token(row(), now + timedelta(minutes=57)) == first
    with pytest.raises(Later):
        login.access_token(row(), now + timedelta(minutes=61))
    assert row().refreshing_until is None
    assert row().state == "working"


@pytest.mark.django_db(transaction=True)
def test_eight_workers_renew_it_once(amazon, tmp_path, monkeypatch):
    account = connect(amazon)
    amazon.rule("lwa:token", kind="slow", seconds=0.5)
    waited = []

    def act():
        deadline = timezone.now() + timedelta(seconds=20)
        while timezone.now() < deadline:
            try:
                return login.access_token(account.connection)
            except Later as later:
                waited.append(later)
        raise AssertionError("no token in time")

    tokens = in_threads(8, act, tmp_path, monkeypatch)
    assert len(amazon.exchanges("lwa:token")) == 1
    assert len(set(tokens)) == 1 and str(tokens[0]).startswith("Atza|"), tokens
    assert waited


def test_a_revoked_grant_breaks_the_connection_once(amazon, connected):
    client = AmcClient.of(connected)
    client.call("listInstances")
    amazon.revoke("admin")
    for _ in range(2):
        with pytest.raises(Reconnect) as caught:
            client.call("listInstances")
        assert caught.value.connection == f"amc:{connected.connection_id}"
    assert row().state == "broken"
    assert "taken the permission back" in row().broken_reason
    assert row().access_token == ""
    assert [entry.act for entry in AuditEntry.objects.all()] == ["connection.broken"]
    assert audit.verify().whole
    # Nobody asks Amazon again with a grant that is known to be gone.
    asked = len(amazon.exchanges("lwa:token"))
    with pytest.raises(Reconnect):
        login.access_token(row())
    assert len(amazon.exchanges("lwa:token")) == asked


def test_a_wrong_client_secret_breaks_nothing(amazon, connected, settings):
    settings.LOGIN_CLIENT_SECRET = "wrong"
    with pytest.raises(Later) as caught:
        login.access_token(row())
    assert caught.value.who == "Admin"
    assert row().state == "working"


def test_a_late_bad_news_does_not_break_a_newer_grant(connected):
    stale = row()
    old = stale.refresh_token
    AmcConnection.objects.update(refresh_token="Atzr|newer")
    login.mark_broken(stale, reason="old", refresh_token=old)
    assert row().state == "working"


@pytest.mark.django_db(transaction=True)
def test_no_token_lies_in_the_database_in_clear(amazon, tmp_path):
    connected = connect(amazon)
    access = login.access_token(row())
    refresh = row().refresh_token
    assert access.startswith("Atza|") and refresh.startswith("Atzr|")
    everything = database_bytes(tmp_path)
    assert connected.entity_id.encode() in everything
    for secret in (access, refresh, "Atza|", "Atzr|"):
        assert secret.encode() not in everything
    assert access not in repr(row().__dict__["label"])


def test_no_token_is_logged(amazon, connected, capfd, caplog):
    caplog.set_level("DEBUG")
    AmcClient.of(connected).call("listInstances")
    written = capfd.readouterr()
    for text in (written.out, written.err, caplog.text):
        assert "Atza" not in text and "Atzr" not in text
