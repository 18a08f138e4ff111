"""`manage.py clock`: enqueues every row that is due, until it is told to stop."""

from __future__ import annotations

import signal
import threading
import time
from datetime import date
from typing import Any

import structlog
from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.db import DatabaseError, InterfaceError, close_old_connections
from django.utils import timezone

from onboarding.engine.clock import tick, tidy_queue
from onboarding.services import retention
from onboarding.services.audit_checks import put_lost_checks
from onboarding.services.aws_connections import put_due_checks
from onboarding.services.drift import put_due_comparisons
from onboarding.services.instances_import import put_due_imports
from onboarding.services.mapping_looks import put_due_looks
from onboarding.services.requests import expire_due
from onboarding.services.results import put_due_readings
from onboarding.services.tokens import forget_answers
from onboarding.services.uploads import put_expired

log = structlog.get_logger(__name__)
SELDOM = 60.0


class Command(BaseCommand):
    help = "Puts every step that is due on the queue, sends the notices that are due. Any number may run."

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._swept: date | None = None

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="tick once and stop")

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        if not options["once"]:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: stop.set())
        seldom_at = 0.0
        while not stop.is_set():
            try:
                close_old_connections()
                tick(now=timezone.now())
                if not seldom_at:
                    log.info("the clock ticks", seconds=settings.CLOCK_SECONDS)
                if time.monotonic() >= seldom_at:
                    seldom_at = time.monotonic() + SELDOM
                    expire_due(now=timezone.now())
                    put_due_checks(now=timezone.now())
                    put_expired(now=timezone.now())
                    put_due_looks(now=timezone.now())
                    put_due_comparisons(now=timezone.now())
                    put_due_readings(now=timezone.now())
                    put_lost_checks(now=timezone.now())
                    forget_answers(now=timezone.now())
                    tidy_queue()
                    put_due_imports(now=timezone.now())
                    self._sweep()
            except (DatabaseError, InterfaceError) as error:
                # The database is restarting; nothing is lost while it does.
                log.warning("database out of reach", error=type(error).__name__)
            if options["once"]:
                return
            stop.wait(settings.CLOCK_SECONDS)

    def _sweep(self) -> None:
        """Once a night, a part a minute: delete what is kept no longer. What another clock has deleted is gone."""
        now = timezone.now()
        if self._swept == now.date() or now.hour < settings.NIGHT_BEGINS:
            return
        gone = retention.sweep(now=now)
        if gone:
            log.info(
                "deleted what is kept no longer", **{kind.replace(" ", "_"): count for kind, count in gone.items()}
            )
        if all(count < retention.MOST for count in gone.values()):
            self._swept = now.date()
