"""The queues: what is paused is left alone at once, acts are audited, each admin sees their part."""

from __future__ import annotations

import csv
import io
import socket
import time
from datetime import timedelta

import pytest
import redis
import rq
from django.core.cache.backends.redis import RedisCache
from django.core.management import get_commands, load_command_class
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from onboarding.engine import carriers, executor, pauses, queue
from onboarding.engine import clock as engine_clock
from onboarding.engine.leases import claim
from onboarding.engine.moves import Overtaken
from onboarding.engine.worker import PortalWorker
from onboarding.models import AuditEntry, AwsConnection, Instance, Pause, Role, Run, Step, StepState
from onboarding.selectors import queues as selector
from onboarding.services import queues as service
from onboarding.services.errors import NotAllowed, Refused
from portal import settings as portal_settings
from portal.env import with_timeouts
from tests.engine.conftest import clock, onboarding, person  # noqa: F401
from tests.pages.conftest import text_of

HTMX = {"HX-Request": "true"}


@pytest.fixture
def root(account):
    somebody = person(account, "Root", "admin")
    somebody.is_superuser = True
    somebody.save()
    return somebody


# --- the engine honours pauses


@pytest.fixture
def ready(onboarding, queued):  # noqa: F811
    """A step that is due: the check of the access to AMC."""
    onboarding.confirm()
    queued.clear()
    return onboarding


@pytest.mark.parametrize("what", ["all", "queue:default", "account:{account}", "amc:{login}"])
def test_what_is_paused_is_neither_enqueued_nor_taken_and_goes_on_when_resumed(ready, account, queued, root, what):
    target = what.format(account=account.pk, login=account.connection_id)
    step = ready.step("amc-access")
    service.pause(root, target, reason="Maintenance", now=ready.clock())
    assert engine_clock.tick(now=ready.clock()).enqueued == 0
    assert claim(step.pk, "worker", now=ready.clock()) is None
    executor.work(step.pk, now=ready.clock)
    assert ready.step("amc-access").state == StepState.QUEUED
    service.resume(root, target, now=ready.clock())
    assert engine_clock.tick(now=ready.clock()).enqueued == 1 and queued == [step.pk]
    assert ready.work("amc-access").state == StepState.DONE
    acts = list(AuditEntry.objects.filter(subject_ref=target).values_list("act", "actor_name"))
    assert acts == [("engine.paused", "Root"), ("engine.resumed", "Root")]


def test_the_pause_of_another_account_holds_nothing_back(ready, root, other_account):
    service.pause(root, f"account:{other_account.pk}", reason="", now=ready.clock())
    assert engine_clock.tick(now=ready.clock()).enqueued == 1
    assert ready.work("amc-access").state == StepState.DONE


def test_a_worker_that_is_at_it_stops_before_its_next_call(onboarding, amazon, root, queued, account):  # noqa: F811
    request = onboarding.until_asked()
    onboarding.approve(request)

    def pause_at_the_first(operation: str) -> None:
        if not Pause.objects.exists():
            service.pause(root, "all", reason="Now", now=onboarding.clock())

    amazon.calls.clear()
    amazon.hook = pause_at_the_first
    step = onboarding.work("create-instance")
    assert sum(amazon.calls.values()) <= 2  # the look and its make are one call of the plan
    assert (step.state, step.waiting_for, step.waiting_text) == (StepState.WAITING, "paused", "Paused by Root: Now")
    made = step.calls.exclude(finished_at=None).count()
    instance = Instance.objects.get(pk=step.run.instance_id)
    assert (instance.status, instance.waiting_on) == ("in_progress", "Admin") and "paused" in instance.status_detail
    # Looked at again after a minute, it is still left alone.
    onboarding.clock.skip(120)
    assert onboarding.work("create-instance").waiting_for == "paused"
    queued.clear()
    service.resume(root, "all", now=onboarding.clock())
    assert onboarding.step("create-instance").next_attempt_at <= onboarding.clock()
    step = onboarding.work("create-instance")
    assert step.calls.exclude(finished_at=None).count() > made
    assert amazon.calls["createInstance"] == 1


