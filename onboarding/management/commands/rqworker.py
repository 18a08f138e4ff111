"""`manage.py rqworker QUEUE…`: django-rq's, but a worker that has nothing to do says more often that it lives."""

from __future__ import annotations

from django.core.management.base import CommandParser
from django_rq.management.commands.rqworker import Command as WorkerCommand

from onboarding.engine.carriers import WORKER_TTL


class Command(WorkerCommand):
    help = "Carries out jobs of the queues, the first one first."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)  # type: ignore[no-untyped-call]
        parser.set_defaults(worker_ttl=WORKER_TTL)
