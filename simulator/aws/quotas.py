"""Service quotas. The world's table "aws.quotas" may hold other values, as an account's own increases would."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from simulator.aws.errors import AwsError
from simulator.store import World

if TYPE_CHECKING:
    from simulator.aws.identity import Call

TABLE = "aws.quotas"
_DEFAULTS = {
    "Memberships per account": 100,
    "Configured tables per account": 60,
    "ID namespace associations per membership": 25,
    "Table associations per membership": 25,
    "Schema mappings per account": 500,
    "ID namespaces per account": 500,
}


def all_of(world: World) -> dict[str, int]:
    """Every quota with its value in this world."""
    changed = world.table(TABLE)
    return {name: int((changed.get(name) or {"value": value})["value"]) for name, value in _DEFAULTS.items()}


def change(world: World, wanted: Mapping[str, object]) -> dict[str, int]:
    """Take over other values and return all. Raises ValueError for what is no quota or no whole number, 0 or more."""
    for name, value in wanted.items():
        if name not in _DEFAULTS:
            raise ValueError(f"there is no quota {name!r}; there are {', '.join(_DEFAULTS)}")
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"{name} must be a whole number, 0 or more")
    with world.change():
        for name, value in wanted.items():
            world.table(TABLE).put(name, {"value": value})
    return all_of(world)


def enforce(call: Call, service: str, name: str, existing: int) -> None:
    """Refuse one more when `existing` fill the quota.

    Raises ServiceQuotaExceededException (Clean Rooms) or ExceedsLimitException (Entity Resolution).
    """
    value = all_of(call.world)[name]
    if existing >= value:
        code = "ServiceQuotaExceededException" if service == "cleanrooms" else "ExceedsLimitException"
        raise AwsError(code, f"The quota '{name}' of {value} is reached.", quotaName=name, quotaValue=value)
