"""How rows are locked while something is decided about them."""

from __future__ import annotations

from typing import TypeVar

from django.db.models import Model, QuerySet

Row = TypeVar("Row", bound=Model)


def locked(model: type[Row]) -> QuerySet[Row]:
    """The rows of a model, to be read and locked until the transaction ends.

    Only the model's own rows are locked, not those that are joined to them, and never against whoever merely refers to
    them: PostgreSQL would otherwise have two acts on one account wait for each other.

    Whatever locks several rows goes in this order: the AMC account, a run, its steps, their requests, the
    instance, the audit log.
    """
    return model._default_manager.select_for_update(of=("self",), no_key=True)
