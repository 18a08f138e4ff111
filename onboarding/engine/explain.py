"""What belongs to a refusal that speaks of a role: the statement to add, or what is required against what is there.

It is put under `documents` and `comparison` of the failure's details, which the page shows openly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from onboarding.clients.failures import RemoteFailure
from onboarding.engine.outbound import Outbound
from onboarding.guide.differences import meaning, statements
from onboarding.guide.permissions import needs_of
from onboarding.guide.plan import MISSING, Call, PlanError, dig, resolve

_TRUST = "AssumeRolePolicyDocument"
# Where IAM's answer to the look of such a call keeps the document.
_PLACES = {
    "CreateRole": f"Role.{_TRUST}",
    "UpdateAssumeRolePolicy": f"Role.{_TRUST}",
    "PutRolePolicy": "PolicyDocument",
}
Outputs = Mapping[str, Mapping[str, Any]]


def explain(
    failure: RemoteFailure,
    call: Call,
    plan: Sequence[Call],
    outputs: Outputs,
    outbound: Outbound,
    before: Callable[[], None],
) -> None:
    """Add to the failure of `call` what its role has to look like, if it is about one. Raises only what `before` does.

    `plan` is the step's, `outputs` what its calls and earlier steps have brought so far; `before` is called ahead of
    each call to IAM.
    """
    message = str(failure.details.get("message") or "")
    if "iam:PassRole" in message:
        failure.details["documents"] = pass_role(call)
    elif roles := [one for one in plan if _describes_role(one) and f"/{one.params['RoleName']}" in message]:
        failure.details["comparison"] = list(compare(roles, outputs, outbound, before))


def pass_role(call: Call) -> list[dict[str, Any]]:
    """The statement of the portal's template that lets it hand its roles to the service of `call`."""
    documents = []
    for need in needs_of(call):
        if need.action == "iam:PassRole":
            scope = need.scope.filled(call.account)
            conditions = {operator: {key: value} for operator, key, value in scope.conditions}
            statement = {
                "Sid": "PassRoles",
                "Effect": "Allow",
                "Action": need.action,
                "Resource": list(scope.resources),
                "Condition": conditions,
            }
            documents.append({"title": "The statement to add to the portal's role", "body": statement})
    return documents


def _describes_role(call: Call) -> bool:
    return call.service == "iam" and call.operation in _PLACES and call.look is not None


def compare(
    calls: Iterable[Call], outputs: Outputs, outbound: Outbound, before: Callable[[], None]
) -> Iterable[dict[str, Any]]:
    """Each statement that the calls require of a role, and the one of the same name that is there now.

    `actual` is None where there is none, or where IAM could not be asked; `read` tells the two apart.
    """
    required: dict[str, tuple[Call, Any]] = {}
    for call in calls:
        try:
            document = resolve(call.params.get(_TRUST) or call.params["PolicyDocument"], outputs)
        except PlanError:
            continue  # what it names is not made yet
        required[str(call.params.get("PolicyName") or "Trust policy")] = call, document
    for policy, (call, document) in required.items():
        before()
        actual = _actual(call, outbound)
        there = {one.get("Sid"): one for one in statements(actual)}
        for statement in statements(document):
            found = there.get(statement.get("Sid"))
            yield {
                "policy": policy,
                "statement": statement.get("Sid") or "",
                "required": statement,
                "actual": found,
                "same": found is not None and meaning(found) == meaning(statement),
                "read": actual is not None,
            }


def _actual(call: Call, outbound: Outbound) -> Any:
    """The document that IAM has, empty if there is none; None if it could not be asked."""
    look = call.look
    if look is None:
        return None
    try:
        answer = outbound.client("iam", call.account, reading=True).call(look.operation, look.params)
    except RemoteFailure as failure:
        return {} if failure.code in look.missing else None
    found = dig(answer, _PLACES[call.operation])
    return {} if found is MISSING else found
