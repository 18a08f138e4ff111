"""Connecting an Amazon login to AMC, choosing accounts, losing the grant and making it again."""

import re
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core import mail
from django.utils import timezone

from onboarding.clients.amc import AmcClient
from onboarding.clients.failures import Reconnect
from onboarding.engine import deliveries
from onboarding.models import (
    AmcAccount,
    AmcConnection,
    AuditEntry,
    Instance,
    Person,
    Role,
    Run,
    Step,
    StepState,
)
from onboarding.services import connections as service
from onboarding.services import instances_import
from simulator import people
from tests.simulated import browser, connect, database_bytes, somebody

pytestmark = pytest.mark.django_db


@pytest.fixture
def root() -> Person:
    return somebody("Root", is_superuser=True)


@pytest.fixture
def imports(monkeypatch) -> list[int]:
    """The accounts whose import was put on the queue."""
    wanted: list[int] = []
    monkeypatch.setattr("onboarding.views.connections.put_import", lambda pk: wanted.append(pk) or True)
    return wanted


def to_amazon(client, path="/connections/new") -> str:
    answer = client.post(path)
    assert answer.status_code == 302
    return answer["Location"]


def text(answer) -> str:
    return answer.content.decode()


def test_a_login_is_connected_and_its_accounts_are_chosen(amazon, root, imports):
    client = browser(root)
    assert "Continue to Amazon" in text(client.get("/connections/new"))
    address = to_amazon(client)
    query = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
    assert query["scope"] == "profile advertising::campaign_management"
    assert query["code_challenge_method"] == "S256" and len(query["state"]) >= 32
    back = client.get(amazon.consent(address, "admin"))
    connection = AmcConnection.objects.get()
    assert back["Location"] == f"/connections/{connection.pk}/accounts"
    assert (connection.label, connection.state) == ("ingrid@harbour.example", "working")
    page = text(client.get(back["Location"]))
    values = re.findall(r'name="accounts" value="([^"]+)"', page)
    assert sorted(values) == sorted(f"{one.id}/{one.marketplace}" for one in people.ACCOUNTS)
    chosen = [f"{one.id}/{one.marketplace}" for one in (people.HARBOUR, people.PAPERBOAT)]
    answer = client.post(back["Location"], {"accounts": chosen}, follow=True)
    assert "Harbour and Pine" in text(answer)
    assert imports == list(AmcAccount.objects.order_by("pk").values_list("pk", flat=True)) and len(imports) == 2
    assert set(Role.objects.values_list("person", "name")) == {(root.pk, "admin")}
    assert [entry.act for entry in AuditEntry.objects.all()] == ["connection.made", "account.added", "account.added"]
    left = text(client.get(back["Location"]))
    assert len(re.findall(r'name="accounts"', left)) == 2 and "Here already" in left


def test_an_account_that_the_login_does_not_list_cannot_be_added(amazon, root, imports):
    client = browser(root)
    back = client.get(amazon.consent(to_amazon(client), "agency"))
    foreign = f"{people.HARBOUR.id}/{people.HARBOUR.marketplace}"
    assert client.post(back["Location"], {"accounts": [foreign]}).status_code == 422
    assert client.post(back["Location"], {}).status_code == 422
    assert not AmcAccount.objects.exists() and not imports


def test_accounts_come_page_by_page(amazon, root):
    amazon.control("POST", "settings", page_size=1)
    account = connect(amazon)
    found = service.reachable_accounts(account.connection)
    assert [one.name for one in found] == sorted(one.name for one in people.ACCOUNTS)
    assert [one.taken for one in found if one.taken] == [account]
    assert len(amazon.exchanges("amc:AmcpLinkListAmcAccounts")) >= len(people.ACCOUNTS)


@pytest.mark.django_db(transaction=True)
def test_no_token_lies_in_the_database_or_the_session_after_connecting(amazon, tmp_path):
    client = browser(somebody("Root", is_superuser=True))
    client.get(amazon.consent(to_amazon(client), "admin"))
    assert AmcConnection.objects.get().refresh_token.startswith("Atzr|")
    everything = database_bytes(tmp_path)
    assert b"ingrid@harbour.example" in everything
    assert b"Atza" not in everything and b"Atzr" not in everything
    assert "Atz" not in str(dict(client.session))


