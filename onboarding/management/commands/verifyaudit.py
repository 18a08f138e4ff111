"""`manage.py verifyaudit`: walks the audit chain from its beginning to its end."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand

from onboarding.audit import verify


class Command(BaseCommand):
    """Prints whether the chain is whole; exit code 1 and the first broken place when it isn't."""

    help = "Check that no entry of the audit log was changed, removed or added by other means."

    def handle(self, *args: Any, **options: Any) -> None:
        verdict = verify()
        if verdict.whole:
            self.stdout.write(f"The audit log is whole ({verdict.entries} entries).")
            return
        self.stderr.write(
            f"The audit log is broken: {verdict.problem}. The {verdict.entries} entries before are whole."
        )
        sys.exit(1)
