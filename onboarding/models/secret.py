"""Secrets at rest: a text field that is encrypted in the database, with keys that can be rotated."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.db import models


@lru_cache(maxsize=4)
def _box(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])


def box() -> MultiFernet:
    """The keys of settings.FIELD_KEYS: the first one encrypts, every one decrypts."""
    return _box(tuple(settings.FIELD_KEYS))


class UnreadableSecret(Exception):
    """A stored secret was encrypted with a key that FIELD_KEYS no longer names."""


if TYPE_CHECKING:
    _Text = models.TextField[str, str]
else:
    _Text = models.TextField


class SecretField(_Text):
    """Text that is stored encrypted (Fernet) and never shown by `repr` of the row."""

    def get_prep_value(self, value: Any) -> Any:
        if value is None or value == "":
            return value
        return box().encrypt(str(value).encode()).decode()

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> str | None:
        if value is None or value == "":
            return value
        try:
            return box().decrypt(value.encode()).decode()
        except InvalidToken:
            raise UnreadableSecret(
                f"{self.model._meta.label}.{self.name} cannot be read: "
                "put the key it was written with back into FIELD_KEYS"
            ) from None
