"""`manage.py status`: where each instance stands."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db.models import Q

from onboarding.guide.procedure import step_of
from onboarding.models import Instance, InstanceStatus, Run
from onboarding.numbers import number_of


class Command(BaseCommand):
    help = "Shows the instances that are being onboarded; with NAME (or AMC id, or number) the steps of one."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("instance", nargs="?")

    def handle(self, *args: Any, **options: Any) -> None:
        wanted = options["instance"]
        if not wanted:
            rows = Instance.objects.exclude(status=InstanceStatus.IMPORTED).select_related("account")
            if not rows:
                self.stdout.write("No instance is being onboarded yet.")
            for instance in rows.order_by("account__name", "name"):
                status, detail = instance.get_status_display(), instance.status_detail
                stands = f"{status}: {detail}" if detail not in ("", status) else status
                self.stdout.write(
                    f"{instance.pk:>5}  {instance.account}  {instance}  {instance.steps_done} of {instance.steps_all}  "
                    f"{stands}"
                )
            return
        match = Q(name=wanted) | Q(instance_id=wanted)
        number = number_of(wanted)
        if number is not None:
            match |= Q(pk=number)
        run = Run.objects.filter(instance__in=Instance.objects.filter(match)).order_by("-started_at").first()
        if run is None:
            raise CommandError(f"No run of an instance called {wanted} was found.")
        for step in run.steps.order_by("position"):
            title = step_of(run.procedure, step.key).title
            more = (step.failure or {}).get("what") or step.waiting_text
            self.stdout.write(f"{step.get_state_display():<22}{title}{f': {more}' if more else ''}")
