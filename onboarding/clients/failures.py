"""The three kinds of failure of a call to Amazon; every client raises only these.

Later: the same call may succeed if made again. Fix: it won't, until a person changes something. Reconnect: the login or
the AWS role that the portal acts with no longer works.
"""

from __future__ import annotations

from typing import Any


class RemoteFailure(Exception):
    """A call to Amazon failed.

    `what` happened, `why`, `who` can mend it (a role or "Amazon"), `todo`: plain words for the page. `code`, `status`
    and `request_id` are Amazon's own, for the technical details. None of them holds a secret or a personal value.
    """

    kind = ""

    def __init__(
        self,
        what: str,
        *,
        why: str = "",
        who: str = "",
        todo: str = "",
        code: str = "",
        status: int | None = None,
        request_id: str = "",
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.who = who
        self.todo = todo
        self.code = code
        self.status = status
        self.request_id = request_id
        self.details = details or {}

    def as_dict(self) -> dict[str, Any]:
        """The failure as a step row keeps it and the page shows it."""
        return {
            "kind": self.kind,
            "what": self.what,
            "why": self.why,
            "who": self.who,
            "todo": self.todo,
            "code": self.code,
            "status": self.status,
            "request_id": self.request_id,
            "details": self.details,
        }


class Later(RemoteFailure):
    """Throttled, a server error, a timeout, or not ready yet. `retry_after` is what Amazon asked for, in seconds.

    `ambiguous` is true when the call may have had its effect (the answer never came). After `give_up` seconds without a
    success it becomes something to fix; None is the engine's own limit. `held` is true when no call was made, since
    Amazon asked for a pause before: it is no failure of this one, which has its turn after `retry_after`.
    """

    kind = "later"

    def __init__(
        self,
        what: str,
        *,
        retry_after: float | None = None,
        ambiguous: bool = False,
        give_up: float | None = None,
        held: bool = False,
        **rest: Any,
    ) -> None:
        super().__init__(what, **rest)
        self.retry_after = retry_after
        self.ambiguous = ambiguous
        self.held = held
        self.give_up = give_up


class Fix(RemoteFailure):
    """Refused for a reason that a person has to mend."""

    kind = "fix"


class Reconnect(RemoteFailure):
    """The login or the role no longer works. `connection` names it (`amc:7`)."""

    kind = "reconnect"

    def __init__(self, what: str, *, connection: str, **rest: Any) -> None:
        super().__init__(what, **rest)
        self.connection = connection
