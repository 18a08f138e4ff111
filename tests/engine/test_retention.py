"""What is kept how long: what is too old goes, what somebody may still need stays, the audit log stays whole."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone

from onboarding import audit
from onboarding.management.commands.clock import Command
from onboarding.models import (
    AuditEntry,
    CallRecord,
    Channel,
    Dataset,
    DatasetVersion,
    Delivery,
    IdentityJob,
    Instance,
    LogLine,
    Notice,
    Run,
)
from onboarding.services import retention, runs

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def periods(settings):
    settings.RETAIN_DRAFTS_DAYS = settings.RETAIN_LOGS_DAYS = 10
    settings.RETAIN_MESSAGES_DAYS = settings.RETAIN_JOBS_DAYS = 10


def later(days: int, onboarding) -> dict[str, int]:
    return retention.sweep(now=onboarding.clock.value + days * DAY)


def test_a_cancelled_draft_goes_with_its_instance_and_the_audit_log_stays_whole(onboarding, analyst):
    onboarding.confirm()
    assert later(11, onboarding) == {}
    runs.run_cancel(person=analyst, run=onboarding.run, now=onboarding.clock())
    entries = AuditEntry.objects.count()
    assert "drafts" not in later(9, onboarding)
    assert later(11, onboarding)["drafts"] == 1
    assert not Run.objects.exists() and not Instance.objects.exists()
    last = AuditEntry.objects.latest("number")
    assert (AuditEntry.objects.count(), last.act) == (entries + 1, "retention.swept")
    assert last.details["drafts"] == 1 and audit.verify().whole


def test_what_has_made_something_or_may_have_is_no_draft(onboarding, amazon, analyst):
    onboarding.confirm()
    step = onboarding.step("create-instance")
    call = CallRecord.objects.create(step=step, key="instance", outcome="started", started_at=onboarding.clock())
    runs.run_cancel(person=analyst, run=onboarding.run, now=onboarding.clock())
    assert "drafts" not in later(11, onboarding)
    call.delete()
    Instance.objects.update(instance_id="amcthere")
    assert "drafts" not in later(11, onboarding)
    assert Run.objects.count() == 1


def test_logs_of_ended_runs_go_and_those_under_way_stay(onboarding, analyst, settings):
    onboarding.confirm()
    Instance.objects.update(instance_id="amcthere")
    number = LogLine.objects.count()
    assert number and later(100, onboarding) == {}
    Run.objects.update(ended_at=onboarding.clock())
    settings.RETAIN_LOGS_DAYS = 0
    assert later(1000, onboarding) == {}
    settings.RETAIN_LOGS_DAYS = 10
    now = onboarding.clock.value + 11 * DAY
    assert retention.sweep(now=now, most=1)["log lines"] == 1
    assert retention.sweep(now=now).get("log lines", 0) == number - 1
    assert not LogLine.objects.exists() and Run.objects.exists()


def test_messages_go_once_nothing_of_them_is_on_its_way(account, analyst):
    now = timezone.now()
    channel = Channel.objects.create(person=analyst, kind="slack", name="Mine", made_at=now)
    for number, state in enumerate(["sent", "due"]):
        notice = Notice.objects.create(person=analyst, event=f"done:{number}", text=str(number), made_at=now)
        ended = now if state == "sent" else None
        Delivery.objects.create(channel=channel, notice=notice, state=state, made_at=now, ended_at=ended)
    Delivery.objects.create(channel=channel, what="test", state="failed", made_at=now, ended_at=now)
    assert retention.sweep(now=now + 11 * DAY) == {"messages": 1, "deliveries": 1}
    assert list(Notice.objects.values_list("text", flat=True)) == ["1"]
    assert list(Delivery.objects.values_list("state", flat=True)) == ["due"]


def test_the_last_job_of_a_version_stays(account):
    now = timezone.now()
    instance = Instance.objects.create(account=account, name="There", instance_id="amcthere", status_since=now)
    dataset = Dataset.objects.create(
        instance=instance, aws_account_id="111122223333", name="customers", bucket="acme", made_at=now
    )
    version = DatasetVersion.objects.create(dataset=dataset, number=1, origin="s3", made_at=now)
    for state, kind in (("failed", "check"), ("done", "check"), ("done", "look")):
        IdentityJob.objects.create(version=version, kind=kind, state=state, asked_at=now, finished_at=now)
    assert retention.sweep(now=now + 11 * DAY) == {"identity jobs": 1}
    assert sorted(IdentityJob.objects.values_list("kind", "state")) == [("check", "done"), ("look", "done")]


def test_sessions_end_and_the_clock_does_it_once_a_night(db, settings, monkeypatch):
    now = timezone.now().replace(hour=0, minute=30)
    Session.objects.create(session_key="old", session_data="x", expire_date=now - DAY)
    Session.objects.create(session_key="new", session_data="x", expire_date=now + 30 * DAY)
    settings.NIGHT_BEGINS = 1
    clock, moments = Command(), iter([now, now + timedelta(hours=1), now + timedelta(hours=2), now + DAY * 2])
    swept = []
    monkeypatch.setattr("onboarding.management.commands.clock.timezone.now", lambda: next(moments))
    sweep = retention.sweep
    monkeypatch.setattr(retention, "sweep", lambda *, now: swept.append(now) or sweep(now=now))
    for _ in range(3):
        clock._sweep()
    assert [moment.hour for moment in swept] == [1]
    assert list(Session.objects.values_list("session_key", flat=True)) == ["new"]
