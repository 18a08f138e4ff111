"""The audit log: found, read side by side, checked in parts, exported, shipped elsewhere."""

from __future__ import annotations

import csv
import io
import json
import socket
import socketserver
import threading
from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from onboarding import audit
from onboarding.clients import audit_target
from onboarding.engine import shipping
from onboarding.models import AuditCheck, AuditCursor, AuditEntry, AuditHead
from onboarding.selectors.audit import changes, side_by_side
from onboarding.services import audit_checks
from portal.env import Environment
from tests.audit.conftest import text_of


def entries(account, actor, number: int, **more) -> None:
    for index in range(number):
        audit.record("run.started", actor=actor, subject=f"Run {index}", account=account, **more)


def numbers(client, query: str) -> list[int]:
    rows = client.get(f"/audit/?format=jsonl&{query}")
    assert rows["Content-Type"] == "application/x-ndjson"
    return [json.loads(line)["number"] for line in rows.getvalue().decode().splitlines()]


def test_entries_are_found_by_person_object_time_act_and_account(as_, account, other_account, admin, analyst, root):
    day = timezone.now() - timedelta(days=3)
    audit.record("run.started", actor=analyst, subject="One", account=account, subject_ref="run:a", now=day)
    audit.record("run.started", actor=None, subject="Two", account=account, subject_ref="run:b")
    audit.record("policy.changed", actor=admin, subject="Three", account=account, subject_ref="account:1")
    audit.record("run.started", actor=root, subject="Four", account=other_account, subject_ref="run:c")
    client = as_(root)
    assert numbers(client, f"actor={analyst.pk}") == [1]
    assert numbers(client, "actor=portal") == [2]
    assert numbers(client, "object=run") == [1, 2, 4]
    assert numbers(client, "object=run:b") == [2]
    assert numbers(client, f"since={day.date()}&until={day.date()}") == [1]
    assert numbers(client, f"since={day.date() + timedelta(days=1)}") == [2, 3, 4]
    assert numbers(client, "act=policy.changed&q=three") == [3]
    assert numbers(client, f"account={other_account.pk}") == [4]
    # What is no day is left out, instead of failing; what is no person or account finds nothing.
    assert numbers(client, "since=x") == [1, 2, 3, 4]
    assert numbers(client, "actor=y") == numbers(client, "account=z") == []
    # An admin exports what they administer, whatever they ask for.
    assert numbers(as_(admin), f"account={other_account.pk}") == [1, 2, 3]
    page = text_of(client.get("/audit/?object=run:b"))
    assert "Two" in page and "Three" not in page and "Save this view" in page


def test_the_page_and_its_search_take_a_bounded_number_of_queries(as_, account, other_account, root):
    client = as_(root)
    entries(account, root, 1)
    client.get("/audit/")

    def count(url: str) -> int:
        with CaptureQueriesContext(connection) as seen:
            assert client.get(url).status_code == 200
        return len(seen)

    before = {url: count(url) for url in ("/audit/", "/audit/1/")}
    entries(account, root, 60, details={"before": {"name": "a"}, "after": {"name": "b"}})
    assert {url: count(url) for url in before} == before
    assert max(before.values()) <= 12, before
    assert count("/audit/?q=run&since=2020-01-01&object=run&actor=portal") <= 12


def test_csv_is_whole_and_harmless_in_a_spreadsheet(as_, account, admin):
    audit.record(
        "run.started", actor=admin, subject="=HYPERLINK(1)", account=account, details={"before": 1, "after": 2}
    )
    rows = list(csv.reader(io.StringIO(as_(admin).get("/audit/?format=csv").getvalue().decode("utf-8-sig"))))
    assert rows[0][:4] == ["No.", "When", "Who", "Act"]
    assert rows[1][4] == "'=HYPERLINK(1)" and json.loads(rows[1][7]) == {"before": 1, "after": 2}


def test_an_entry_shows_what_was_before_and_after_side_by_side(as_, account, admin, outsider):
    old = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:GetObject"]}]}
    new = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"]}]}
    audit.record(
        "difference.accepted",
        actor=admin,
        subject="Trust",
        account=account,
        details={"subject": "role", "before": old, "after": new, "why": "<b>agreed</b>"},
    )
    audit.record(
        "policy.changed",
        actor=admin,
        subject="Policy",
        account=account,
        details={"before": {"days": 14, "same": 1}, "after": {"days": 7, "same": 1}},
    )
    client = as_(admin)
    body = client.get("/audit/1/").content.decode()
    assert "<ins>          &quot;s3:PutObject&quot;</ins>" in body or "s3:PutObject&quot;</ins>" in body
    assert "&lt;b&gt;agreed" in body and "<b>agreed" not in body
    text = text_of(client.get("/audit/2/"))
    assert "days Before: 14 After: 7" in text and "same" not in text.partition("Entry")[0]
    assert as_(outsider).get("/audit/1/").status_code == 404 and client.get("/audit/99/").status_code == 404


