"""What the home page shows: what needs this person now, and where their onboardings stand."""

from __future__ import annotations

from dataclasses import dataclass, field

from django.db.models import QuerySet

from onboarding.models import (
    AmcAccount,
    AmcConnection,
    Instance,
    InstanceStatus,
    Person,
    Request,
    RoleRequest,
    Step,
    StepState,
)
from onboarding.selectors.returned import Returned, returned
from onboarding.services.connections import visible_connections
from onboarding.services.people import open_role_requests

MOST = 20


@dataclass(frozen=True)
class Home:
    """Lists for the home page, each cut at MOST."""

    requests: list[Request]
    steps: list[Step]
    connections: list[AmcConnection]
    role_requests: list[RoleRequest]
    instances: list[Instance] = field(default_factory=list)
    more_instances: bool = False
    returned: dict[int, Returned] = field(default_factory=dict)

    @property
    def needed(self) -> int:
        """How many things need the person now."""
        return len(self.requests) + len(self.steps) + len(self.connections) + len(self.role_requests)


def home_of(person: Person, *, account: AmcAccount | None, admin: bool, approver: bool) -> Home:
    """At most six queries, fewer for who is neither approver nor admin. `account` is the one in view (None: all)."""
    requests: QuerySet[Request] = Request.objects.waiting_for(person)
    steps = Step.objects.filter(
        run__owner=person, run__ended_at=None, state__in=[StepState.READY, StepState.FAILED]
    ).filter(run__account__in=AmcAccount.objects.visible_to(person))
    instances = Instance.objects.visible_to(person).filter(owner=person, gone_at=None)
    if account is not None:
        requests, steps = requests.filter(account=account), steps.filter(run__account=account)
        instances = instances.filter(account=account)
    mine = list(
        instances.exclude(status=InstanceStatus.CANCELLED)
        .select_related("account")
        .order_by("-status_since")[: MOST + 1]
    )
    waiting = list(steps.select_related("run__instance", "run__account").order_by("since")[:MOST])
    return Home(
        requests=list(requests.select_related("asked_by", "account", "step__run__instance").order_by("asked_at")[:MOST])
        if approver
        else [],
        steps=waiting,
        connections=list(visible_connections(person).filter(state=AmcConnection.State.BROKEN)[:MOST]) if admin else [],
        role_requests=list(open_role_requests(person)[:MOST]) if admin else [],
        instances=mine[:MOST],
        more_instances=len(mine) > MOST,
        returned=returned(step__in=steps.values("pk")),
    )
