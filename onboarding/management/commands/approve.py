"""`manage.py approve N --as PERSON`: a decision from the command line, after showing what it is about."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from onboarding.management.people import person_named
from onboarding.models import Request
from onboarding.services import requests
from onboarding.services.errors import Refused


class Command(BaseCommand):
    help = "Shows the plan of request N and approves it; with --send-back declines it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("number", type=int)
        parser.add_argument("--as", dest="person", required=True, help="e-mail address or Amazon id")
        parser.add_argument("--comment", default="")
        parser.add_argument("--send-back", action="store_true", help="decline; needs --comment")

    def handle(self, *args: Any, **options: Any) -> None:
        person = person_named(options["person"])
        request = Request.objects.visible_to(person).filter(pk=options["number"]).first()
        if request is None:
            raise CommandError(f"There is no request {options['number']} that {person} may see.")
        self.stdout.write(f"{request.title} ({request.account})")
        for call in request.plan:
            self.stdout.write(f"  {call['effect']}: {call['title']}: {call['service']} {call['operation']}")
            self.stdout.write(f"    {json.dumps(call['params'])}")
        act = requests.send_back if options["send_back"] else requests.approve
        try:
            act(
                person=person,
                request=request,
                digest=request.digest,
                comment=options["comment"],
                now=timezone.now(),
            )
        except Refused as error:
            raise CommandError(str(error)) from None
        self.stdout.write("sent back" if options["send_back"] else "approved")