def test_what_changed_of_values_of_every_shape():
    assert changes({"role": "viewer"}) == []
    assert [
        (c.what, c.before, c.after) for c in changes({"before": {"a": [1, 2]}, "after": {"a": None, "b": True}})
    ] == [
        ("a", "1, 2", "—"),
        ("b", "—", "yes"),
    ]
    assert [(c.before, c.after) for c in changes({"before": "us-east-1", "after": "eu-west-1"})] == [
        ("us-east-1", "eu-west-1")
    ]
    (policy,) = changes({"before": {"policy": '{"Statement": []}'}, "after": {"policy": '{"Statement": [1]}'}})
    assert [line.kind for line in policy.lines].count("same") == 2
    lines = list(side_by_side(["a", "b", "c"], ["a", "x", "y", "c", "d"]))
    assert [(line.kind, line.before, line.after) for line in lines] == [
        ("same", "a", "a"),
        ("changed", "b", "x"),
        ("new", "", "y"),
        ("same", "c", "c"),
        ("new", "", "d"),
    ]


@pytest.fixture
def long_chain(monkeypatch, account, admin):
    """Seven entries, which count as a long chain, walked three at a time."""
    monkeypatch.setattr(audit_checks, "AT_ONCE", 2)
    monkeypatch.setattr(audit_checks, "PART", 3)
    put: list[int] = []
    monkeypatch.setattr(audit_checks.queue, "put_job", lambda job, pk: put.append(pk))
    entries(account, admin, 7)
    return put


def test_a_long_chain_is_checked_by_a_worker_part_by_part(
    long_chain, as_, admin, root, account, django_capture_on_commit_callbacks
):
    assert "was not checked yet" in text_of(as_(admin).get("/audit/"))
    assert as_(admin).post("/audit/check").status_code == 403
    client = as_(root)
    with django_capture_on_commit_callbacks(execute=True):
        client.post("/audit/check")
        client.post("/audit/check")
    check = AuditCheck.objects.get()
    assert long_chain == [check.pk] and check.ended_at is None
    assert "0 of 7 entries are whole so far" in text_of(client.get("/audit/"))
    assert 'hx-get="/audit/check"' in client.get("/audit/check", headers={"HX-Request": "true"}).content.decode()
    # The worker is lost: the clock puts the check there again, and another goes on.
    audit_checks.put_lost_checks(now=check.moved_at + timedelta(seconds=1))
    assert long_chain == [check.pk]
    audit_checks.put_lost_checks(now=check.moved_at + timedelta(minutes=3))
    assert long_chain == [check.pk, check.pk]
    entries(account, admin, 2)
    audit_checks.go_on(check.pk)
    audit_checks.go_on(check.pk)
    page = text_of(as_(admin).get("/audit/"))
    assert "All 7 entries followed one another" in page and "2 more since then" in page


@pytest.mark.parametrize(
    ("number", "change", "found", "whole"),
    [
        (5, {"subject": "x"}, "Entry 5 was changed", 4),
        (4, {"previous": "0" * 64}, "Entry 4 does not follow entry 3", 3),
        (7, None, "Entry 7 is missing", 6),
        (2, None, "Entry 2 is missing", 1),
    ],
)
def test_each_way_to_break_a_long_chain_is_found(long_chain, as_, root, capsys, number, change, found, whole):
    # By other means than the portal's, which refuse.
    rows = QuerySet(AuditEntry).filter(number=number)
    rows.update(**change) if change else rows._raw_delete(rows.db)
    check = audit_checks.start(root, now=timezone.now())
    audit_checks.go_on(check.pk)
    page = text_of(as_(root).get("/audit/"))
    assert found in page and f"The {whole} entries before are whole" in page
    with pytest.raises(SystemExit):
        call_command("verifyaudit")
    assert found.lower() in capsys.readouterr().err


def test_the_portal_itself_changes_and_deletes_no_entry(account, admin):
    entries(account, admin, 2)
    entry = AuditEntry.objects.get(number=1)
    entry.subject = "x"
    for act in (
        entry.save,
        entry.delete,
        lambda: AuditEntry.objects.filter(number=1).update(subject="x"),
        lambda: AuditEntry.objects.bulk_update([entry], ["subject"]),
        AuditEntry.objects.all().delete,
    ):
        with pytest.raises(TypeError, match="never"), transaction.atomic():
            act()
    assert AuditEntry.objects.count() == 2 and audit.verify().problem == ""


def test_a_head_that_was_set_back_or_rewritten_is_found(account, admin):
    entries(account, admin, 3)
    AuditHead.objects.update(number=2, hash=AuditEntry.objects.get(number=2).hash)
    assert audit.verify().problem == "entry 3 was added by other means"
    AuditHead.objects.update(number=3, hash="f" * 64)
    assert audit.verify().problem == "entry 3 is not the one that was written last"


# --- shipping


