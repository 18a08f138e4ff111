"""Which function serves which operation of the services that the simulator serves itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simulator.aws import associations, collaborations, entityresolution, memberships, tables
from simulator.aws.identity import Call

Handler = Callable[[Call, dict[str, Any]], dict[str, Any]]

HANDLERS: dict[str, dict[str, Handler]] = {
    "cleanrooms": {
        **collaborations.OPERATIONS,
        **memberships.OPERATIONS,
        **associations.OPERATIONS,
        **tables.OPERATIONS,
    },
    "entityresolution": {**entityresolution.OPERATIONS},
}