def test_an_aws_account_is_paused_where_a_call_needs_it(ready, account, root):
    AwsConnection.objects.create(account=account, aws_account_id="111122223333")
    service.pause(root, f"aws:{account.pk}:111122223333", reason="", now=ready.clock())
    run = ready.step("amc-access").run
    pauses.check(run)
    pauses.check(run, "444455556666")
    with pytest.raises(pauses.Paused):
        pauses.check(run, "111122223333")
    assert ready.work("amc-access").state == StepState.DONE


def test_who_may_pause_what(account, other_account, admin, analyst, root):
    now = timezone.now()
    mine = {one.target for one in service.pausable(admin, [account])}
    # Another account hangs on the same login: it is not this admin's alone to pause.
    assert mine == {f"account:{account.pk}"}
    Role.objects.create(person=admin, account=other_account, name="admin")
    assert f"amc:{account.connection_id}" in {one.target for one in service.pausable(admin, [account, other_account])}
    for target in ("all", "queue:default", "account:99", "nonsense"):
        with pytest.raises(NotAllowed):
            service.pause(admin, target, reason="", now=now)
    with pytest.raises(NotAllowed):
        service.pause(analyst, f"account:{account.pk}", reason="", now=now)
    service.pause(admin, f"account:{account.pk}", reason="", now=now)
    with pytest.raises(Refused, match="paused already"):
        service.pause(root, f"account:{account.pk}", reason="", now=now)
    service.resume(root, f"account:{account.pk}", now=now)
    with pytest.raises(Refused, match="not paused"):
        service.resume(admin, f"account:{account.pk}", now=now)


# --- one step


def test_stop_and_try_again(ready, admin, analyst, queued):
    step = ready.step("amc-access")
    with pytest.raises(NotAllowed):
        service.stop(analyst, step, now=ready.clock())
    service.stop(admin, step, now=ready.clock())
    stopped = ready.step("amc-access")
    assert stopped.state == StepState.FAILED and stopped.failure["what"] == "Ada Admin stopped this step."
    assert ready.work("amc-access").state == StepState.FAILED
    with pytest.raises(Refused, match="nothing to stop"):
        service.stop(admin, stopped, now=ready.clock())
    service.retry(admin, stopped, now=ready.clock())
    assert ready.work("amc-access").state == StepState.DONE
    acts = AuditEntry.objects.filter(actor=admin).order_by("number").values_list("act", flat=True)
    assert list(acts) == ["step.stopped", "step.retried"]


def test_who_is_stopped_in_a_call_is_not_tried_again_before_it_is_over(ready, admin):
    step = ready.step("amc-access")
    held = claim(step.pk, "worker", now=ready.clock())
    until = held.lease_until
    service.stop(admin, ready.step("amc-access"), now=ready.clock())
    service.retry(admin, ready.step("amc-access"), now=ready.clock())
    assert ready.step("amc-access").next_attempt_at == until
    # Stopped once more meanwhile, it is not forgotten.
    service.stop(admin, ready.step("amc-access"), now=ready.clock())
    service.retry(admin, ready.step("amc-access"), now=ready.clock())
    assert ready.step("amc-access").next_attempt_at == until
    assert claim(step.pk, "another", now=ready.clock()) is None
    ready.clock.skip(60)
    assert ready.work("amc-access").state == StepState.DONE


def test_a_released_lease_goes_to_another_worker_once_its_call_is_over(ready, admin):
    step = ready.step("amc-access")
    with pytest.raises(Refused, match="No worker"):
        service.release(admin, step, now=ready.clock())
    held = claim(step.pk, "worker", now=ready.clock())
    until = held.lease_until
    service.release(admin, ready.step("amc-access"), now=ready.clock())
    with pytest.raises(Overtaken):
        from onboarding.engine.leases import renew

        renew(held, now=ready.clock())
    released = ready.step("amc-access")
    assert (released.state, released.lease_owner, released.next_attempt_at) == (StepState.WAITING, "", until)
    with pytest.raises(Refused, match="goes on by itself"):
        service.retry(admin, released, now=ready.clock())
    assert claim(step.pk, "another", now=ready.clock()) is None
    ready.clock.skip(60)
    assert ready.work("amc-access").state == StepState.DONE


