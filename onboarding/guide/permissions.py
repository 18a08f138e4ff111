"""What the portal's roles in a customer's AWS account must be allowed to do: read off the calls that the steps declare.

Nothing is listed by hand but how an operation is called in IAM where the names differ, which further actions AWS takes
for it, and on which resources it is needed. A step that makes a new call asks for its action from that moment on; a
service without a line in `_SCOPES` is an error.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Literal

from django import forms
from django.utils import timezone

from onboarding.guide import identity_athena
from onboarding.guide.boundary import boundary_arn
from onboarding.guide.compare import READS
from onboarding.guide.plan import Call
from onboarding.guide.procedure import PROCEDURES
from onboarding.guide.step import GuideStep, Question, Situation
from onboarding.models import AmcAccount, Instance, Run

Kind = Literal["read", "change", "delete"]
# Condition operator, key, value; `{account}` stands for the AWS account id in values and resources.
Condition = tuple[str, str, str]

PROVISIONER_NAME = "amc-onboarding-portal-provisioner"
READER_NAME = "amc-onboarding-portal-reader"
PORTAL_ROLES = "arn:aws:iam::{account}:role/amc-onboarding-portal-*"
SERVICE_ROLES = "arn:aws:iam::{account}:role/service-role/amc-cleanrooms-*"

_BOUNDED: Condition = ("StringEquals", "iam:PermissionsBoundary", boundary_arn("{account}"))
_REGION: Condition = ("StringEquals", "aws:RequestedRegion", "us-east-1")
_OWN_BUCKET: Condition = ("StringEquals", "s3:ResourceAccount", "{account}")

# Operations that IAM knows by another name. GetCallerIdentity needs no permission at all.
_NAMES: Mapping[str, tuple[str, ...]] = {
    "sts:GetCallerIdentity": (),
    # Work on identity files, by what it does in S3.
    "identity:start": (
        "s3:ListBucket",
        "s3:GetObject",
        "s3:PutObject",
        "s3:DeleteObject",
        "s3:AbortMultipartUpload",
        "s3:ListBucketMultipartUploads",
    ),
    "identity:prepare": (),
    "identity:adopt": ("s3:ListBucket", "s3:GetObject"),
    "identity:manifest": ("s3:ListBucket", "s3:GetObject"),
    "identity:same": ("s3:ListBucket",),
    "identity:collect": ("s3:ListBucket",),
    "s3:ListBuckets": ("s3:ListAllMyBuckets",),
    "s3:HeadBucket": ("s3:ListBucket",),
    "s3:HeadObject": ("s3:GetObject",),
    "s3:ListObjects": ("s3:ListBucket",),
    "s3:ListObjectsV2": ("s3:ListBucket",),
    "s3:ListParts": ("s3:ListMultipartUploadParts",),
    "s3:ListMultipartUploads": ("s3:ListBucketMultipartUploads",),
    "s3:CreateMultipartUpload": ("s3:PutObject",),
    "s3:UploadPart": ("s3:PutObject",),
    "s3:CompleteMultipartUpload": ("s3:PutObject",),
    "s3:DeleteObjects": ("s3:DeleteObject",),
    "s3:GetPublicAccessBlock": ("s3:GetBucketPublicAccessBlock",),
    "s3:PutPublicAccessBlock": ("s3:PutBucketPublicAccessBlock",),
    "s3:GetBucketEncryption": ("s3:GetEncryptionConfiguration",),
    "s3:PutBucketEncryption": ("s3:PutEncryptionConfiguration",),
    "s3:GetBucketLifecycleConfiguration": ("s3:GetLifecycleConfiguration",),
    "s3:PutBucketLifecycleConfiguration": ("s3:PutLifecycleConfiguration",),
    "s3:GetBucketCors": ("s3:GetBucketCORS",),
    "s3:PutBucketCors": ("s3:PutBucketCORS",),
}

_GLUE_READS = tuple(
    f"glue:{name}"
    for name in (
        "BatchGetPartition",
        "GetDatabase",
        "GetDatabases",
        "GetPartition",
        "GetPartitions",
        "GetSchemaVersion",
        "GetTable",
        "GetTables",
    )
)
# What AWS itself asks of the caller beside the action of the operation.
_FURTHER: Mapping[str, tuple[str, ...]] = {
    "cleanrooms:CreateConfiguredTable": _GLUE_READS,
    "cleanrooms:CreateIdNamespaceAssociation": (
        "entityresolution:GetIdNamespace",
        "entityresolution:AddPolicyStatement",
    ),
    "cleanrooms:DeleteIdNamespaceAssociation": ("entityresolution:DeletePolicyStatement",),
    "athena:StartQueryExecution": (
        "glue:GetDatabase",
        "glue:GetTable",
        "glue:GetPartitions",
        "s3:GetBucketLocation",
        "s3:GetObject",
        "s3:ListBucket",
        "s3:PutObject",
    ),
}
_QUERY_LOG = tuple(
    f"logs:{name}"
    for name in (
        "CreateLogDelivery",
        "GetLogDelivery",
        "UpdateLogDelivery",
        "DeleteLogDelivery",
        "ListLogDeliveries",
        "CreateLogGroup",
        "DescribeLogGroups",
        "DescribeResourcePolicies",
        "PutResourcePolicy",
    )
)
_TAGGING = {"iam:CreateRole": "iam:TagRole", "iam:CreatePolicy": "iam:TagPolicy"}


class NoScope(Exception):
    """A step makes a call of a service for which nobody has said on which resources it is needed."""


@dataclass(frozen=True, slots=True)
class Scope:
    """On which resources, and under which conditions, an action is allowed."""

    resources: tuple[str, ...]
    conditions: tuple[Condition, ...] = ()

    def filled(self, account: str) -> Scope:
        """With the AWS account id in place of `{account}`."""
        return Scope(
            tuple(resource.replace("{account}", account) for resource in self.resources),
            tuple((operator, key, value.replace("{account}", account)) for operator, key, value in self.conditions),
        )


def _regional(service: str, *resources: str) -> Scope:
    return Scope(tuple(f"arn:aws:{service}:us-east-1:{{account}}:{resource}" for resource in resources))


_ANY_OWN_BUCKET = Scope(("arn:aws:s3:::*",), (_OWN_BUCKET,))
# The first line that fits counts.
_SCOPES: tuple[tuple[str, Scope], ...] = (
    # Whoever may make roles could make one that may do everything: the boundary says what they may do at most.
    ("iam:CreateRole", Scope((SERVICE_ROLES,), (_BOUNDED,))),
    ("iam:PutRolePolicy", Scope((SERVICE_ROLES,), (_BOUNDED,))),
    ("iam:AttachRolePolicy", Scope((SERVICE_ROLES,), (_BOUNDED,))),
    ("iam:PutRolePermissionsBoundary", Scope((SERVICE_ROLES,), (_BOUNDED,))),
    ("iam:SimulatePrincipalPolicy", Scope((PORTAL_ROLES, SERVICE_ROLES))),
    ("iam:ListRoles", Scope(("*",))),
    # AWS judges a look for a role that does not exist without the path that it would have.
    ("iam:Get*Role*", Scope((SERVICE_ROLES, SERVICE_ROLES.replace("service-role/", "")))),
    ("iam:List*Role*", Scope((SERVICE_ROLES, SERVICE_ROLES.replace("service-role/", "")))),
    ("iam:*Role*", Scope((SERVICE_ROLES,))),
    ("iam:*Policy*", Scope(("arn:aws:iam::{account}:policy/service-role/amc-cleanrooms-*",))),
    ("s3:ListAllMyBuckets", Scope(("*",))),
    # The bucket has no owner yet when it is made.
    ("s3:CreateBucket", Scope(("arn:aws:s3:::*",))),
    ("s3:*Object*", Scope(("arn:aws:s3:::*/*",), (_OWN_BUCKET,))),
    ("s3:AbortMultipartUpload", Scope(("arn:aws:s3:::*/*",), (_OWN_BUCKET,))),
    ("s3:ListMultipartUploadParts", Scope(("arn:aws:s3:::*/*",), (_OWN_BUCKET,))),
    ("s3:*", _ANY_OWN_BUCKET),
    # Collaborations belong to the account of AMC, and lists have no resource: the region is what can be said.
    ("cleanrooms:*", Scope(("*",), (_REGION,))),
    ("entityresolution:List*", Scope(("*",), (_REGION,))),
    ("entityresolution:*", _regional("entityresolution", "*")),
    ("glue:TagResource", _regional("glue", "crawler/*")),
    ("glue:*Crawler*", _regional("glue", "crawler/*")),
    ("glue:*", _regional("glue", "catalog", "database/*", "table/*")),
    ("athena:*", _regional("athena", "workgroup/*")),
    ("lakeformation:*", Scope(("*",), (_REGION,))),
    ("logs:*", Scope(("*",), (_REGION,))),
)
# Where an action is needed for one operation only: Athena reads its own results for whoever asks for them.
_FURTHER_AT: Mapping[str, tuple[tuple[str, Scope], ...]] = {
    "athena:GetQueryResults": (("s3:GetObject", Scope(("arn:aws:s3:::*/uploads/athena/*",), (_OWN_BUCKET,))),),
}
# Services that are handed roles, by what IAM calls them.
_TAKES_ROLES = frozenset({"cleanrooms", "entityresolution", "glue"})


@dataclass(frozen=True, slots=True)
class Need:
    """One action that a role of the portal needs, where, and whether it reads, changes or deletes."""

    action: str
    kind: Kind
    scope: Scope


def scope_of(action: str) -> Scope:
    """Where an action is needed. Raises NoScope for a service that has no line."""
    for pattern, scope in _SCOPES:
        if fnmatchcase(action, pattern):
            return scope
    raise NoScope(f"{action}: say in _SCOPES on which resources the portal needs it")


def actions_for(service: str, operation: str) -> tuple[str, ...]:
    """The IAM actions of one operation, without what depends on its parameters."""
    name = f"{service}:{operation}"
    return _NAMES.get(name, (name,)) + _FURTHER.get(name, ())


def needs_of(call: Call) -> list[Need]:
    """Everything that a role needs so that the engine can make this call, its looks included. Nothing for AMC's."""
    if call.service == "amc":
        return []
    kind: Kind = "delete" if call.effect == "delete" else "change" if call.changes else "read"
    found = []
    if call.look is not None:
        for operation in filter(None, (call.look.operation, call.look.detail)):
            found += [Need(action, "read", scope_of(action)) for action in actions_for(call.service, operation)]
    if call.look is None or call.effect != "read":
        name = f"{call.service}:{call.operation}"
        for action in (*actions_for(call.service, call.operation), *_by_parameters(name, call.params)):
            found.append(Need(action, kind, scope_of(action)))
        found += [Need(action, kind, scope) for action, scope in _FURTHER_AT.get(name, ())]
        if call.changes and call.service in _TAKES_ROLES and _holds_role(call.params):
            passed: Condition = ("StringEquals", "iam:PassedToService", f"{call.service}.amazonaws.com")
            found.append(Need("iam:PassRole", kind, Scope((SERVICE_ROLES,), (passed,))))
    return found


