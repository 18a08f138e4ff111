"""Guide 7, steps 4 and 5: the SOURCE ID namespace over the tables, and its association with the collaboration."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django import forms
from django.utils.dateparse import parse_datetime

from onboarding.guide.differences import Comparison
from onboarding.guide.join import instance_known
from onboarding.guide.plan import Call, Look, Ref, Until
from onboarding.guide.prepared import (
    IdentityQuestion,
    IdentityStep,
    Prepared,
    acts,
    member_name,
    membership_of,
    prepared,
)
from onboarding.guide.schema_mapping import chosen_schemas, clean_resource_name, resource_name
from onboarding.guide.source_role import (
    chosen_role,
    chosen_tables,
    compare_trust,
    compared_with_guide,
    read_policies,
)
from onboarding.guide.step import Situation
from onboarding.guide.verify import may_look, verification
from onboarding.models import DatasetVersion, IdNamespace, NamespaceTable

KEY = "id-namespace"
DESCRIPTION = "Advertiser owner SOURCE Id Namespace"
NAMESPACES = "collaborationIdNamespaceAssociations"
_WORKFLOW = [{"idMappingType": "RULE_BASED", "ruleBasedProperties": {"ruleDefinitionTypes": ["TARGET"]}}]


def proposed_namespace(situation: Situation) -> str:
    """A name that says instance, data set and version."""
    data = prepared(situation)
    return resource_name(situation.instance.instance_id, data.label if data else "data")


def namespace_arn(account: str, name: str) -> str:
    """The ARN of an ID namespace in us-east-1."""
    return f"arn:aws:entityresolution:us-east-1:{account}:idnamespace/{name}"


class NamespaceName(IdentityQuestion):
    """`idNamespaceName`, and the name of the association."""

    slug = "namespace"
    heading = "What should the ID namespace be called?"
    hint = "It wraps the tables and their schema mappings; the collaboration then sees it under the second name."
    why = "The name can't be changed later. AMC lists the ID namespace when a mapping table is made."
    name = forms.CharField(label="ID namespace", required=False, max_length=255)
    association = forms.CharField(label="Name in the collaboration", required=False, max_length=100)
    description = forms.CharField(label="Description", required=False, max_length=255)

    def __init__(self, *args: Any, situation: Situation, **kwargs: Any) -> None:
        super().__init__(*args, situation=situation, **kwargs)
        proposal = proposed_namespace(situation)
        self.fields["name"].initial = proposal
        self.fields["association"].initial = proposal[:100]
        self.fields["description"].initial = DESCRIPTION

    def clean_name(self) -> str:
        return clean_resource_name(self.cleaned_data["name"].strip() or proposed_namespace(self.situation))

    def clean_association(self) -> str:
        value: str = self.cleaned_data["association"].strip()
        return value or str(self.cleaned_data.get("name") or proposed_namespace(self.situation))[:100]

    def clean_description(self) -> str:
        value: str = self.cleaned_data["description"].strip()
        return value or DESCRIPTION

    @classmethod
    def becomes(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
        data = prepared(situation)
        if data is None:
            return []
        membership = membership_of(situation, data.account)
        return [
            ("Membership of", member_name(situation, data.account)),
            ("Membership id", membership if isinstance(membership, str) else "known once the account has joined"),
            ("Role", chosen_role(situation)[0]),
            ("Tables", ", ".join(f"{database}.{table}" for database, table in chosen_tables(situation))),
        ]

    @classmethod
    def documents(cls, situation: Situation, answers: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Any]]:
        data = prepared(situation)
        if data is None:
            return []
        return [
            ("create-source-id-namespace.json", namespace_params(situation, data)),
            ("create-source-id-namespace-association.json", association_params(situation, data)),
        ]


def chosen_namespace(situation: Situation) -> str:
    """The name of the ID namespace."""
    return str(situation.answer(KEY, NamespaceName.slug, "name") or proposed_namespace(situation))


def namespace_params(situation: Situation, data: Prepared) -> dict[str, Any]:
    """The payload of `create-id-namespace`, as the guide has it."""
    sources = [
        {"inputSourceARN": f"arn:aws:glue:us-east-1:{data.account}:table/{database}/{table}", "schemaName": schema}
        for (database, table), (schema, _) in zip(chosen_tables(situation), chosen_schemas(situation), strict=True)
    ]
    return {
        "idNamespaceName": chosen_namespace(situation),
        "description": situation.answer(KEY, NamespaceName.slug, "description", DESCRIPTION),
        "type": "SOURCE",
        "inputSourceConfig": sources,
        "idMappingWorkflowProperties": _WORKFLOW,
        "roleArn": chosen_role(situation)[1],
    }


def association_params(situation: Situation, data: Prepared) -> dict[str, Any]:
    """The payload of `create-id-namespace-association`, as the guide has it."""
    name = chosen_namespace(situation)
    return {
        "name": situation.answer(KEY, NamespaceName.slug, "association") or name[:100],
        "description": f"Identity data {data.label}",
        "inputReferenceConfig": {
            "inputReferenceArn": namespace_arn(data.account, name),
            "manageResourcePolicies": True,
        },
    }


class MakeIdNamespace(IdentityStep):
    """Makes the ID namespace and associates it with the membership of the account that holds the data."""

    key = KEY
    title = "Offer the identity data to the collaboration"
    section = "Guide 7: Create a SOURCE ID namespace, associate it with the collaboration"
    summary = "An ID namespace wraps the tables, and the collaboration gets to know it."
    needs = ("source-role", "schema-mapping")
    usually = "a minute"
    undo = "The association and the ID namespace can be deleted as long as no mapping table stands on them."
    questions = (NamespaceName,)

    def act(self, situation: Situation) -> str:
        return f"Make and associate ID namespace {chosen_namespace(situation)}"

    def plan(self, situation: Situation) -> list[Call]:
        data = prepared(situation)
        if data is None:
            return []
        whole = self.full_plan(situation)
        if acts(situation, data.account):
            return whole
        seen = verification(whole) if may_look(situation, data.account) else []
        return [self._listed(situation, data), *seen]

    def full_plan(self, situation: Situation) -> list[Call]:
        data = prepared(situation)
        if data is None:
            return []
        role, arn = chosen_role(situation)
        wanted, association = namespace_params(situation, data), association_params(situation, data)
        name, membership = wanted["idNamespaceName"], membership_of(situation, data.account)
        tags = {"amc-portal-run": str(situation.run.pk)}
        return [
            Call("role", f"Read the role {role}", "iam", "GetRole", {"RoleName": role}, account=data.account),
            read_policies(role, data.account),
            Call(
                key="namespace",
                title=f"SOURCE ID namespace {name}",
                service="entityresolution",
                operation="CreateIdNamespace",
                params={**wanted, "tags": tags},
                effect="create",
                account=data.account,
                look=Look(
                    operation="GetIdNamespace",
                    params={"idNamespaceName": name},
                    missing=("ResourceNotFoundException",),
                    same={
                        "type": "SOURCE",
                        "inputSourceConfig": wanted["inputSourceConfig"],
                        "idMappingWorkflowProperties.*.idMappingType": ["RULE_BASED"],
                        "idMappingWorkflowProperties.*.ruleBasedProperties.ruleDefinitionTypes": [["TARGET"]],
                        "roleArn": arn,
                    },
                ),
                undo="Can be deleted in Entity Resolution once it is associated with no collaboration.",
            ),
            Call(
                key="association",
                title=f"Association of {name} with “{situation.instance.collaboration_name}”",
                service="cleanrooms",
                operation="CreateIdNamespaceAssociation",
                params={**association, "membershipIdentifier": membership, "tags": tags},
                effect="create",
                account=data.account,
                look=Look(
                    operation="ListIdNamespaceAssociations",
                    params={"membershipIdentifier": membership},
                    items="idNamespaceAssociationSummaries",
                    where={"inputReferenceConfig.inputReferenceArn": namespace_arn(data.account, name)},
                    same={"inputReferenceConfig.manageResourcePolicies": True},
                    wrap="idNamespaceAssociation",
                ),
                undo="Can be deleted as long as no mapping table stands on it.",
            ),
        ]

    def _listed(self, situation: Situation, data: Prepared) -> Call:
        """Wait until AMC lists the association: it is made by people themselves."""
        instance = instance_known(situation)
        return Call(
            key="listed",
            title="Wait until AMC lists the ID namespace",
            service="amc",
            operation="listCollaborationIdNamespaces",
            params={"instanceId": instance},
            effect="wait",
            until=Until(
                path=f"{NAMESPACES}.*.idNamespaceArn",
                done=(namespace_arn(data.account, chosen_namespace(situation)),),
                one=True,
                every=(5, 15, 60, 300),
                give_up=30 * 86_400,
                usually="a few minutes after it is associated",
            ),
        )

    def note(self, situation: Situation, call: str, output: Any, now: datetime) -> None:
        data = prepared(situation)
        if data is None:
            return
        if call == "role":
            compare_trust(output.get("Role") or {})
        elif call == "namespace":
            note_namespace(situation, data, now)
        elif call == "association":
            note_association(situation, data, output.get("idNamespaceAssociation") or {}, now)
        elif call == "listed":
            arn = namespace_arn(data.account, chosen_namespace(situation))
            found = next((one for one in output.get(NAMESPACES) or [] if one.get("idNamespaceArn") == arn), None)
            if found is not None:
                note_namespace(situation, data, now)
                note_association(situation, data, found, now)

    def exhibits(self, situation: Situation) -> list[Comparison]:
        outputs = situation.outputs.get(self.key, {})
        # Once the ID namespace is there the role has proved itself.
        return [] if "namespace" in outputs else compared_with_guide(situation, outputs)


def note_namespace(situation: Situation, data: Prepared, now: datetime) -> None:
    """Write the ID namespace and its tables into their rows."""
    name = chosen_namespace(situation)
    version = DatasetVersion.objects.filter(pk=data.version_pk).first() if data.version_pk else None
    seen: dict[str, Any] = {
        "version": version,
        "run": situation.run,
        "aws_account_id": data.account,
        "name": name,
        "role_arn": chosen_role(situation)[1],
        "seen_at": now,
        "gone_at": None,
    }
    row, _ = IdNamespace.objects.update_or_create(
        instance=situation.instance,
        arn=namespace_arn(data.account, name),
        defaults=seen,
        create_defaults={**seen, "made_at": now},
    )
    row.tables.all().delete()
    NamespaceTable.objects.bulk_create(
        NamespaceTable(
            namespace=row,
            position=position,
            database=database,
            glue_table=glue_table,
            location=table.location,
            rows=table.rows,
            fields=fields,
            schema_name=schema,
            schema_arn=f"arn:aws:entityresolution:us-east-1:{data.account}:schemamapping/{schema}",
        )
        for position, (table, (database, glue_table), (schema, fields)) in enumerate(
            zip(data.tables, chosen_tables(situation), chosen_schemas(situation), strict=True)
        )
    )


def note_association(situation: Situation, data: Prepared, said: Mapping[str, Any], now: datetime) -> None:
    """Write the association, as Clean Rooms or AMC describes it, into the ID namespace's row."""
    membership = membership_of(situation, data.account)
    created = parse_datetime(str(said.get("createTime") or ""))
    IdNamespace.objects.filter(
        instance=situation.instance, arn=namespace_arn(data.account, chosen_namespace(situation))
    ).update(
        membership_id=said.get("membershipId") or ("" if isinstance(membership, Ref) else membership),
        association_id=said.get("id") or "",
        association_name=said.get("name") or association_params(situation, data)["name"],
        association_arn=said.get("arn") or "",
        associated_at=created or now,
        seen_at=now,
    )
