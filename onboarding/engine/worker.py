"""The RQ worker of the portal: what every job needs is loaded and warmed up before the first fork."""

from __future__ import annotations

import gc
from typing import Any

import structlog
from django.apps import apps
from django.db import DatabaseError, InterfaceError, connections
from redis.driver_info import DriverInfo
from rq import Queue, Worker
from rq.executions import Execution
from rq.job import Job

import onboarding.jobs  # noqa: F401 - loaded for the children
from onboarding.clients import aws, beside, http
from onboarding.engine import executor, queue
from portal import observe

log = structlog.get_logger(__name__)


def warm_up() -> None:
    """Build once what Django and boto3 build at first use, for a child to find; leaves no connection behind."""
    aws.warm_up()
    http.trusted()
    beside.connection()
    queue.named(queue.DEFAULT_QUEUE)
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


class PortalWorker(Worker):
    """RQ's forking worker, warmed up."""

    def prepare(self) -> None:
        """Make ready whatever each child would make anew for itself."""
        warm_up()
        # Each child connects, and would read the installed package's metadata to tell Redis which version it is.
        self.connection.connection_pool.connection_kwargs.setdefault("driver_info", DriverInfo())

    def work(self, *args: Any, **options: Any) -> Any:
        """Get ready, then work as RQ does."""
        self.prepare()
        return super().work(*args, **options)

    def perform_job(self, job: Job, queue: Queue, execution: Execution) -> bool:
        """In the child that carries a job out, which ends without the things that a process does at its end."""
        try:
            with observe.job(str(job.func_name)):
                return super().perform_job(job, queue, execution)
        finally:
            observe.flush()
