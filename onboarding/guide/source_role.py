"""Guide 7, "Setup tasks": the role with which Entity Resolution reads the identity data (SOURCE ID namespace)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django import forms

from onboarding.clients.failures import Fix
from onboarding.guide.differences import Comparison, Line, by_statement, lacking, statements
from onboarding.guide.plan import Call, Look
from onboarding.guide.prepared import (
    IdentityQuestion,
    IdentityStep,
    Prepared,
    acts,
    glue_name,
    limited,
    member_name,
    prepared,
)
from onboarding.guide.roles import PATH, role_arn, role_name, source_policy, source_trust
from onboarding.guide.step import Situation
from onboarding.guide.verify import may_look, verification

NEW, EXISTING = "new", "existing"
KEY = "source-role"
# The portal may make and hand on only roles that are called like this.
PREFIX = "amc-cleanrooms-"
_ROLE = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
_GLUE = re.compile(r"[a-z0-9_]{1,128}")


def proposed_role(situation: Situation) -> str:
    """The name of a role that is made for this data set."""
    data = prepared(situation)
    return role_name("source", f"{data.dataset if data else 'data'}-{situation.instance.instance_id}")


def proposed_database(data: Prepared) -> str:
    """A Glue database for the data set; the one that it lies in where Glue has it already."""
    known = next((table.database for table in data.tables if table.database), "")
    return known or f"amc_{glue_name(data.dataset)}"


def proposed_tables(data: Prepared) -> list[str]:
    """A name for each table: data set, version, folder."""
    return [
        table.glue_table or f"{glue_name(data.dataset)}_v{data.version}_{glue_name(table.name)}"[:128]
        for table in data.tables
    ]


def chosen_tables(situation: Situation) -> list[tuple[str, str]]:
    """Database and name of each Glue table, in the order of the prepared tables."""
    data = prepared(situation)
    if data is None:
        return []
    database = situation.answer(KEY, TableNames.slug, "database") or proposed_database(data)
    given = str(situation.answer(KEY, TableNames.slug, "tables") or "").split()
    names = given if len(given) == len(data.tables) else proposed_tables(data)
    return [(database, name) for name in names]


def chosen_role(situation: Situation) -> tuple[str, str]:
    """Name and ARN of the role."""
    data = prepared(situation)
    name = str(situation.answer(KEY, SourceRole.slug, "name") or proposed_role(situation))
    return name, role_arn(data.account if data else "", name)


def permissions_of(situation: Situation) -> dict[str, Any]:
    """The published permissions for what was chosen."""
    data = prepared(situation)
    if data is None:
        return source_policy("", [], [])
    buckets = list(
        dict.fromkeys([data.bucket, *(table.location.split("/")[2] for table in data.tables if "//" in table.location)])
    )
    return source_policy(data.account, buckets, chosen_tables(situation))


class TableNames(IdentityQuestion):
    """`input-databases` and `input-tables` of the role's permissions."""

    slug = "tables"
    heading = "What are the database and its tables called in AWS Glue?"
    hint = "The role of this step may read these and nothing else. The next step makes them, or takes those you have."
    why = "The guide's permissions name every database and table. Tables that exist already go by their own names."
    database = forms.CharField(label="Database", required=False, max_length=128)
    tables = forms.CharField(
        label="Tables",
        help_text="One name a line, in the order of the prepared tables.",
        required=False,
        max_length=4000,
        widget=forms.Textarea(attrs={"rows": 3}),
    )

    def __init__(self, *args: Any, situation: Situation, **kwargs: Any) -> None:
        super().__init__(*args, situation=situation, **kwargs)
        self.prepared = prepared(situation)
        if self.prepared is not None:
            self.fields["database"].initial = proposed_database(self.prepared)
            self.fields["tables"].initial = "\n".join(proposed_tables(self.prepared))

    def clean_database(self) -> str:
        value: str = self.cleaned_data["database"].strip()
        if not value and self.prepared is not None:
            return proposed_database(self.prepared)
        if not _GLUE.fullmatch(value):
            raise forms.ValidationError("A database name has lower case letters, digits and underscores only.")
        return value

    def clean_tables(self) -> str:
        names = self.cleaned_data["tables"].split()
        if self.prepared is None:
            return "\n".join(names)
        if not names:
            return "\n".join(proposed_tables(self.prepared))
        wrong = [name for name in names if not _GLUE.fullmatch(name)]
        if wrong:
            raise forms.ValidationError(
                f"A table name has lower case letters, digits and underscores only. This has others: {wrong[0][:60]}"
            )
        if len(names) != len(self.prepared.tables):
            wanted = len(self.prepared.tables)
            raise forms.ValidationError(
                f"There {'is' if wanted == 1 else 'are'} {wanted} prepared table{'s' if wanted > 1 else ''}; "
                f"give {wanted} name{'s' if wanted > 1 else ''}, not {len(names)}."
            )
        if len(set(names)) != len(names):
            raise forms.ValidationError("Two tables can't have the same name.")
        return "\n".join(names)

    @classmethod
    def becomes(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
        data = prepared(situation)
        if data is None:
            return []
        return [
            ("AWS account", data.account),
            ("Region", "us-east-1"),
            *((f"Table {number}", table.location) for number, table in enumerate(data.tables, 1)),
        ]

    @classmethod
    def summary(cls, answer: Mapping[str, Any]) -> list[tuple[str, str]]:
        names = str(answer.get("tables") or "").split()
        return [("Database", str(answer.get("database") or "")), ("Tables", ", ".join(names))]


class SourceRole(IdentityQuestion):
    """A role of its own, or one that exists."""

    slug = "role"
    heading = "Which role may read your identity data?"
    hint = "AWS Entity Resolution reads the files with it: the SOURCE ID namespace role of the guide."
    why = (
        "It gets the guide's trust and permissions, word for word. A role that exists is compared with them statement "
        "by statement before it is used, and nothing about it is changed."
    )
    kind = forms.ChoiceField(
        label="The role",
        choices=[(NEW, "Make a role for this data set"), (EXISTING, "Use one that exists")],
        widget=forms.RadioSelect,
        initial=NEW,
    )
    name = forms.CharField(
        label="Role name",
        help_text=f"Begins with {PREFIX} and lies under {PATH}: AWS lets people hand on only such roles.",
        required=False,
        max_length=64,
    )

    def __init__(self, *args: Any, situation: Situation, **kwargs: Any) -> None:
        super().__init__(*args, situation=situation, **kwargs)
        self.fields["name"].initial = proposed_role(situation)

    def clean_name(self) -> str:
        value: str = self.cleaned_data["name"].strip() or proposed_role(self.situation)
        value = value.rpartition("/")[2]
        if not _ROLE.fullmatch(value):
            raise forms.ValidationError("A role name has letters, digits and + = , . @ - _ only.")
        if not value.startswith(PREFIX):
            raise forms.ValidationError(f"The name must begin with {PREFIX}: only such a role may the portal hand on.")
        return value

    @classmethod
    def becomes(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
        data = prepared(situation)
        return [("In", member_name(situation, data.account)), ("Path", PATH)] if data else []

    @classmethod
    def summary(cls, answer: Mapping[str, Any]) -> list[tuple[str, str]]:
        new = answer.get("kind") == NEW
        return [("Role", f"{answer.get('name')} ({'made for this data set' if new else 'exists already'})")]

    @classmethod
    def documents(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Any]]:
        return [("Trust policy", source_trust()), ("Permissions", permissions_of(situation))]


class MakeSourceRole(IdentityStep):
    """Makes the role with the published trust and permissions, or proves that an existing one has them."""

    key = KEY
    title = "Role that reads the identity data"
    section = "Guide 7: Create a SOURCE ID namespace pass role"
    summary = "AWS Entity Resolution reads your files with a role that may do exactly what the guide says."
    needs = ("identity-files",)
    usually = "a few seconds"
    undo = "The role can be deleted in IAM once no ID namespace uses it."
    questions = (TableNames, SourceRole)

    def act(self, situation: Situation) -> str:
        name, _ = chosen_role(situation)
        new = situation.answer(self.key, SourceRole.slug, "kind", NEW) == NEW
        return f"{'Make' if new else 'Use'} role {name}"

    def plan(self, situation: Situation) -> list[Call]:
        data = prepared(situation)
        if data is None:
            return []
        if acts(situation, data.account):
            return self.full_plan(situation)
        whole = self.full_plan(situation)
        if not may_look(situation, data.account):
            return []
        return verification(whole) or whole

    def full_plan(self, situation: Situation) -> list[Call]:
        data = prepared(situation)
        if data is None:
            return []
        if situation.answer(self.key, SourceRole.slug, "kind", NEW) == EXISTING:
            return self._existing(situation, data)
        name, _ = chosen_role(situation)
        permissions, policy = permissions_of(situation), f"source-{data.label}"
        return [
            Call(
                key="role",
                title=f"IAM role {PATH}{name}",
                service="iam",
                operation="CreateRole",
                params={
                    "RoleName": name,
                    "Path": PATH,
                    "AssumeRolePolicyDocument": source_trust(),
                    "Description": "AWS Entity Resolution reads identity data with this role",
                    "Tags": [{"Key": "amc-portal-run", "Value": str(situation.run.pk)}],
                    **limited(situation, data.account),
                },
                effect="create",
                account=data.account,
                look=Look(
                    operation="GetRole",
                    params={"RoleName": name},
                    missing=("NoSuchEntity",),
                    same={"Role.Path": PATH, "Role.AssumeRolePolicyDocument": source_trust()},
                ),
                undo="Can be deleted in IAM once no ID namespace uses it.",
            ),
            Call(
                key="role-policy",
                title="What the role may do: read the files and their Glue tables",
                service="iam",
                operation="PutRolePolicy",
                params={"RoleName": name, "PolicyName": policy, "PolicyDocument": permissions},
                effect="update",
                account=data.account,
                look=Look(
                    operation="GetRolePolicy",
                    params={"RoleName": name, "PolicyName": policy},
                    missing=("NoSuchEntity",),
                    same={"PolicyDocument": permissions},
                ),
            ),
        ]

    def _existing(self, situation: Situation, data: Prepared) -> list[Call]:
        """Read the role, its own policies and the names of those attached, and ask IAM whether it may do it all."""
        name, arn = chosen_role(situation)
        params = {"RoleName": name}
        calls = [
            Call("role", f"IAM role {PATH}{name}", "iam", "GetRole", params, account=data.account),
            read_policies(name, data.account),
            Call(
                "attached",
                "Read which policies are attached to the role",
                "iam",
                "ListAttachedRolePolicies",
                params,
                account=data.account,
                look=Look(operation="ListAttachedRolePolicies", params=params, items="AttachedPolicies", several=True),
            ),
        ]
        for key, sid, actions, resources in _asked(permissions_of(situation)):
            calls.append(self._may(key, sid, actions, resources, arn, data.account))
        return calls

    @staticmethod
    def _may(key: str, sid: str, actions: list[str], resources: list[str], arn: str, account: str) -> Call:
        asked = {
            "PolicySourceArn": arn,
            "ActionNames": actions,
            "ResourceArns": resources,
            "ContextEntries": [
                {"ContextKeyName": "s3:ResourceAccount", "ContextKeyValues": [account], "ContextKeyType": "string"}
            ],
        }
        return Call(
            key=key,
            title=f"Ask IAM whether the role may do all of {sid}",
            service="iam",
            operation="SimulatePrincipalPolicy",
            params=asked,
            account=account,
            look=Look(
                operation="SimulatePrincipalPolicy",
                params=asked,
                same={"EvaluationResults.*.EvalDecision": ["allowed"] * len(actions) * len(resources)},
                differs=f"The role may not do all that {sid} says.",
            ),
        )

    def told(self, call: str, found: Any, differences: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if not call.startswith("may-"):
            return differences
        return [
            {
                "path": f"{one.get('EvalActionName')} on {one.get('EvalResourceName')}",
                "is": one.get("EvalDecision"),
                "wanted": "allowed",
            }
            for one in found.get("EvaluationResults") or []
            if one.get("EvalDecision") != "allowed"
        ]

    def exhibits(self, situation: Situation) -> list[Comparison]:
        return compared_with_guide(situation, situation.outputs.get(self.key, {}))

    def note(self, situation: Situation, call: str, output: Any, now: datetime) -> None:
        if situation.answer(self.key, SourceRole.slug, "kind", NEW) == EXISTING and call == "role":
            compare_trust(output.get("Role") or {})


def compare_trust(role: Mapping[str, Any]) -> None:
    """Whether a role, as `GetRole` describes it, lies where it has to and is trusted as the guide says. Raises Fix."""
    if role.get("Path") != PATH:
        raise Fix(
            f"The role lies under {role.get('Path')}; it has to lie under {PATH}.",
            why="AWS lets people hand on only such roles. The path of a role can't be changed.",
            who="Analyst",
            todo="Choose another role, or have the portal make one.",
            code="Different",
            details={"differences": [{"path": "Role.Path", "is": role.get("Path"), "wanted": PATH}]},
        )
    found, wanted = role.get("AssumeRolePolicyDocument"), source_trust()
    missing = lacking(by_statement(found, wanted))
    if missing:
        raise Fix(
            "The role's trust policy is not the one of the guide.",
            why=f"Not as it has to be: {', '.join(missing)}.",
            who="AWS administrator",
            todo="Change the trust policy as shown below, or have the portal make a role.",
            code="Different",
            details={"differences": [{"path": "Role.AssumeRolePolicyDocument", "is": found, "wanted": wanted}]},
        )


def read_policies(role: str, account: str) -> Call:
    """Read a role's own policies, each with its document."""
    params = {"RoleName": role}
    return Call(
        key="policies",
        title=f"Read what the role {role} may do",
        service="iam",
        operation="ListRolePolicies",
        params=params,
        account=account,
        look=Look(
            operation="ListRolePolicies",
            params=params,
            items="PolicyNames",
            several=True,
            detail="GetRolePolicy",
            detail_param={"PolicyName": ""},
        ),
    )


def compared_with_guide(situation: Situation, outputs: Mapping[str, Any]) -> list[Comparison]:
    """Trust and permissions of the role, as the calls `role`, `policies` and `attached` read them, beside the guide."""
    if "policies" not in outputs:
        return []
    read = [one["PolicyDocument"] for one in outputs["policies"].get("PolicyNames") or []]
    own = [one for document in read for one in statements(document)]
    lines = by_statement({"Statement": own}, permissions_of(situation))
    lines += [
        Line("Attached policy", str(one.get("PolicyName")), "not needed", "There besides")
        for one in outputs.get("attached", {}).get("AttachedPolicies") or []
    ]
    role = outputs.get("role", {}).get("Role") or {}
    trust = by_statement(role.get("AssumeRolePolicyDocument"), source_trust())
    return [
        Comparison("Trust policy beside the guide's", "Statement", tuple(trust)),
        Comparison("The role's own policies beside the guide's permissions", "Statement", tuple(lines)),
    ]


def _asked(policy: Mapping[str, Any]) -> list[tuple[str, str, list[str], list[str]]]:
    """What IAM is asked for the statements of the guide: key, statement, actions and the resources they are about."""
    s3, glue = policy["Statement"]
    buckets = [arn for arn in s3["Resource"] if not arn.endswith("/*")]
    objects = [f"{arn}/object" for arn in buckets]
    on_objects = [action for action in s3["Action"] if action == "s3:GetObject"]
    on_buckets = [action for action in s3["Action"] if action != "s3:GetObject"]
    return [
        ("may-read", s3["Sid"], on_objects, objects),
        ("may-list", s3["Sid"], on_buckets, buckets),
        ("may-glue", glue["Sid"], list(glue["Action"]), list(glue["Resource"])),
    ]