def test_a_waiting_step_is_tried_now(ready, admin, queued):
    step = ready.step("amc-access")
    later = ready.clock() + timedelta(hours=1)
    Step.objects.filter(pk=step.pk).update(state="waiting", waiting_for="retry", next_attempt_at=later)
    service.retry(admin, ready.step("amc-access"), now=ready.clock())
    assert ready.work("amc-access").state == StepState.DONE


# --- what is shown


def steps(account, owner, now, number: int) -> None:
    """`number` times one step of each sort."""
    sorts = [
        {"state": "queued", "next_attempt_at": now - timedelta(minutes=1)},
        {"state": "running", "lease_owner": "w", "lease_until": now - timedelta(minutes=1)},
        {"state": "running", "lease_owner": "w", "lease_until": now + timedelta(minutes=10)},
        {"state": "waiting", "waiting_for": "amazon", "next_attempt_at": now + timedelta(hours=1)},
        {"state": "waiting", "waiting_for": "retry", "next_attempt_at": now + timedelta(hours=1)},
        {"state": "waiting", "waiting_for": "amc:1"},
        {"state": "waiting", "waiting_for": "paused", "next_attempt_at": now - timedelta(hours=1)},
        {"state": "failed", "failure": {"what": "It was refused"}},
        {"state": "done", "finished_at": now - timedelta(hours=1)},
        {"state": "ready"},
    ]
    for _ in range(number):
        for one in sorts:
            instance = Instance.objects.create(account=account, name="Acme", status_since=now, owner=owner)
            run = Run.objects.create(account=account, instance=instance, owner=owner, started_at=now, at="amc-access")
            Step.objects.create(run=run, key="amc-access", position=1, since=now, **one)