def _by_parameters(name: str, params: Mapping[str, Any]) -> Iterator[str]:
    service = name.partition(":")[0]
    if params.get("tags") or params.get("Tags"):
        if service in ("cleanrooms", "entityresolution", "glue"):
            yield f"{service}:TagResource"
        elif name in _TAGGING:
            yield _TAGGING[name]
    if str(params.get("QueryString", "")).startswith("CREATE TABLE"):
        # Athena makes the table and writes its files as whoever asks.
        yield from ("glue:CreateTable", "s3:AbortMultipartUpload", "s3:ListBucketMultipartUploads")
        yield "s3:ListMultipartUploadParts"
    if params.get("queryLogStatus") == "ENABLED":
        yield from _QUERY_LOG


def _holds_role(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(name in ("roleArn", "Role", "RoleArn") or _holds_role(item) for name, item in value.items())
    return isinstance(value, list | tuple) and any(map(_holds_role, value))


# Calls that the portal makes outside a plan: connecting asks what the roles may do, the comparison reads.
OUTSIDE_PLANS: tuple[Call, ...] = (
    Call("allowed", "Ask what the portal's roles may do", "iam", "SimulatePrincipalPolicy"),
    Call("identity", "Ask who the portal is", "sts", "GetCallerIdentity"),
    *READS,
    Call("find-files", "Find identity files", "s3", "ListObjectsV2"),
    Call("read-files", "Look at and check identity files", "s3", "GetObject"),
    Call("catalogue", "Find the files of a Glue table", "glue", "GetTable"),
    Call("buckets", "Show the buckets to choose from", "s3", "ListBuckets"),
    Call("parts", "See which parts of an upload are there", "s3", "ListParts"),
    Call("upload", "Begin an upload", "s3", "CreateMultipartUpload", effect="update"),
    Call("part", "Let the browser put a part", "s3", "UploadPart", effect="update"),
    Call("uploaded", "Join the parts of an upload", "s3", "CompleteMultipartUpload", effect="update"),
    Call("cancelled", "Cancel an upload", "s3", "AbortMultipartUpload", effect="update"),
    # Which files there are decides on them, and made-up answers have none.
    *identity_athena.sample(),
    Call("expired", "Delete an upload whose time is over", "s3", "DeleteObject", effect="update"),
)


@lru_cache(maxsize=1)
def all_needs() -> tuple[Need, ...]:
    """What the calls of all steps of all procedures need together, each once, in alphabetical order."""
    steps = (step for steps in PROCEDURES.values() for step in steps)
    return collected(itertools.chain(OUTSIDE_PLANS, *map(calls_of, steps)))


def collected(calls: Iterable[Call]) -> tuple[Need, ...]:
    """What these calls need together. Roles must be made under the boundary if every call that makes one says so."""
    strength: Mapping[str, int] = {"read": 0, "change": 1, "delete": 2}
    calls = list(calls)
    bounded = all("PermissionsBoundary" in call.params for call in calls if call.operation == "CreateRole")
    found: dict[tuple[str, Scope], Need] = {}
    for need in itertools.chain.from_iterable(map(needs_of, calls)):
        if not bounded and _BOUNDED in need.scope.conditions:
            rest = tuple(one for one in need.scope.conditions if one != _BOUNDED)
            need = Need(need.action, need.kind, Scope(need.scope.resources, rest))
        known = found.get((need.action, need.scope))
        # Whoever may read something for a look may do so as a reader, too.
        if known is None or strength[need.kind] < strength[known.kind]:
            found[need.action, need.scope] = need
    return tuple(sorted(found.values(), key=lambda need: (need.action, need.scope.resources)))


def needs(kinds: Iterable[Kind]) -> list[Need]:
    """The needs of these kinds: `read` for the reader, also `change` for the provisioner, `delete` to leave."""
    wanted = set(kinds)
    return [need for need in all_needs() if need.kind in wanted]


# --- the calls that a step may make, whatever is answered

_MOST_VARIANTS = 64
_SAMPLE_ACCOUNT = "111122223333"


def calls_of(step: GuideStep) -> Iterator[Call]:
    """The calls of a step's plan for every way in which its questions can be answered."""
    for situation in situations(step):
        yield from step.plan(situation)


def situations(step: GuideStep) -> Iterator[Situation]:
    """Made-up situations that differ in every choice that the step's questions, or who acts in AWS, leave open."""
    base = _first_answers()
    mine = [{question.slug: answer for question, answer in pairs} for pairs in _combined(step.questions)]
    for answers in mine:
        yield _situation({**base, step.key: {**base.get(step.key, {}), **answers}})


@lru_cache(maxsize=1)
def _first_answers() -> dict[str, dict[str, dict[str, Any]]]:
    """The first choice of every question of every step: the portal acts."""
    return {
        step.key: {question.slug: next(iter(_answers(question))) for question in step.questions}
        for steps in PROCEDURES.values()
        for step in steps
    }


def _combined(questions: Iterable[type[Question]]) -> list[tuple[tuple[type[Question], dict[str, Any]], ...]]:
    each = [[(question, answer) for answer in _answers(question)] for question in questions]
    count = 1
    for options in each:
        count *= len(options)
    if count <= _MOST_VARIANTS:
        return list(itertools.product(*each))
    first = tuple(options[0] for options in each)
    return [(*first[:place], option, *first[place + 1 :]) for place, options in enumerate(each) for option in options]


def _answers(question: type[Question]) -> list[dict[str, Any]]:
    fields = {name: _values(name, field) for name, field in question.base_fields.items()}
    combined = itertools.islice(itertools.product(*fields.values()), _MOST_VARIANTS)
    return [dict(zip(fields, values, strict=True)) for values in combined]


def _values(name: str, field: forms.Field) -> list[Any]:
    if isinstance(field, forms.MultipleChoiceField):
        return [[str(value) for value, _ in _flat(field)]]
    if isinstance(field, forms.ChoiceField):
        # A list of accounts is filled in when it is asked.
        known = [str(value) for value, _ in _flat(field) if value != ""]
        return known or [_SAMPLE_ACCOUNT if "account" in name else "sample"]
    if isinstance(field, forms.BooleanField):
        return [True] if field.required else [True, False]
    if isinstance(field, forms.IntegerField):
        return [field.min_value if isinstance(field.min_value, int) else 1]
    return [_SAMPLE_ACCOUNT if "account" in name else "sample"]


def _flat(field: forms.ChoiceField) -> Iterator[tuple[Any, Any]]:
    choices: Any = field.choices
    for value, label in choices:
        if isinstance(label, list | tuple):
            yield from label
        else:
            yield value, label


# What earlier steps brought, where the calls of later ones depend on it.
_OUTPUTS: Mapping[str, Mapping[str, Any]] = {
    "identity-files": {
        "prepare": {
            "dataset": "sample",
            "version": 1,
            "version_pk": None,
            "aws_account_id": _SAMPLE_ACCOUNT,
            "bucket": "sample",
            "prefix": "",
            "rows": 1,
            "tables": [
                {
                    "name": "identity",
                    "location": "s3://sample/sample/v1/identity/",
                    "format": "PARQUET",
                    "rows": 1,
                    "columns": [
                        {"name": "customerid", "kind": "key", "hashed": False},
                        {"name": "email", "kind": "email", "hashed": True},
                    ],
                }
            ],
        }
    }
}


def _situation(answers: dict[str, dict[str, dict[str, Any]]]) -> Situation:
    # Never saved: number 0 is nobody's, so that what a plan looks up for it is empty.
    account = AmcAccount(pk=0, entity_id="ENTITYSAMPLE", marketplace_id="SAMPLE", name="Sample")
    instance = Instance(
        pk=0,
        account=account,
        instance_id="amcsample",
        name="Sample",
        aws_account_id=_SAMPLE_ACCOUNT,
        collaboration_id="00000000-0000-0000-0000-000000000000",
        collaboration_name="AMC amcsample",
        status_since=timezone.now(),
    )
    run = Run(account=account, instance=instance, started_at=timezone.now())
    return Situation(run=run, account=account, instance=instance, answers=answers, outputs=_OUTPUTS)
