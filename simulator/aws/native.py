"""Operations of moto's services that the simulator serves itself, since moto's versions don't do the work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from xml.sax.saxutils import escape

from simulator.aws import athena, crawlers, policy
from simulator.aws.errors import AwsError
from simulator.aws.identity import Call
from simulator.aws.wire import Answer, request_id

_COMPARISONS: dict[str, Callable[[str, list[str]], bool]] = {
    "EQ": lambda given, wanted: given in wanted,
    "IN": lambda given, wanted: given in wanted,
    "NE": lambda given, wanted: given not in wanted,
    "CONTAINS": lambda given, wanted: any(one in given for one in wanted),
    "NOT_CONTAINS": lambda given, wanted: not any(one in given for one in wanted),
    "BEGINS_WITH": lambda given, wanted: given.startswith(tuple(wanted)),
}


def list_resources(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """Lake Formation's ListResources, with its conditions on RESOURCE_ARN and ROLE_ARN."""
    conditions = parameters.get("FilterConditionList") or []
    fields = {"RESOURCE_ARN": "ResourceArn", "ROLE_ARN": "RoleArn"}
    with call.world.lock:
        backend = call.moto.backend("lakeformation", call.account, call.region)
        found = [resource.to_dict() for resource in backend.list_resources()]
    for condition in conditions:
        compare = _COMPARISONS.get(str(condition.get("ComparisonOperator")))
        field = fields.get(str(condition.get("Field")))
        if compare is None or field is None:
            raise AwsError("InvalidInputException", "The filter condition is not supported.", status=400)
        wanted = [str(value) for value in condition.get("StringValueList") or []]
        found = [one for one in found if compare(str(one.get(field) or ""), wanted)]
    return {"ResourceInfoList": found}


JSON_OPERATIONS: dict[str, Callable[[Call, dict[str, Any]], dict[str, Any]]] = {
    **athena.OPERATIONS,
    **crawlers.OPERATIONS,
    "lakeformation:ListResources": list_resources,
}


def _members(parameters: dict[str, Any], name: str) -> list[str]:
    prefix = f"{name}.member."
    numbered = [key for key in parameters if key.startswith(prefix) and key[len(prefix) :].isdigit()]
    return [str(parameters[key]) for key in sorted(numbered, key=lambda key: int(key[len(prefix) :]))]


def simulate_principal_policy(call: Call, parameters: dict[str, Any]) -> Answer:
    """SimulatePrincipalPolicy for a role of the caller's account, by the evaluator that serves all requests."""
    arn = str(parameters.get("PolicySourceArn") or "")
    role = call.moto.role(arn)
    if role is None or arn.split(":")[4] != call.account:
        raise AwsError("NoSuchEntity", f"The entity {arn[:300]} cannot be found.", status=404)
    actions = _members(parameters, "ActionNames")
    if not actions:
        raise AwsError("InvalidInput", "ActionNames is required.", status=400)
    context: dict[str, str | list[str]] = {"aws:PrincipalAccount": call.account, "aws:PrincipalArn": arn}
    number = 1
    while f"ContextEntries.member.{number}.ContextKeyName" in parameters:
        name = str(parameters[f"ContextEntries.member.{number}.ContextKeyName"])
        context[name] = _members(parameters, f"ContextEntries.member.{number}.ContextKeyValues")
        number += 1
    documents = call.moto.role_documents(role)
    boundary = call.moto.boundary(call.account, role.permissions_boundary_arn)
    results = []
    for action in actions:
        for resource in _members(parameters, "ResourceArns") or ["*"]:
            request = policy.Request(action, resource, context)
            verdict = policy.decide(documents, request)
            if verdict == "Allow" and boundary is not None and policy.decide([boundary], request) != "Allow":
                verdict = "None"
            decision = {"Allow": "allowed", "Deny": "explicitDeny", "None": "implicitDeny"}[verdict]
            results.append(
                f"<member><EvalActionName>{escape(action)}</EvalActionName>"
                f"<EvalResourceName>{escape(resource)}</EvalResourceName><EvalDecision>{decision}</EvalDecision>"
                "<MatchedStatements/><MissingContextValues/></member>"
            )
    text = (
        '<SimulatePrincipalPolicyResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">'
        f"<SimulatePrincipalPolicyResult><IsTruncated>false</IsTruncated><EvaluationResults>{''.join(results)}"
        f"</EvaluationResults></SimulatePrincipalPolicyResult><ResponseMetadata><RequestId>{request_id()}</RequestId>"
        "</ResponseMetadata></SimulatePrincipalPolicyResponse>"
    )
    return Answer(200, {"Content-Type": "text/xml"}, text.encode())


XML_OPERATIONS: dict[str, Callable[[Call, dict[str, Any]], Answer]] = {
    "iam:SimulatePrincipalPolicy": simulate_principal_policy,
}
