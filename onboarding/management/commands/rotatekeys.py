"""`manage.py rotatekeys`: every stored secret encrypted again with the first of FIELD_KEYS."""

from __future__ import annotations

from typing import Any

from cryptography.fernet import Fernet, InvalidToken
from django.apps import apps
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.db.models import F, Model, TextField
from django.db.models.functions import Cast

from onboarding.models import locked
from onboarding.models.secret import SecretField, UnreadableSecret


class Command(BaseCommand):
    """Goes through every SecretField of every model; safe to run again and while the portal works."""

    help = "Encrypt every stored secret again with the first key of FIELD_KEYS; older keys may then be removed."

    def handle(self, *args: Any, **options: Any) -> None:
        rewritten = 0
        for model in apps.get_models():
            fields = [field.name for field in model._meta.concrete_fields if isinstance(field, SecretField)]
            if not fields:
                continue
            for pk in list(model._default_manager.order_by("pk").values_list("pk", flat=True)):
                try:
                    rewritten += _rewrite(model, pk, fields)
                except UnreadableSecret as error:
                    raise CommandError(str(error)) from None
        self.stdout.write(f"{rewritten} secrets encrypted again with the first key.")


def _rewrite(model: type[Model], pk: Any, fields: list[str]) -> int:
    """Encrypt what is not encrypted with the first key; how many that were."""
    newest = Fernet(settings.FIELD_KEYS[0])
    with transaction.atomic():
        # Locked, so that a token renewed at this moment is not overwritten with the one before.
        row = locked(model).filter(pk=pk).only(*fields).first()
        if row is None:
            return 0
        old = [name for name in fields if getattr(row, name) and not _opens(newest, _stored(model, pk, name))]
        if old:
            row.save(update_fields=old)
    return len(old)


def _stored(model: type[Model], pk: Any, name: str) -> str:
    """The column as it lies in the database."""
    # Cast, or the column would come decrypted.
    rows = model._default_manager.filter(pk=pk).annotate(stored=Cast(F(name), TextField()))
    return str(rows.values_list("stored", flat=True).get())


def _opens(key: Fernet, stored: str) -> bool:
    try:
        key.decrypt(stored.encode())
    except InvalidToken:
        return False
    return True
