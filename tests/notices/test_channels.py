"""Messages by mail, Slack, Teams and webhooks: to whom, how soon, never twice, signed, and to allowed hosts only."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import smtplib
from datetime import timedelta
from types import SimpleNamespace

import pytest
import requests
from django.core import mail
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from onboarding.clients import notify
from onboarding.clients.failures import Fix, Later
from onboarding.engine import deliveries
from onboarding.engine.notices import tell, tell_account
from onboarding.models import AuditEntry, Channel, Delivery, Notice
from tests.notices.conftest import text_of

SLACK = "https://hooks.slack.com/services/T1AAAAAAA/B1AAAAAAA/abcdefghijklmnopqrstuvwx"
TEAMS = (
    "https://prod-01.westeurope.logic.azure.com:443/workflows/abc123/triggers/manual/paths/invoke"
    "?api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig=S3cr-et_x"
)


def event(number: int = 1, kind: str = "failed") -> dict:
    return {
        "event": f"{kind}:{number}",
        "subject": f"Acme {number}: a problem <!channel>",
        "text": "The bucket is in eu-west-1.",
        "path": f"/instances/{number}/",
        "now": timezone.now() - timedelta(minutes=1),
    }


def add(client, url: str, kind: str, address: str, name: str = "Team"):
    return client.post(url, {"kind": kind, "name": name, "address": address})


@pytest.fixture
def posted(monkeypatch):
    """What the library would have sent, and what it is answered: a status or a failure of the connection."""
    seen = SimpleNamespace(calls=[], answers=[])

    def request(self, method, url, **how):
        seen.calls.append((url, how))
        answer = seen.answers.pop(0) if seen.answers else 200
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(status_code=answer, content=b"ok", headers={}, text="ok")

    monkeypatch.setattr("requests.Session.request", request)
    return seen


def test_mail_goes_out_once_with_a_link_and_the_same_id_for_every_try(admin, account):
    tell([admin], **event())
    tell([admin], **event())
    now = timezone.now()
    assert deliveries.send_due(now=now) == 1 and deliveries.send_due(now=now) == 0
    (sent,) = mail.outbox
    assert sent.to == [admin.email] and "http://testserver/instances/1/" in sent.body
    assert str(Delivery.objects.get().key) in sent.extra_headers["Message-ID"]


def test_each_topic_goes_at_once_once_a_day_or_not_at_all(as_, admin, settings):
    client = as_(admin)
    client.get("/notices/settings/")
    channel = Channel.objects.get(person=admin)
    now = timezone.now()
    everything = {f"c{channel.pk}-{topic}": "now" for topic in ("asked", "decided", "connection", "people", "other")}
    paces = {f"c{channel.pk}-problem": "daily", f"c{channel.pk}-done": "off", f"c{channel.pk}-difference": "now"}
    assert client.post(f"/channels/{channel.pk}/topics", {**everything, **paces}).status_code == 302
    for number in (1, 2):
        tell([admin], **event(number))
    tell([admin], **event(3, "done"))
    tell([admin], **event(4, "drift"))
    assert deliveries.send_due(now=now) == 1 and "Acme 4" in mail.outbox[0].subject
    due = deliveries.next_digest(now)
    assert deliveries.send_due(now=due - timedelta(seconds=1)) == 0
    assert deliveries.send_due(now=due) == 1 and deliveries.send_due(now=due) == 0
    digest = mail.outbox[1]
    assert "2 messages of the last day" in digest.subject
    assert "Acme 1" in digest.body and "http://testserver/instances/2/" in digest.body and "Acme 3" not in digest.body
    # All four are under Messages, whatever went out.
    assert Notice.objects.filter(person=admin).count() == 4
    entry = AuditEntry.objects.get(act="channel.changed")
    assert entry.details["after"] == {"problem": "daily", "done": "off"}


def test_a_digest_goes_out_at_the_hour_of_the_setting(settings):
    settings.DIGEST_HOUR = 7
    morning = timezone.now().replace(hour=6, minute=59)
    assert deliveries.next_digest(morning) - morning < timedelta(minutes=2)
    assert deliveries.next_digest(morning + timedelta(minutes=1)).day != morning.day


def test_slack_and_teams_get_text_that_mentions_nobody_and_follow_nothing(as_, admin, account, posted, caplog):
    caplog.set_level(logging.DEBUG)
    url = f"/accounts/{account.pk}/channels/"
    client = as_(admin)
    assert add(client, url, "slack", SLACK).status_code == 302
    assert add(client, url, "teams", TEAMS, "Teams").status_code == 302
    tell_account(account, **event())
    assert deliveries.send_due(now=timezone.now()) == 2
    (slack, how), (teams, card) = posted.calls
    assert slack == SLACK and how["allow_redirects"] is False and how["verify"] is True
    assert "<!channel>" not in how["data"] and "http://testserver/instances/1/" in how["data"]
    assert teams == TEAMS.partition("?")[0] and card["params"]["sig"] == "S3cr-et_x"
    assert "github.com" not in how["data"] + card["data"]
    # The addresses are shown to nobody, stored encrypted, and in no log.
    page = client.get(url).content.decode()
    assert "hooks.slack.com" in page and "abcdefghijklmnopqrstuvwx" not in page
    with connection.cursor() as cursor:
        cursor.execute("SELECT address FROM onboarding_channel")
        assert not any("hooks.slack" in row[0] or "S3cr" in row[0] for row in cursor.fetchall())
    assert "abcdefghijklmnopqrstuvwx" not in caplog.text and "S3cr-et_x" not in caplog.text
    assert "abcdefghijklmnopqrstuvwx" not in json.dumps(list(AuditEntry.objects.values_list("details", flat=True)))


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        (503, "due"),
        (429, "due"),
        (404, "failed"),
        (302, "failed"),
        (requests.ConnectionError("HTTPSConnectionPool: NewConnectionError refused"), "due"),
        (requests.ReadTimeout("Read timed out."), "unknown"),
        (requests.ConnectionError("Connection aborted."), "unknown"),
    ],
)
def test_what_may_have_been_posted_is_not_posted_again(admin, account, posted, answer, state):
    Channel.objects.create(account=account, kind="slack", name="Team", address=SLACK, made_at=timezone.now())
    tell_account(account, **event())
    posted.answers.append(answer)
    now = timezone.now()
    assert deliveries.send_due(now=now) == 0
    row = Delivery.objects.get()
    assert row.state == state and row.channel.problem and "T1AAAAAAA" not in row.channel.problem
    assert deliveries.send_due(now=now + timedelta(seconds=30)) == 0
    assert deliveries.send_due(now=now + timedelta(hours=1)) == (state == "due")
    assert len(posted.calls) == (2 if state == "due" else 1)


def test_a_webhook_is_signed_and_carries_one_key_through_every_try(as_, admin, account, hook):
    client, url = as_(admin), f"/accounts/{account.pk}/channels/"
    page = add(client, url, "webhook", hook.address)
    assert page.status_code == 200 and "no-store" in page["Cache-Control"]
    secret = Channel.objects.get(account=account).key
    assert secret in page.content.decode() and "SECRETPATH" not in page.content.decode()
    assert secret not in client.get(url).content.decode()
    tell_account(account, **event())
    hook.answers = [500]
    now = timezone.now()
    assert deliveries.send_due(now=now) == 0
    assert deliveries.send_due(now=now + timedelta(minutes=10)) == 1
    (path, first, body), (_, second, again) = hook.got
    assert path == "/in?secret=SECRETPATH" and body == again
    assert first["webhook-id"] == second["webhook-id"] == first["Idempotency-Key"] == json.loads(body)["id"]
    assert first["Host"] == hook.address.split("/")[2]
    signed = f"{first['webhook-id']}.{first['webhook-timestamp']}.".encode() + body
    wanted = hmac.new(base64.b64decode(secret.removeprefix("whsec_")), signed, hashlib.sha256).digest()
    assert first["webhook-signature"] == "v1," + base64.b64encode(wanted).decode()
    assert json.loads(body)["items"] == [
        {
            "topic": "problem",
            "subject": "Acme 1: a problem <!channel>",
            "text": "The bucket is in eu-west-1.",
            "url": "http://testserver/instances/1/",
        }
    ]
    channel = Channel.objects.get(account=account)
    assert channel.last_sent_at and not channel.problem
    renewed = client.post(f"/channels/{channel.pk}/key").content.decode()
    channel.refresh_from_db()
    assert channel.key in renewed and channel.key != secret


def test_a_clock_that_died_while_sending_doubles_nothing(admin, account, hook, posted):
    now = timezone.now()
    for kind, address in (("webhook", hook.address), ("slack", SLACK)):
        Channel.objects.create(
            account=account, kind=kind, name=kind, address=address, key=notify.new_key(), made_at=now
        )
    tell_account(account, **event())
    deliveries._spread(now)
    for row in Delivery.objects.all():
        assert deliveries._claimed(row, now)
        # A second clock that has read the same row is too late.
        assert not deliveries._claimed(Delivery(pk=row.pk, attempts=0), now)
    assert deliveries.send_due(now=now + timedelta(minutes=4)) == 0 and not hook.got
    assert deliveries.send_due(now=now + timedelta(minutes=6)) == 1
    webhook = Delivery.objects.get(channel__kind="webhook")
    assert webhook.state == "sent" and hook.got[0][1]["webhook-id"] == str(webhook.key)
    assert Delivery.objects.get(channel__kind="slack").state == "unknown" and not posted.calls


def test_no_redirect_is_followed_and_a_refusal_is_shown(as_, admin, account, hook):
    Channel.objects.create(
        account=account, kind="webhook", name="Hook", address=hook.address, key=notify.new_key(), made_at=timezone.now()
    )
    channel = Channel.objects.get()
    as_(admin).post(f"/channels/{channel.pk}/test")
    hook.answers = [302]
    assert deliveries.send_due(now=timezone.now()) == 0 and len(hook.got) == 1
    assert "refused the message (302)" in text_of(as_(admin).get(f"/accounts/{account.pk}/channels/"))


def send(hook) -> None:
    message = notify.Message("k", "test", "t", "t", {})
    notify.post("webhook", hook.address, notify.new_key(), message, now=0.0)


def test_private_addresses_other_hosts_and_wrong_certificates_are_refused(hook, settings, monkeypatch):
    settings.WEBHOOK_PRIVATE = False
    with pytest.raises(Fix, match="private address"):
        send(hook)
    # A name that leads to a public and to a private address is refused too.
    both = [(0, 0, 0, "", ("93.184.215.14", 443)), (0, 0, 0, "", ("169.254.169.254", 443))]
    with monkeypatch.context() as there:
        there.setattr(notify.socket, "getaddrinfo", lambda *a, **k: both)
        with pytest.raises(Fix, match="private address"):
            send(hook)
    settings.WEBHOOK_PRIVATE = True
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(Later, match="could not be reached"):
        send(hook)
    settings.WEBHOOK_HOSTS = []
    with pytest.raises(Fix, match="may not be posted to"):
        send(hook)
    assert not hook.got


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        ("slack", "https://hooks.slack.com.evil.example/services/T1/B1/x"),
        ("slack", "http://hooks.slack.com/services/T1/B1/x"),
        ("slack", "https://hooks.slack.com/services/T1/B1/x?verify=no"),
        ("teams", "https://logic.azure.com.evil.example/workflows/a/triggers/manual/paths/invoke?sig=x"),
        ("teams", "https://a.logic.azure.com/workflows/a/triggers/manual/paths/invoke?sig=x&verify=no"),
        ("webhook", "https://elsewhere.example/"),
        ("webhook", "http://hooks.example.com/"),
        ("webhook", "https://user:pw@hooks.example.com/"),
        ("webhook", "https://hooks.example.com:8443/"),
        ("webhook", "https://[::1"),
        ("email", "no address"),
    ],
)
def test_an_address_elsewhere_cannot_be_added(as_, admin, account, settings, kind, address):
    settings.WEBHOOK_HOSTS = ["hooks.example.com"]
    answer = add(as_(admin), f"/accounts/{account.pk}/channels/", kind, address)
    assert answer.status_code == 422 and not Channel.objects.exists()


def test_a_mail_server_that_is_away_or_refuses(admin, monkeypatch):
    tell([admin], **event())
    now, backend = timezone.now(), "django.core.mail.backends.locmem.EmailBackend"
    with monkeypatch.context() as away:
        away.setattr(f"{backend}.open", lambda self: (_ for _ in ()).throw(ConnectionRefusedError()), raising=False)
        assert deliveries.send_due(now=now) == 0
    assert Delivery.objects.get().state == "due"
    with monkeypatch.context() as cut:
        gone = smtplib.SMTPServerDisconnected("gone")
        cut.setattr(f"{backend}.send_messages", lambda self, all_: (_ for _ in ()).throw(gone))
        assert deliveries.send_due(now=now + timedelta(hours=1)) == 0
    # The server had the message when it went: nobody can tell, so it is not sent again.
    assert Delivery.objects.get().state == "unknown" and not mail.outbox
    tell([admin], **event(2))
    refused = smtplib.SMTPRecipientsRefused({admin.email: (550, b"no such user")})
    with monkeypatch.context() as no:
        no.setattr(f"{backend}.send_messages", lambda self, all_: (_ for _ in ()).throw(refused))
        deliveries.send_due(now=now + timedelta(hours=1))
    assert Delivery.objects.latest("pk").state == "failed"


def test_what_is_away_gives_up_after_days_and_rests_in_between(account, hook):
    now = timezone.now()
    Channel.objects.create(
        account=account, kind="webhook", name="H", address=hook.address, key=notify.new_key(), made_at=now
    )
    for number in range(5):
        tell_account(account, **event(number))
    hook.answers = [503] * 50
    deliveries.send_due(now=now)
    assert len(hook.got) == 1
    deliveries.send_due(now=now + timedelta(days=4))
    assert Delivery.objects.filter(state="failed").count() >= 1 and len(hook.got) <= 6


def test_nobody_who_was_shut_out_or_has_no_address_is_written_to(admin, analyst, approver):
    admin.email = ""
    admin.save()
    tell([admin, analyst, approver], **event())
    analyst.is_active = False
    analyst.save()
    deliveries._spread(timezone.now())
    approver.is_active = False
    approver.save()
    assert deliveries.send_due(now=timezone.now()) == 0 and not mail.outbox
    assert Delivery.objects.get().state == "failed"


def test_own_channels_and_those_of_an_account_are_kept_apart(as_, admin, analyst, account, posted):
    add(as_(analyst), "/notices/settings/", "slack", SLACK, "Mine")
    assert add(as_(analyst), "/notices/settings/", "email", "other@example.com").status_code == 422
    tell([analyst], **event())
    tell_account(account, **event())
    assert deliveries.send_due(now=timezone.now()) == 2
    assert len(mail.outbox) == len(posted.calls) == 1 and not Notice.objects.filter(account=account).exists()
    channel = Channel.objects.get(kind="slack")
    assert as_(admin).post(f"/channels/{channel.pk}/remove").status_code == 404
    client = as_(analyst)
    assert client.post(f"/channels/{channel.pk}/remove").status_code == 302
    own = Channel.objects.get(person=analyst)
    assert "removed" in text_of(client.post(f"/channels/{own.pk}/remove", follow=True))
    assert Channel.objects.filter(pk=own.pk).exists()


def test_the_pages_take_as_many_queries_for_ten_channels_as_for_one(as_, admin, account):
    client = as_(admin)
    urls = ("/notices/settings/", f"/accounts/{account.pk}/channels/")

    def count(url: str) -> int:
        with CaptureQueriesContext(connection) as seen:
            assert client.get(url).status_code == 200
        return len(seen)

    for url in urls:
        client.get(url)
    before = [count(url) for url in urls]
    for index in range(9):
        for owner in ({"person": admin}, {"account": account}):
            Channel.objects.create(**owner, kind="slack", name=f"C{index}", made_at=timezone.now())
    assert [count(url) for url in urls] == before and max(before) <= 9, before


def test_the_link_of_a_message_survives_the_sign_in_and_leads_nowhere_else(as_, admin):
    answer = Client().get("/instances/1/?tab=x")
    assert answer.status_code == 302 and answer["Location"] == "/sign-in?next=/instances/1/%3Ftab%3Dx"
    page = Client().get(answer["Location"]).content.decode()
    assert 'name="next" value="/instances/1/?tab=x"' in page
    assert as_(admin).get(answer["Location"])["Location"] == "/instances/1/?tab=x"
    elsewhere = Client().get("/sign-in?next=https://evil.example/").content.decode()
    assert 'value="https://evil' not in elsewhere and 'href="https://evil' not in elsewhere


def test_ten_channels_are_the_most_besides_ones_own_e_mail(as_, admin, account):
    client = as_(admin)
    for owner, url in (
        ({"person": admin}, "/notices/settings/"),
        ({"account": account}, f"/accounts/{account.pk}/channels/"),
    ):
        client.get(url)
        for index in range(9):
            Channel.objects.create(**owner, kind="slack", name=f"C{index}", made_at=timezone.now())
        assert add(client, url, "slack", SLACK, "The tenth").status_code in (200, 302)
        refused = add(client, url, "slack", SLACK, "One too many")
        assert refused.status_code == 422 and "There are 10 channels already" in text_of(refused)
        assert Channel.objects.filter(**owner, kind="slack").count() == 10