def test_exact_numbers_of_each_sort_and_hour(account, other_account, analyst):
    now = timezone.now()
    steps(account, analyst, now, 3)
    steps(other_account, analyst, now, 1)
    expected = {"due": 6, "leased": 3, "amazon": 3, "retry": 3, "connection": 3, "paused": 3, "failed": 3}
    assert selector.numbers(accounts=[account.pk], now=now) == expected
    assert selector.numbers(accounts=None, now=now) == {key: number * 4 // 3 for key, number in expected.items()}
    hours = selector.throughput(accounts=[account.pk], now=now)
    assert len(hours.hours) == 24 and sum(hours.done) == hours.done[-2] == 3
    for show, number in expected.items():
        assert len(list(selector.every_step(show, accounts=[account.pk], now=now))) == number


def test_each_admin_sees_their_part_in_few_queries(as_, account, other_account, admin, analyst, root, outsider):
    now = timezone.now()
    found = {}
    for number in (1, 12):
        steps(account, analyst, now, number)
        for who in (admin, root):
            client = as_(who)
            for url in ("/queues/?show=leased", "/queues/?show=failed"):
                with CaptureQueriesContext(connection) as seen:
                    assert client.get(url).status_code == 200
                found.setdefault((who.name, url), []).append(len(seen))
    assert all(small == large <= 12 for small, large in found.values()), found
    page = as_(admin).get("/queues/?show=failed")
    assert "Failed 13" in text_of(page) and "It was refused" in text_of(page)
    assert "Workers" not in text_of(page) and "Redis" not in text_of(page).replace("Redis only carries", "")
    assert "Failed 0" in text_of(as_(outsider).get("/queues/?show=failed"))
    assert as_(analyst).get("/queues/").status_code == 403
    rows = list(
        csv.reader(io.StringIO(b"".join(as_(admin).get("/queues/?format=csv&show=failed")).decode("utf-8-sig")))
    )
    assert len(rows) == 14 and rows[1][4] == "It was refused"
    hours = b"".join(as_(admin).get("/queues/?format=csv&table=throughput")).decode()
    assert len(hours.splitlines()) == 25


def test_the_page_works_while_redis_is_away(as_, root, account, analyst):
    steps(account, analyst, timezone.now(), 1)
    text = text_of(as_(root).get("/queues/"))
    assert "Redis does not answer" in text and "Due now 2" in text
    job = "00000000-0000-0000-0000-000000000000"
    answer = as_(root).post(f"/queues/jobs/{job}/requeue", follow=True)
    assert "Redis does not answer just now. Nothing was changed." in text_of(answer)


def test_pause_and_resume_on_the_pages(pages, as_, admin, analyst, account):
    ada = as_(admin)
    target = f"account:{account.pk}"
    answer = ada.post("/queues/pause", {"target": target, "reason": "Audit"}, follow=True)
    assert "AMC account “Acme” is paused" in text_of(answer) and "Audit" in text_of(answer)
    assert "Paused by an admin" in text_of(pages.client.get(f"/instances/{pages.pk}/"))
    assert "AMC account: Acme" in text_of(ada.get("/dashboard/"))
    pages.confirm()
    assert "AMC account: Acme is paused" in text_of(ada.get("/queues/?show=due"))
    assert "Paused by an admin" in text_of(pages.client.get(pages.url("amc-access", "progress/")))
    assert ada.post("/queues/pause", {"target": "all"}, follow=True).status_code == 200
    assert list(Pause.objects.values_list("target", flat=True)) == [target]
    assert as_(analyst).post("/queues/resume", {"target": target}).status_code == 403
    ada.post("/queues/resume", {"target": target})
    assert not Pause.objects.exists()
    assert "Paused by an admin" not in text_of(pages.client.get(f"/instances/{pages.pk}/"))


def test_acts_are_confirmed_first(pages, as_, admin, outsider):
    pages.confirm()
    step = pages.step("amc-access")
    url = f"/queues/steps/{step.pk}/stop/"
    assert as_(outsider).get(url).status_code == 404 and pages.client.post(url).status_code == 403
    ada = as_(admin)
    assert "Stop this step?" in text_of(ada.get(url))
    assert pages.step("amc-access").state == StepState.QUEUED
    assert "It is stopped." in text_of(ada.post(url, follow=True))
    assert pages.step("amc-access").state == StepState.FAILED
    assert "nothing to stop" in text_of(ada.post(url, follow=True))
    assert ada.get(f"/queues/steps/{step.pk}/explode/").status_code == 404


@pytest.fixture
def carried(own_redis, monkeypatch):
    """A queue of RQ on a Redis of the test's own."""
    monkeypatch.setattr(queue, "named", lambda name: rq.Queue(name, connection=own_redis))
    return rq.Queue("default", connection=own_redis)


def test_a_worker_that_waits_for_work_is_never_called_silent(own_redis):
    """RQ's own promise, as `manage.py rqworker` makes it: what a worker says when, and how long Redis keeps it."""
    command = load_command_class(get_commands()["rqworker"], "rqworker")
    ttl = command.create_parser("manage.py", "rqworker").parse_args(["default"]).worker_ttl
    worker = PortalWorker([rq.Queue("default", connection=own_redis)], connection=own_redis, worker_ttl=ttl)
    silent = carriers.SILENT.total_seconds()
    longest = max(worker.dequeue_timeout, worker.job_monitoring_interval)
    # A machine that is busy may be late by as much again.
    assert longest <= 30 and 2 * longest < silent < 90
    # Redis forgets it this long after a report: until then, it is named.
    assert silent < min(worker.worker_ttl, worker.job_monitoring_interval) + 60


def test_workers_and_failed_jobs(carried, pages, as_, root, admin):
    pages.confirm()
    step = pages.step("amc-access")
    # A step's key that is none: the job fails, with a text that belongs on no page.
    broken = carried.enqueue("onboarding.jobs.work", "mia@example.com")
    other = carried.enqueue("onboarding.no_such_module.work", step.pk)
    identity = rq.Queue("identity", connection=carried.connection)
    files = identity.enqueue("onboarding.jobs.identity", "mia@example.com")
    worker = rq.SimpleWorker([carried, identity], connection=carried.connection)
    worker.work(burst=True)
    identity.enqueue("onboarding.jobs.identity", 7)
    worker.register_birth()
    found = carriers.read()
    assert [one.pid for one in found.workers] == [worker.pid] and not found.workers[0].lost(timezone.now())
    assert found.workers[0].lost(timezone.now() + timedelta(minutes=5))
    assert found.workers[0].queues == ("default", "identity") and found.queued == {"default": 0, "identity": 1}
    failed = {one.id: one for one in found.failed}
    assert {key: (one.queue, one.step) for key, one in failed.items()} == {
        broken.id: ("default", None),
        other.id: ("default", step.pk),
        files.id: ("identity", None),
    }
    assert failed[broken.id].error == failed[files.id].error == "ValueError"
    client = as_(root)
    page = client.get("/queues/")
    text = text_of(page)
    assert "ValueError" in text and "mia@example.com" not in page.content.decode() and "Traceback" not in text
    assert "Check access to AMC, Acme US" in text and f"pid {worker.pid}" in text
    assert "Failed jobs" not in text_of(as_(admin).get("/queues/"))
    assert as_(admin).post(f"/queues/jobs/{broken.id}/dismiss").status_code == 403
    assert "It is on the queue again" in text_of(client.post(f"/queues/jobs/{other.id}/requeue", follow=True))
    assert carried.job_ids == [other.id]
    assert "It is forgotten" in text_of(client.post(f"/queues/jobs/{broken.id}/dismiss", follow=True))
    assert "It is on the queue again" in text_of(client.post(f"/queues/jobs/{files.id}/requeue", follow=True))
    assert identity.count == 2 and carriers.read().failures == 0
    assert "no longer among" in text_of(client.post(f"/queues/jobs/{broken.id}/dismiss", follow=True))
    assert list(AuditEntry.objects.filter(actor=root).values_list("act", flat=True)) == [
        "job.requeued",
        "job.dismissed",
        "job.requeued",
    ]


def test_a_worker_is_shown_at_the_step_that_its_job_has_come_to(pages, django_assert_num_queries):
    begun, other = pages.step("requirements"), pages.step("create-instance")
    assert selector.steps_at_work({begun.pk}) == {begun.pk: begun.pk}
    Step.objects.filter(pk=other.pk).update(state="running", lease_owner="w", lease_until=timezone.now())
    with django_assert_num_queries(1):
        assert selector.steps_at_work({begun.pk, 10**6}) == {begun.pk: other.pk, 10**6: 10**6}
    assert selector.steps_at_work(set()) == {}


def test_a_redis_that_swallows_everything_holds_no_page_up(settings):
    """The clients of the cache and of the queues give up: one that connects and never answers is the worst case."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        settings.RQ_QUEUES = {"default": {"URL": with_timeouts(url)}, "identity": {"URL": with_timeouts(url)}}
        began = time.monotonic()
        with pytest.raises(carriers.QueueAway):
            carriers.read()
        cache = RedisCache(url, {"OPTIONS": portal_settings.REDIS_TIMEOUTS})
        with pytest.raises(redis.exceptions.TimeoutError):
            cache.get("anything")
        assert time.monotonic() - began < 60
    assert portal_settings.CACHES["default"]["OPTIONS"] == portal_settings.REDIS_TIMEOUTS
    for one in portal_settings.RQ_QUEUES.values():
        assert one["URL"] == with_timeouts(portal_settings.REDIS_URL)


def test_no_page_of_django_rq_is_reachable(as_, root):
    client = as_(root)
    assert [client.get(url).status_code for url in ("/django-rq/", "/admin/", "/rq/", "/admin/django_rq/")] == [404] * 4
