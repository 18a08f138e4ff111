"""`manage.py newkey`: a key for FIELD_KEYS."""

from __future__ import annotations

from typing import Any

from cryptography.fernet import Fernet
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    """Prints one new key; nothing is stored."""

    help = "Print a new key for FIELD_KEYS. Put it first in the list, restart, then run rotatekeys."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(Fernet.generate_key().decode())