def shipped(path) -> list[int]:
    return [json.loads(line)["number"] for line in path.read_text().splitlines()]


def test_entries_go_to_a_file_once_and_in_order_whatever_is_cut_off(settings, tmp_path, account, admin, monkeypatch):
    path = tmp_path / "audit.jsonl"
    settings.AUDIT_SHIP = str(path)
    monkeypatch.setattr(shipping, "BATCH", 3)
    entries(account, admin, 5)
    now = timezone.now()
    assert [shipping.ship(now=now) for _ in range(3)] == [3, 2, 0]
    assert shipped(path) == [1, 2, 3, 4, 5] and path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text().splitlines()[4]) == audit.as_document(AuditEntry.objects.get(number=5))
    # A clock died after it wrote, before the cursor moved, in the middle of a line.
    entries(account, admin, 1)
    with path.open("a") as file:
        file.write('{"number": 6, "at": "20')
    AuditCursor.objects.update(number=3)
    assert shipping.ship(now=now) == 3
    assert shipped(path) == [1, 2, 3, 4, 5, 6]


def test_a_target_that_is_away_loses_nothing(settings, tmp_path, account, admin):
    settings.AUDIT_SHIP = str(tmp_path / "there" / "audit.jsonl")
    entries(account, admin, 2)
    now = timezone.now()
    assert shipping.ship(now=now) == 0
    cursor = AuditCursor.objects.get()
    assert (cursor.number, cursor.attempts) == (0, 1) and cursor.problem == "No such file or directory"
    assert shipping.ship(now=now) == 0 and AuditCursor.objects.get().attempts == 1
    (tmp_path / "there").mkdir()
    assert shipping.ship(now=now + timedelta(minutes=1)) == 2
    cursor.refresh_from_db()
    assert (cursor.number, cursor.attempts, cursor.problem) == (2, 0, "")


def test_two_clocks_ship_one_batch(settings, tmp_path, account, admin, monkeypatch):
    settings.AUDIT_SHIP = str(tmp_path / "audit.jsonl")
    entries(account, admin, 2)
    now, real, second = timezone.now(), shipping.deliver, []

    def deliver(target, rows):
        second.append(shipping.ship(now=now))
        real(target, rows)

    monkeypatch.setattr(shipping, "deliver", deliver)
    assert shipping.ship(now=now) == 2 and second == [0]
    assert shipped(tmp_path / "audit.jsonl") == [1, 2]


class _Syslog(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while head := b"".join(iter(lambda: self.rfile.read(1), b" ") if self.rfile.peek(1) else []):
            self.server.got.append(self.rfile.read(int(head)))


def test_entries_go_to_syslog_by_tcp_framed_and_by_udp(settings, account, admin):
    entries(account, admin, 2, details={"before": "ä", "after": "x" * 70_000})
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Syslog)
    server.got, server.daemon_threads = [], True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        settings.AUDIT_SHIP = f"syslog+tcp://127.0.0.1:{server.server_address[1]}"
        assert shipping.ship(now=timezone.now()) == 2
    finally:
        server.shutdown()
        server.server_close()
    first = server.got[0].decode()
    assert len(server.got) == 2 and first.startswith("<110>1 20") and " testserver amc-portal - audit - {" in first
    body = json.loads(first.partition(" - audit - ")[2])
    assert body["number"] == 1 and body["details"] is None and body["details_left_out"] is True
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(30)
        settings.AUDIT_SHIP = f"syslog+udp://127.0.0.1:{receiver.getsockname()[1]}"
        # A new target begins with the first entry.
        assert shipping.ship(now=timezone.now()) == 2
        assert [json.loads(receiver.recv(65535).partition(b" - audit - ")[2])["number"] for _ in "12"] == [1, 2]
    settings.AUDIT_SHIP = f"syslog+tcp://127.0.0.1:{server.server_address[1]}"
    entries(account, admin, 1)
    assert shipping.ship(now=timezone.now()) == 0
    assert AuditCursor.objects.get(target=settings.AUDIT_SHIP).number == 2


def test_small_entries_keep_their_details(account, admin):
    entry = audit.as_document(audit.record("run.started", actor=admin, subject="ä", account=account, details={"a": 1}))
    text = audit_target.message(entry, audit_target.LONGEST_DATAGRAM)
    assert json.loads(text.partition(b" - audit - ")[2]) == entry


def test_the_setting_is_checked():
    for good in ("/var/log/audit.jsonl", "syslog+tls://logs.example.com:6514", ""):
        assert Environment({"AUDIT_SHIP": good}).shipping("AUDIT_SHIP") == good
    for bad in ("audit.jsonl", "syslog://host:514", "syslog+tcp://host", "syslog+udp://host:x"):
        env = Environment({"AUDIT_SHIP": bad})
        env.shipping("AUDIT_SHIP")
        with pytest.raises(ImproperlyConfigured, match="AUDIT_SHIP must be the path of a file"):
            env.finish()