def test_the_callback_works_once_in_its_own_browser_and_in_time(amazon, root, monkeypatch):
    client, other = browser(root), browser(root)
    back = amazon.consent(to_amazon(client), "admin")
    assert other.get(back).status_code == 400
    assert client.get("/connections/callback?code=x&state=made-up").status_code == 400
    # The made-up state used the grant up: one try is all there is.
    assert client.get(back).status_code == 400
    assert not AmcConnection.objects.exists()
    back = amazon.consent(to_amazon(client), "admin")
    session = client.session
    session["amazon_grant"] = {**session["amazon_grant"], "at": session["amazon_grant"]["at"] - 901}
    session.save()
    assert client.get(back).status_code == 400
    back = amazon.consent(to_amazon(client), "admin")
    assert client.get(back).status_code == 302
    assert client.get(back).status_code == 400
    assert AmcConnection.objects.count() == 1


def test_saying_no_connects_nothing(amazon, root):
    client = browser(root)
    answer = client.get(amazon.consent(to_amazon(client), "admin", answer="cancel"))
    assert answer.status_code == 403 and "was not allowed to connect" in text(answer)
    assert not AmcConnection.objects.exists()


def test_a_code_that_amazon_refuses_and_an_amazon_that_is_away(amazon, root):
    client = browser(root)
    state = parse_qs(urlsplit(to_amazon(client)).query)["state"][0]
    answer = client.get("/connections/callback", {"code": "ANmadeup", "state": state})
    assert answer.status_code == 502 and "did not accept the sign-in" in text(answer)
    assert "ANmadeup" not in text(answer)
    back = amazon.consent(to_amazon(client), "admin")
    amazon.rule("lwa:token", kind="cut_before")
    assert client.get(back).status_code == 503
    assert not AmcConnection.objects.exists()


def paused_step(account: AmcAccount, owner: Person) -> Step:
    now = timezone.now()
    instance = Instance.objects.create(account=account, name="Acme US", status_since=now)
    run = Run.objects.create(account=account, instance=instance, owner=owner, started_at=now)
    return Step.objects.create(
        run=run,
        key="amc-access",
        position=1,
        state=StepState.WAITING,
        since=now,
        waiting_for=f"amc:{account.connection_id}",
    )


def test_a_revoked_grant_says_so_and_reconnecting_lets_what_was_paused_go_on(amazon, connected, monkeypatch):
    put: list[int] = []
    monkeypatch.setattr("onboarding.engine.queue.put", lambda ids: put.extend(ids) or True)
    admin = somebody("Ada", connected, "admin")
    client, connection = browser(admin), connected.connection
    step = paused_step(connected, admin)
    amazon.revoke("admin")
    instances_import.import_account(connected.pk)
    page = text(client.get("/connections/"))
    assert "Has to be reconnected" in page and "taken the permission back" in page
    assert f"Reconnect {connection.label}" in page
    assert deliveries.send_due(now=timezone.now()) == 1
    assert mail.outbox[0].to == ["ada@example.com"] and "has to be renewed" in mail.outbox[0].subject
    client.get(amazon.consent(to_amazon(client, f"/connections/{connection.pk}/reconnect"), "admin"))
    connection.refresh_from_db()
    assert (connection.state, connection.broken_reason) == ("working", "")
    assert put == [step.pk]
    page = text(client.get("/connections/"))
    assert "is connected again" in page and "Has to be reconnected" not in page
    assert AmcClient.of(AmcAccount.objects.get(pk=connected.pk)).call("listInstances")["instances"]
    acts = list(AuditEntry.objects.values_list("act", flat=True))
    assert acts == ["connection.broken", "connection.made_again"]


