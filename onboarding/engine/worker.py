"""The RQ worker of the portal: what every job needs is loaded and warmed up before the first fork.

A fork costs more than most jobs do. So a child that has carried out its job goes on with what else lies on the queue
of steps, for a short while.
"""

from __future__ import annotations

import contextlib
import gc
import os
import time
from resource import struct_rusage
from typing import Any

import structlog
from django.apps import apps
from django.db import DatabaseError, InterfaceError, connections
from redis.driver_info import DriverInfo
from redis.exceptions import RedisError
from rq import Queue, Worker
from rq.exceptions import NoSuchJobError
from rq.executions import Execution
from rq.job import Job
from rq.utils import now

import onboarding.jobs  # noqa: F401 - loaded for the children
from onboarding.clients import aws, beside, http
from onboarding.engine import executor, queue
from onboarding.engine.queue import DEFAULT_QUEUE
from portal import observe

log = structlog.get_logger(__name__)


def warm_up() -> None:
    """Build once what Django and boto3 build at first use, for a child to find; leaves no connection behind."""
    aws.warm_up()
    http.trusted()
    beside.connection()
    queue.named(DEFAULT_QUEUE)
    try:
        for model in apps.get_app_config("onboarding").get_models():
            model._meta.get_fields()
            related = [field.name for field in model._meta.fields if field.is_relation]
            model._default_manager.filter(pk__in=[0]).select_related(*related).first()
        executor.work(0)
    except (DatabaseError, InterfaceError) as error:
        log.warning("database out of reach", error=type(error).__name__)
    finally:
        # A connection must not be shared with a child.
        connections.close_all()
    # Objects that are never looked at by the collector are never copied into a child.
    gc.collect()
    gc.freeze()


CHILD_SECONDS = 1.0
"""A child begins no further job after this time: its worker may have been asked to stop."""


class PortalWorker(Worker):
    """RQ's forking worker, warmed up, whose children carry out more than one job while there are more."""

    _child_ended_well = True

    def prepare(self) -> None:
        """Make ready whatever each child would make anew for itself."""
        warm_up()
        # Each child connects, and would read the installed package's metadata to tell Redis which version it is.
        self.connection.connection_pool.connection_kwargs.setdefault("driver_info", DriverInfo())

    def work(self, *args: Any, **options: Any) -> Any:
        """Get ready, then work as RQ does."""
        self.prepare()
        return super().work(*args, **options)

    # -- in a child

    def perform_job(self, job: Job, queue: Queue, execution: Execution) -> bool:
        """Carry out the job that the child was made for, and what else lies on its queue; whether all went well."""
        ends = time.monotonic() + CHILD_SECONDS
        try:
            well = self._perform(job, queue, execution)
            # Work on identity files has each child's memory to itself. After an error nothing is taken for granted.
            while well and queue.name == DEFAULT_QUEUE and time.monotonic() < ends:
                following = self._following(queue)
                if following is None:
                    break
                well = self._perform(following, queue, self.prepare_execution(following))
            return well
        finally:
            # The child ends without the things that a process does at its end.
            observe.flush()

    def _perform(self, job: Job, queue: Queue, execution: Execution) -> bool:
        with observe.job(str(job.func_name)):
            return super().perform_job(job, queue, execution)

    def _following(self, queue: Queue) -> Job | None:
        """The next job of the queue, taken from it; None if there is none, or no answer."""
        try:
            taken = self.queue_class.dequeue_any(
                [queue],
                None,
                connection=self.connection,
                job_class=self.job_class,
                serializer=self.serializer,
                death_penalty_class=self.death_penalty_class,
            )
            if taken is None:
                return None
            # RQ itself does this for a worker of one queue alone.
            self.connection.lrem(queue.intermediate_queue_key, 1, taken[0].id)
        except RedisError as error:
            log.warning("queue out of reach", error=type(error).__name__)
            return None
        return taken[0]

    # -- in its parent

    def wait_for_horse(self) -> tuple[int | None, int | None, struct_rusage | None]:
        """As RQ does, and remember how the child ended."""
        ended = super().wait_for_horse()
        self._child_ended_well = ended[1] == os.EX_OK
        return ended

    def maintain_heartbeats(self, job: Job, execution: Execution) -> None:
        """As RQ does, for the job that the child was made for; and for the one that it has gone on with."""
        super().maintain_heartbeats(job, execution)
        for current in self.get_current_executions(refresh=True):
            with contextlib.suppress(NoSuchJobError), self.connection.pipeline() as pipeline:
                going_on = current.job
                current.heartbeat(going_on.started_job_registry, self.get_heartbeat_ttl(going_on), pipeline=pipeline)
                pipeline.execute()

    def monitor_work_horse(self, job: Job, queue: Queue, execution: Execution) -> None:
        """As RQ does; and if the child was killed at a job that it went on with, that one has failed too."""
        super().monitor_work_horse(job, queue, execution)
        if self._child_ended_well:
            return
        for lost in self.get_current_executions(refresh=True):
            try:
                going_on = lost.job
            except NoSuchJobError:
                continue
            going_on.ended_at = now()
            self.handle_job_failure(
                going_on, queue=queue, exc_string="Work-horse terminated unexpectedly", execution=lost
            )
