"""`manage.py awstemplate AWS_ACCOUNT`: what makes the portal's roles in an AWS account, as its page offers it."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from onboarding.guide import aws_templates
from onboarding.models import AwsConnection
from onboarding.services.aws_connections import access_of

FORMS = {
    "commands": aws_templates.commands,
    "cloudformation": aws_templates.cloudformation,
    "terraform": aws_templates.terraform,
}


class Command(BaseCommand):
    """Prints it; nothing is changed."""

    help = "Print what makes the portal's roles in an AWS account that was added under Connections."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("aws_account", help="12 digits")
        parser.add_argument("--account", help="the AMC account (ENTITY…), if the AWS account is added to several")
        parser.add_argument("--form", choices=FORMS, default="commands")
        parser.add_argument("--leave", action="store_true", help="with what leaving a collaboration takes")

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.PORTAL_AWS_PRINCIPAL:
            raise CommandError("PORTAL_AWS_PRINCIPAL is not set: the roles would trust nobody.")
        found = AwsConnection.objects.filter(aws_account_id=options["aws_account"])
        if options["account"]:
            found = found.filter(account__entity_id=options["account"])
        if len(found) != 1:
            raise CommandError(
                f"AWS account {options['aws_account']} is added to several AMC accounts: name one with --account."
                if found
                else f"AWS account {options['aws_account']} is not added under Connections."
            )
        self.stdout.write(FORMS[options["form"]](access_of(found[0], deletes=options["leave"])), ending="")
