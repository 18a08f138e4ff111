"""What one request to a route gives, by kind of person."""

from __future__ import annotations

from dataclasses import dataclass, field

KINDS = ("nobody", "no role", "analyst", "approver", "admin", "foreign admin", "superuser")
EVERYBODY_IN = ("no role", "analyst", "approver", "admin", "foreign admin", "superuser")
MEMBERS = ("analyst", "approver", "admin", "superuser")
SOME_ADMIN = ("admin", "foreign admin", "superuser")
NO_ADMIN = ("no role", "analyst", "approver")
ADMIN = ("admin", "superuser")


@dataclass(frozen=True)
class Route:
    """One request, and who may make it.

    `args` fill the address and `data` is sent: `@name` stands for the key of an object of the test's world. The kinds
    in `allowed` get one of `status`, those in `forbidden` 403, those in `invalid` 422 (a form that does not offer
    the choice), everybody else 404; who is not signed in is sent to the sign-in page, unless the route is public.
    """

    allowed: tuple[str, ...]
    method: str = "get"
    args: tuple[str, ...] = ()
    data: dict[str, object] = field(default_factory=dict)
    status: tuple[int, ...] = (200, 302)
    forbidden: tuple[str, ...] = ()
    invalid: tuple[str, ...] = ()
    public: bool = False
