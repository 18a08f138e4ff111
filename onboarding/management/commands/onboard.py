"""`manage.py onboard FILE --as PERSON`: an onboarding from a file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from onboarding.guide.procedure import step_of
from onboarding.management.people import person_named
from onboarding.models import LogLine, Person, Run, StepState
from onboarding.services import from_file
from onboarding.services.errors import Refused

_LOOK_EVERY = 0.5


class Command(BaseCommand):
    help = "Starts the onboarding that FILE describes, or goes on with it; the schema is in docs/from-a-file.md."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--as", dest="person", required=True, help="e-mail address or Amazon id of who asks")
        parser.add_argument("--check", action="store_true", help="only look at the file and its answers; keep nothing")
        parser.add_argument(
            "--follow", action="store_true", help="stay, submit each step when it is ready, show the log"
        )
        parser.add_argument("--timeout", type=float, default=0, help="with --follow: give up after so many seconds")

    def handle(self, *args: Any, **options: Any) -> None:
        person = person_named(options["person"])
        try:
            text = options["file"].read_text(encoding="utf-8")
            file = from_file.understood(text)
            if options["check"]:
                from_file.check(file, person=person, now=timezone.now())
                self.stdout.write(f"{options['file']}: fine")
                return
            run = from_file.onboard(file, person=person, now=timezone.now())
            self.stdout.write(f"run {run.pk} of instance {run.instance_id}")
            self._submit(run, person)
            if options["follow"]:
                self._follow(file, run, person, options["timeout"])
            elif run.steps.exclude(state__in=(StepState.DONE, StepState.CANCELLED)).exists():
                self.stdout.write(
                    "Run this again to go on when a step is ready, or with --follow; status says where it is."
                )
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{options['file']} can't be read: {error}") from None
        except from_file.FileProblems as error:
            raise CommandError("\n".join(f"{options['file']}: {problem}" for problem in error.problems)) from None
        except Refused as error:
            raise CommandError(str(error)) from None

    def _submit(self, run: Run, person: Person) -> None:
        for step, request in from_file.submit_ready(run, person=person, now=timezone.now()):
            title = step_of(run.procedure, step.key).title
            what = f"waits for approval, request {request.pk}" if request else "submitted"
            self.stdout.write(f"{title}: {what}")

    def _follow(self, file: from_file.OnboardingFile, run: Run, person: Person, timeout: float) -> None:
        last, began = 0, time.monotonic()
        while True:
            for line in LogLine.objects.filter(step__run=run, pk__gt=last).order_by("pk"):
                last = line.pk
                self.stdout.write(f"{line.at:%H:%M:%S} {line.text}")
            states = set(run.steps.values_list("state", flat=True))
            if states <= {StepState.DONE, StepState.CANCELLED}:
                return
            if StepState.FAILED in states:
                step = run.steps.filter(state=StepState.FAILED).first()
                failure = (step.failure if step else None) or {}
                raise CommandError(f"{failure.get('what')} {failure.get('why')} {failure.get('todo')}")
            # Only a step that was ready before the submitting and still is has open questions: others become ready.
            ready = set(run.steps.filter(state=StepState.READY).values_list("pk", flat=True))
            if ready:
                waits = from_file.go_on(file, run, person=person, now=timezone.now())
                self._submit(run, person)
                if not waits and run.steps.filter(state=StepState.READY, pk__in=ready).exists():
                    raise CommandError("A step has questions that the file does not answer.")
            if timeout and time.monotonic() - began > timeout:
                raise CommandError(f"Not finished after {timeout:g} s.")
            time.sleep(_LOOK_EVERY)