def test_another_login_cannot_take_a_connection_over(amazon, connected):
    admin = somebody("Ada", connected, "admin")
    client, before = browser(admin), AmcConnection.objects.get().refresh_token
    path = f"/connections/{connected.connection_id}/reconnect"
    answer = client.get(amazon.consent(to_amazon(client, path), "agency"))
    assert answer.status_code == 409 and "belongs to another Amazon login" in text(answer)
    assert AmcConnection.objects.get().refresh_token == before


def test_connecting_the_same_login_again_keeps_its_row(amazon, connected, root):
    client = browser(root)
    AmcConnection.objects.update(state="broken", broken_reason="gone")
    client.get(amazon.consent(to_amazon(client), "admin"))
    connection = AmcConnection.objects.get()
    assert connection.pk == connected.connection_id and connection.state == "working"


def test_an_account_out_of_reach_is_named_after_reconnecting(amazon, connected, root):
    AmcAccount.objects.create(entity_id="ENTITYGONE", marketplace_id="M", name="Gone", connection=connected.connection)
    client = browser(root)
    path = f"/connections/{connected.connection_id}/reconnect"
    client.get(amazon.consent(to_amazon(client, path), "admin"))
    assert "Gone is out of this login" in text(client.get("/connections/"))


@pytest.mark.django_db(transaction=True)
def test_refresh_puts_an_import_on_the_queue_or_says_that_it_is_away(amazon, imports, monkeypatch):
    connected = connect(amazon)
    client = browser(somebody("Ada", connected, "admin"))
    assert "are being read" in text(client.post(f"/accounts/{connected.pk}/refresh", follow=True))
    assert imports == [connected.pk]
    monkeypatch.setattr("onboarding.views.connections.put_import", instances_import.put_import)
    assert "queue does not answer" in text(client.post(f"/accounts/{connected.pk}/refresh", follow=True))


def test_an_admin_sees_the_accounts_they_administer_and_no_others(amazon, connected):
    harbour = connect(amazon, account=people.HARBOUR)
    lumen = connect(amazon, "agency", people.LUMEN)
    page = text(browser(somebody("Ada", connected, "admin")).get("/connections/"))
    assert connected.name in page and harbour.name not in page and lumen.name not in page
    assert "kofi@lumen.example" not in page
    assert f"/accounts/{connected.pk}/users/" in page and f"/accounts/{connected.pk}/policy/" in page


def test_the_policy_is_kept_within_its_bounds_and_written_down(connected):
    client = browser(somebody("Ada", connected, "admin"))
    path = f"/accounts/{connected.pk}/policy/"
    page = text(client.get(path))
    assert 'value="14"' in page and "Too few approvers" in page
    assert "Join the collaboration" in page
    # What only reads, and what can't be undone, is not for the policy to set free.
    assert not any(title in page for title in ("Check access to AWS", "See what would be lost", "Leave the"))
    good = {"approvers_needed": 2, "approvers_needed_to_delete": 3, "request_days": 7}
    for name, value in [("approvers_needed", 0), ("approvers_needed", 6), ("request_days", 0), ("request_days", "x"),
                        ("steps_without_approval", "made-up")]:  # fmt: skip
        assert client.post(path, {**good, name: value}).status_code == 422
    assert client.post(path, {**good, "steps_without_approval": "create-instance"}).status_code == 302
    client.post(path, {**good, "steps_without_approval": "create-instance"})
    connected.refresh_from_db()
    assert connected.policy.approvers_needed == 2 and connected.policy.request_days == 7
    assert connected.policy.steps_without_approval == ["create-instance"]
    entry = AuditEntry.objects.get()
    assert entry.act == "policy.changed" and entry.details["before"]["approvers_needed"] == 1


def test_a_broken_connection_is_told_once_a_day(connected):
    somebody("Ada", connected, "admin")
    failure, now = Reconnect("gone", connection=f"amc:{connected.connection_id}"), timezone.now()
    for hours in (0, 0, 24):
        service.tell_broken(failure, connected.connection, now=now + timedelta(hours=hours))
    assert deliveries.send_due(now=now + timedelta(hours=25)) == 2
