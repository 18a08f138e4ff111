"""`manage.py requests`: the requests that wait for a decision."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from onboarding.management.people import person_named
from onboarding.models import Request, RequestState


class Command(BaseCommand):
    help = "Lists the open requests; with --as those that this person may decide."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--as", dest="person", help="e-mail address or Amazon id")

    def handle(self, *args: Any, **options: Any) -> None:
        waiting = (
            Request.objects.waiting_for(person_named(options["person"]))
            if options["person"]
            else Request.objects.filter(state=RequestState.OPEN)
        )
        found = waiting.select_related("account", "asked_by").order_by("pk")
        if not found:
            self.stdout.write("No request waits for a decision.")
        for request in found:
            self.stdout.write(
                f"{request.pk:>5}  {request.asked_at:%Y-%m-%d %H:%M}  {request.title}  ({request.account}, "
                f"asked by {request.asked_by})"
            )
