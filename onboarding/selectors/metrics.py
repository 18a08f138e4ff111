"""What monitoring reads: the state of the engine, of the queue and of the connections, and the calls to Amazon.

Names and ids of nobody and nothing are in it: only counts, ages in seconds and names of states and operations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import redis
from django.db.models import Count, Min, Q, QuerySet
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from rq import Worker

from onboarding.clients import counters
from onboarding.engine import queue as work
from onboarding.engine.leases import due
from onboarding.engine.queue import DEFAULT_QUEUE, IDENTITY_QUEUE
from onboarding.models import (
    AmcConnection,
    AwsConnection,
    Delivery,
    IdentityJob,
    Instance,
    InstanceStatus,
    MappingJob,
    Request,
    RequestState,
    Step,
    StepState,
)


def metrics(now: datetime) -> Iterator[Metric]:
    """Every metric at `now`, in a bounded number of queries. Without Redis, what it knows is left out."""
    yield _by("portal_steps", "Steps of open runs by state", "state", _open_steps(), "state", StepState.values)
    yield from _due(now)
    instances = Instance.objects.filter(gone_at=None)
    yield _by("portal_instances", "Instances by status", "status", instances, "status", InstanceStatus.values)
    requests = Request.objects.filter(state=RequestState.OPEN).aggregate(count=Count("pk"), oldest=Min("asked_at"))
    yield _gauge("portal_requests_open", "Requests waiting for approval", requests["count"])
    yield _gauge("portal_request_oldest_seconds", "Age of the oldest open request", _age(requests["oldest"], now))
    amc = AmcConnection.objects.all()
    yield _by("portal_amc_connections", "AMC connections by state", "state", amc, "state", AmcConnection.State.values)
    aws = AwsConnection.objects.all()
    yield _by("portal_aws_connections", "AWS connections by state", "state", aws, "state", AwsConnection.State.values)
    jobs = IdentityJob.objects.filter(state__in=["queued", "running"])
    yield _by(
        "portal_identity_jobs", "Identity jobs under way, by state", "state", jobs, "state", ["queued", "running"]
    )
    mapping = MappingJob.objects.all()
    yield _by("portal_mapping_jobs", "Mapping jobs by status", "status", mapping, "status", [])
    unsent = Delivery.objects.filter(state__in=["due", "sending"], daily=False)
    notices = unsent.aggregate(count=Count("pk"), oldest=Min("made_at"))
    yield _gauge("portal_notices_unsent", "Notices not sent yet", notices["count"])
    yield _gauge("portal_notice_oldest_seconds", "Age of the oldest unsent notice", _age(notices["oldest"], now))
    try:
        found = [*_queue(), *_calls()]
    except redis.RedisError:
        found = []
    yield _gauge("portal_redis_up", "Whether Redis answers", 1 if found else 0)
    yield from found


def _open_steps() -> QuerySet[Step]:
    return Step.objects.filter(run__ended_at=None)


def _due(now: datetime) -> Iterator[Metric]:
    found = Step.objects.filter(due(now)).aggregate(
        count=Count("pk"),
        oldest=Min("next_attempt_at", filter=~Q(state=StepState.RUNNING)),
        lost=Count("pk", filter=Q(state=StepState.RUNNING)),
    )
    yield _gauge("portal_steps_due", "Steps whose time has come", found["count"])
    yield _gauge("portal_step_overdue_seconds", "How long the oldest of them has been due", _age(found["oldest"], now))
    yield _gauge("portal_steps_lost", "Steps whose worker's lease ran out", found["lost"])


def _queue() -> Iterator[Metric]:
    queues = [work.named(name) for name in (DEFAULT_QUEUE, IDENTITY_QUEUE)]
    jobs = GaugeMetricFamily("portal_queue_jobs", "Jobs on the queue", labels=["queue"])
    failed = GaugeMetricFamily("portal_queue_failed", "Jobs in RQ's failed registry", labels=["queue"])
    workers = GaugeMetricFamily("portal_workers", "Workers of the queue that RQ knows", labels=["queue"])
    for queue in queues:
        jobs.add_metric([queue.name], queue.count)
        failed.add_metric([queue.name], queue.failed_job_registry.count)
        workers.add_metric([queue.name], Worker.count(queue=queue))
    yield from (jobs, failed, workers)


def _calls() -> Iterator[Metric]:
    calls, seconds, buckets = counters.read()
    total = CounterMetricFamily(
        "portal_amazon_calls", "Calls to Amazon by how they ended", labels=["service", "operation", "outcome"]
    )
    for key, count in sorted(calls.items()):
        total.add_metric(key.split("|"), count)
    yield total
    took = HistogramMetricFamily("portal_amazon_call_seconds", "How long calls to Amazon took", labels=["service"])
    for service, spent in sorted(seconds.items()):
        so_far, limits = 0, []
        for limit in (*map(str, counters.LIMITS), "+Inf"):
            so_far += buckets.get(f"{service}|{limit}", 0)
            limits.append((limit, so_far))
        took.add_metric([service], limits, spent)
    yield took


def _by(name: str, words: str, label: str, rows: QuerySet[Any], field: str, known: list[str]) -> Metric:
    counts: dict[str, int] = defaultdict(int, dict.fromkeys(known, 0))
    counts.update(rows.order_by().values_list(field).annotate(count=Count("pk")))
    metric = GaugeMetricFamily(name, words, labels=[label])
    for value, count in sorted(counts.items()):
        metric.add_metric([value or "none"], count)
    return metric


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(name, words, value=value)


def _age(since: datetime | None, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds()) if since else 0.0
