"""Configured tables in AWS Clean Rooms: analysis rules, associations, and the schemas that members see."""

from __future__ import annotations

import uuid
from typing import Any

from simulator.aws import policy, quotas, roles
from simulator.aws.collaborations import COLLABORATIONS, MAPPING_TABLES, visible
from simulator.aws.errors import AwsError, invalid
from simulator.aws.identity import Call
from simulator.aws.memberships import (
    TABLE_ASSOCIATIONS,
    check_role,
    owned,
    put_tags,
    results_buckets,
    trust_contexts,
)
from simulator.aws.service import page
from simulator.store import Document

CONFIGURED_TABLES = "cleanrooms.configuredtables"


def _missing(kind: str, identifier: str, what: str) -> AwsError:
    return AwsError(
        "ResourceNotFoundException", f"{what} {identifier} does not exist.", resourceId=identifier, resourceType=kind
    )


def _configured(call: Call, identifier: str) -> Document:
    document = call.world.table(CONFIGURED_TABLES).get(identifier)
    if document is None or document["account"] != call.account or document["region"] != call.region:
        raise _missing("CONFIGURED_TABLE", identifier, "Configured table")
    return document


def _glue(call: Call, reference: dict[str, Any]) -> dict[str, Any]:
    table = call.moto.glue_table(
        call.account, reference.get("region") or call.region, reference["databaseName"], reference["tableName"]
    )
    if table is None:
        raise invalid(
            f"The AWS Glue table {reference['databaseName']}.{reference['tableName']} does not exist.",
            reason="INVALID_CONFIGURATION",
            field="tableReference.glue",
        )
    return table


def _columns(table: dict[str, Any]) -> list[dict[str, str]]:
    descriptor = table.get("StorageDescriptor") or {}
    found = (descriptor.get("Columns") or []) + (table.get("PartitionKeys") or [])
    return [{"name": str(column["Name"]), "type": str(column.get("Type") or "string")} for column in found]


def create_configured_table(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """CreateConfiguredTable on a Glue table of the caller's."""
    reference = parameters["tableReference"]
    if "glue" not in reference:
        raise invalid("Only AWS Glue tables are supported.", reason="INVALID_CONFIGURATION", field="tableReference")
    table = _glue(call, reference["glue"])
    names = [column["name"] for column in _columns(table)]
    wanted = parameters["allowedColumns"]
    unknown = [name for name in wanted if name not in names]
    if unknown or len(set(wanted)) != len(wanted):
        raise invalid(
            f"The allowed columns must be different columns of the table; unknown: {', '.join(unknown) or 'none'}.",
            reason="INVALID_CONFIGURATION",
            field="allowedColumns",
        )
    mine = call.world.table(CONFIGURED_TABLES).find(lambda row: row["account"] == call.account)
    quotas.enforce(call, "cleanrooms", "Configured tables per account", len(mine))
    identifier = str(uuid.uuid4())
    document = {
        "id": identifier,
        "arn": f"arn:aws:cleanrooms:{call.region}:{call.account}:configuredtable/{identifier}",
        "account": call.account,
        "region": call.region,
        "name": parameters["name"],
        "description": parameters.get("description"),
        "tableReference": reference,
        "tableType": "GLUE",
        "createTime": call.now(),
        "updateTime": call.now(),
        "rules": {},
        "analysisRuleTypes": [],
        "analysisMethod": parameters["analysisMethod"],
        "selectedAnalysisMethods": parameters.get("selectedAnalysisMethods"),
        "allowedColumns": wanted,
    }
    call.world.table(CONFIGURED_TABLES).put(identifier, document)
    put_tags(call, document["arn"], parameters.get("tags"))
    return {"configuredTable": document}


def get_configured_table(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """GetConfiguredTable."""
    return {"configuredTable": _configured(call, parameters["configuredTableIdentifier"])}


def list_configured_tables(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """ListConfiguredTables."""
    found = call.world.table(CONFIGURED_TABLES).find(
        lambda row: row["account"] == call.account and row["region"] == call.region
    )
    return page(found, parameters, "configuredTableSummaries")


def update_configured_table(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """UpdateConfiguredTable: name and description."""
    document = _configured(call, parameters["configuredTableIdentifier"])
    for name in ("name", "description"):
        if name in parameters:
            document[name] = parameters[name]
    document["updateTime"] = call.now()
    call.world.table(CONFIGURED_TABLES).put(document["id"], document)
    return {"configuredTable": document}


def _associations_of(call: Call, configured_id: str) -> list[Document]:
    return call.world.table(TABLE_ASSOCIATIONS).find(lambda row: row["configuredTableId"] == configured_id)


def delete_configured_table(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """DeleteConfiguredTable, refused while it is associated."""
    document = _configured(call, parameters["configuredTableIdentifier"])
    if _associations_of(call, document["id"]):
        raise AwsError(
            "ConflictException",
            f"Configured table {document['id']} is associated to a collaboration.",
            resourceId=document["id"],
            resourceType="CONFIGURED_TABLE",
            reason="SUBRESOURCES_EXIST",
        )
    call.world.table(CONFIGURED_TABLES).delete(document["id"])
    return {}


# Analysis rules of configured tables


def _rule(document: Document, rule: Document) -> dict[str, Any]:
    return {
        "analysisRule": {
            "configuredTableId": document["id"],
            "configuredTableArn": document["arn"],
            "policy": rule["policy"],
            "type": rule["type"],
            "createTime": rule["createTime"],
            "updateTime": rule["updateTime"],
        }
    }


def _check_rule_policy(kind: str, given: dict[str, Any]) -> None:
    if kind.lower() not in given["v1"]:
        raise invalid(
            f"The policy must be of the type {kind}.",
            reason="FIELD_VALIDATION_FAILED",
            field="analysisRulePolicy.v1",
        )
    custom = given["v1"].get("custom") or {}
    analyses = custom.get("allowedAnalyses") or []
    if "ANY_QUERY" in analyses and not custom.get("allowedAnalysisProviders"):
        raise invalid(
            "allowedAnalysisProviders is required when ANY_QUERY is allowed.",
            reason="FIELD_VALIDATION_FAILED",
            field="analysisRulePolicy.v1.custom.allowedAnalysisProviders",
        )


def create_rule(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """CreateConfiguredTableAnalysisRule: one rule a table."""
    document = _configured(call, parameters["configuredTableIdentifier"])
    if document["rules"]:
        raise AwsError(
            "ConflictException",
            f"Configured table {document['id']} already has an analysis rule.",
            resourceId=document["id"],
            resourceType="CONFIGURED_TABLE",
            reason="ALREADY_EXISTS",
        )
    kind = parameters["analysisRuleType"]
    _check_rule_policy(kind, parameters["analysisRulePolicy"])
    rule = {
        "type": kind,
        "policy": parameters["analysisRulePolicy"],
        "createTime": call.now(),
        "updateTime": call.now(),
    }
    document["rules"][kind] = rule
    document["analysisRuleTypes"] = [kind]
    call.world.table(CONFIGURED_TABLES).put(document["id"], document)
    return _rule(document, rule)


def _existing_rule(document: Document, kind: str, resource: str) -> Document:
    rule: Document | None = document["rules"].get(kind)
    if rule is None:
        raise _missing(resource, document["id"], f"An analysis rule {kind} of")
    return rule


def get_rule(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """GetConfiguredTableAnalysisRule."""
    document = _configured(call, parameters["configuredTableIdentifier"])
    return _rule(document, _existing_rule(document, parameters["analysisRuleType"], "CONFIGURED_TABLE"))


def update_rule(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """UpdateConfiguredTableAnalysisRule."""
    document = _configured(call, parameters["configuredTableIdentifier"])
    rule = _existing_rule(document, parameters["analysisRuleType"], "CONFIGURED_TABLE")
    _check_rule_policy(rule["type"], parameters["analysisRulePolicy"])
    rule.update(policy=parameters["analysisRulePolicy"], updateTime=call.now())
    call.world.table(CONFIGURED_TABLES).put(document["id"], document)
    return _rule(document, rule)


def delete_rule(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """DeleteConfiguredTableAnalysisRule."""
    document = _configured(call, parameters["configuredTableIdentifier"])
    _existing_rule(document, parameters["analysisRuleType"], "CONFIGURED_TABLE")
    del document["rules"][parameters["analysisRuleType"]]
    document["analysisRuleTypes"] = sorted(document["rules"])
    call.world.table(CONFIGURED_TABLES).put(document["id"], document)
    return {}


# Associations


def _association(call: Call, parameters: dict[str, Any]) -> Document:
    membership = owned(call, parameters["membershipIdentifier"])
    identifier = parameters["configuredTableAssociationIdentifier"]
    document = call.world.table(TABLE_ASSOCIATIONS).get(identifier)
    if document is None or document["membershipId"] != membership["id"]:
        raise _missing("CONFIGURED_TABLE_ASSOCIATION", identifier, "Configured table association")
    return document


def _check_reader(call: Call, membership: Document, configured: Document, role_arn: str) -> str:
    """The role must read the table; returns the table's location."""
    reference = configured["tableReference"]["glue"]
    table = _glue(call, reference)
    location = str((table.get("StorageDescriptor") or {}).get("Location") or "")
    bucket_name = location.removeprefix("s3://").split("/")[0]
    bucket = call.moto.bucket(bucket_name) if location.startswith("s3://") else None
    if bucket is None:
        raise invalid(
            f"The location {location or '(none)'} of the table is not an Amazon S3 bucket that exists.",
            reason="INVALID_CONFIGURATION",
            field="configuredTableIdentifier",
        )
    if bucket_name in results_buckets(call):
        raise invalid(
            f"The bucket {bucket_name} receives query results and can't hold data brought into the collaboration.",
            reason="INVALID_CONFIGURATION",
            field="configuredTableIdentifier",
        )
    needs: list[policy.Request] = [
        *roles.bucket_read_needs(call.moto, location),
        *roles.table_read_needs(call.account, call.region, reference["databaseName"], reference["tableName"]),
    ]
    collaboration = call.world.table(COLLABORATIONS)[membership["collaborationId"]]
    check_role(call, role_arn, needs, trust_contexts(call.account, collaboration, membership["arn"]), "roleArn")
    return location


def create_association(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """CreateConfiguredTableAssociation: the name is the table's name for queries, once a collaboration."""
    membership = owned(call, parameters["membershipIdentifier"])
    configured = _configured(call, parameters["configuredTableIdentifier"])
    name = parameters["name"]
    for other in call.world.table(TABLE_ASSOCIATIONS).find(
        lambda row: row["collaborationId"] == membership["collaborationId"]
    ):
        if other["name"] == name or (
            other["membershipId"] == membership["id"] and other["configuredTableId"] == configured["id"]
        ):
            raise AwsError(
                "ConflictException",
                f"The table {other['name']} is already associated to the collaboration.",
                resourceId=other["id"],
                resourceType="CONFIGURED_TABLE_ASSOCIATION",
                reason="ALREADY_EXISTS",
            )
    mine = call.world.table(TABLE_ASSOCIATIONS).find(lambda row: row["membershipId"] == membership["id"])
    quotas.enforce(call, "cleanrooms", "Table associations per membership", len(mine))
    location = _check_reader(call, membership, configured, parameters["roleArn"])
    identifier = str(uuid.uuid4())
    document = {
        "id": identifier,
        "arn": (
            f"arn:aws:cleanrooms:{call.region}:{call.account}:configuredtableassociation/{membership['id']}/"
            f"{identifier}"
        ),
        "account": call.account,
        "configuredTableId": configured["id"],
        "configuredTableArn": configured["arn"],
        "membershipId": membership["id"],
        "membershipArn": membership["arn"],
        "collaborationId": membership["collaborationId"],
        "collaborationArn": membership["collaborationArn"],
        "roleArn": parameters["roleArn"],
        "name": name,
        "description": parameters.get("description"),
        "location": location,
        "rules": {},
        "analysisRuleTypes": [],
        "createTime": call.now(),
        "updateTime": call.now(),
    }
    call.world.table(TABLE_ASSOCIATIONS).put(identifier, document)
    put_tags(call, str(document["arn"]), parameters.get("tags"))
    return {"configuredTableAssociation": document}


def get_association(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """GetConfiguredTableAssociation."""
    return {"configuredTableAssociation": _association(call, parameters)}


def list_associations(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """ListConfiguredTableAssociations."""
    membership = owned(call, parameters["membershipIdentifier"])
    found = call.world.table(TABLE_ASSOCIATIONS).find(lambda row: row["membershipId"] == membership["id"])
    return page(found, parameters, "configuredTableAssociationSummaries")


def update_association(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """UpdateConfiguredTableAssociation: description and role."""
    document = _association(call, parameters)
    if "roleArn" in parameters:
        membership = owned(call, document["membershipId"])
        configured = _configured(call, document["configuredTableId"])
        _check_reader(call, membership, configured, parameters["roleArn"])
        document["roleArn"] = parameters["roleArn"]
    if "description" in parameters:
        document["description"] = parameters["description"]
    document["updateTime"] = call.now()
    call.world.table(TABLE_ASSOCIATIONS).put(document["id"], document)
    return {"configuredTableAssociation": document}


def delete_association(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """DeleteConfiguredTableAssociation, refused while it has a rule (order of leaving: rules first)."""
    document = _association(call, parameters)
    if document["rules"]:
        raise AwsError(
            "ConflictException",
            f"Configured table association {document['id']} still has an analysis rule.",
            resourceId=document["id"],
            resourceType="CONFIGURED_TABLE_ASSOCIATION",
            reason="SUBRESOURCES_EXIST",
        )
    call.world.table(TABLE_ASSOCIATIONS).delete(document["id"])
    return {}


def _association_rule(document: Document, rule: Document) -> dict[str, Any]:
    return {
        "analysisRule": {
            "membershipIdentifier": document["membershipId"],
            "configuredTableAssociationId": document["id"],
            "configuredTableAssociationArn": document["arn"],
            "policy": rule["policy"],
            "type": rule["type"],
            "createTime": rule["createTime"],
            "updateTime": rule["updateTime"],
        }
    }


def _check_association_rule(call: Call, document: Document, kind: str, given: dict[str, Any]) -> None:
    if kind.lower() not in given["v1"]:
        raise invalid(
            f"The policy must be of the type {kind}.",
            reason="FIELD_VALIDATION_FAILED",
            field="analysisRulePolicy.v1",
        )
    members = call.world.table(COLLABORATIONS)[document["collaborationId"]]["members"]
    able = {member["accountId"] for member in members if "CAN_RECEIVE_RESULTS" in member["abilities"]}
    receivers = given["v1"][kind.lower()].get("allowedResultReceivers") or []
    strangers = [account for account in receivers if account not in able]
    if strangers:
        raise invalid(
            f"{strangers[0]} is not a member who can receive results.",
            reason="INVALID_CONFIGURATION",
            field=f"analysisRulePolicy.v1.{kind.lower()}.allowedResultReceivers",
        )


def create_association_rule(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """CreateConfiguredTableAssociationAnalysisRule (the collaboration analysis rule)."""
    document = _association(call, parameters)
    kind = parameters["analysisRuleType"]
    if document["rules"]:
        raise AwsError(
            "ConflictException",
            f"Configured table association {document['id']} already has an analysis rule.",
            resourceId=document["id"],
            resourceType="CONFIGURED_TABLE_ASSOCIATION",
            reason="ALREADY_EXISTS",
        )
    if kind not in _configured(call, document["configuredTableId"])["rules"]:
        raise invalid(
            f"The configured table has no analysis rule of the type {kind}.",
            reason="INVALID_CONFIGURATION",
            field="analysisRuleType",
        )
    _check_association_rule(call, document, kind, parameters["analysisRulePolicy"])
    rule = {
        "type": kind,
        "policy": parameters["analysisRulePolicy"],
        "createTime": call.now(),
        "updateTime": call.now(),
    }
    document["rules"][kind] = rule
    document["analysisRuleTypes"] = [kind]
    call.world.table(TABLE_ASSOCIATIONS).put(document["id"], document)
    return _association_rule(document, rule)


def get_association_rule(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """GetConfiguredTableAssociationAnalysisRule."""
    document = _association(call, parameters)
    rule = _existing_rule(document, parameters["analysisRuleType"], "CONFIGURED_TABLE_ASSOCIATION")
    return _association_rule(document, rule)


def update_association_rule(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """UpdateConfiguredTableAssociationAnalysisRule."""
    document = _association(call, parameters)
    rule = _existing_rule(document, parameters["analysisRuleType"], "CONFIGURED_TABLE_ASSOCIATION")
    _check_association_rule(call, document, rule["type"], parameters["analysisRulePolicy"])
    rule.update(policy=parameters["analysisRulePolicy"], updateTime=call.now())
    call.world.table(TABLE_ASSOCIATIONS).put(document["id"], document)
    return _association_rule(document, rule)


def delete_association_rule(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """DeleteConfiguredTableAssociationAnalysisRule."""
    document = _association(call, parameters)
    _existing_rule(document, parameters["analysisRuleType"], "CONFIGURED_TABLE_ASSOCIATION")
    del document["rules"][parameters["analysisRuleType"]]
    document["analysisRuleTypes"] = sorted(document["rules"])
    call.world.table(TABLE_ASSOCIATIONS).put(document["id"], document)
    return {}


# Schemas: what members see of each other's tables


def _reasons(configured: Document, association: Document) -> list[dict[str, str]]:
    found: list[tuple[str, str]] = []
    if not configured["rules"]:
        return [{"code": "ANALYSIS_RULE_MISSING", "message": "The configured table has no analysis rule."}]
    custom = next(iter(configured["rules"].values()))["policy"]["v1"].get("custom")
    if custom is not None:
        if not custom.get("allowedAnalyses"):
            found.append(("ANALYSIS_TEMPLATES_NOT_CONFIGURED", "The analysis rule allows no analyses."))
        elif "ANY_QUERY" in custom["allowedAnalyses"] and not custom.get("allowedAnalysisProviders"):
            found.append(("ANALYSIS_PROVIDERS_NOT_CONFIGURED", "The analysis rule allows no providers."))
    if not association["rules"]:
        found.append(("COLLABORATION_ANALYSIS_RULE_NOT_CONFIGURED", "There is no collaboration analysis rule."))
    else:
        rule = next(iter(association["rules"].values()))
        if not next(iter(rule["policy"]["v1"].values())).get("allowedResultReceivers"):
            found.append(("RESULT_RECEIVERS_NOT_CONFIGURED", "The collaboration analysis rule names no receivers."))
    return [{"code": code, "message": message} for code, message in found]


def _schema_of_association(call: Call, association: Document) -> Document:
    configured = call.world.table(CONFIGURED_TABLES)[association["configuredTableId"]]
    reference = configured["tableReference"]["glue"]
    table = call.moto.glue_table(
        association["account"], configured["region"], reference["databaseName"], reference["tableName"]
    )
    allowed = set(configured["allowedColumns"])
    columns = [column for column in _columns(table or {}) if column["name"] in allowed]
    partitions = {str(column["Name"]) for column in (table or {}).get("PartitionKeys") or []}
    reasons = _reasons(configured, association)
    status: dict[str, Any] = {"status": "NOT_READY" if reasons else "READY", "analysisType": "DIRECT_ANALYSIS"}
    if reasons:
        status["reasons"] = reasons
    if configured["analysisRuleTypes"]:
        status["analysisRuleType"] = configured["analysisRuleTypes"][0]
    return {
        "columns": [column for column in columns if column["name"] not in partitions],
        "partitionKeys": [column for column in columns if column["name"] in partitions],
        "analysisRuleTypes": configured["analysisRuleTypes"],
        "analysisMethod": configured["analysisMethod"],
        "selectedAnalysisMethods": configured.get("selectedAnalysisMethods"),
        "creatorAccountId": association["account"],
        "name": association["name"],
        "collaborationId": association["collaborationId"],
        "collaborationArn": association["collaborationArn"],
        "description": association.get("description") or "",
        "createTime": association["createTime"],
        "updateTime": max(association["updateTime"], configured["updateTime"]),
        "type": "TABLE",
        "schemaStatusDetails": [status],
        "resourceArn": f"{association['membershipArn']}/configuredtableassociation/{association['id']}",
        "schemaTypeProperties": {"configuredTableAssociation": {"configuredTableAssociationId": association["id"]}},
    }


def _schema_of_mapping_table(table: Document) -> Document:
    status: dict[str, Any] = {
        "status": "READY" if table["populated"] else "NOT_READY",
        "analysisRuleType": "ID_MAPPING_TABLE",
        "analysisType": "DIRECT_ANALYSIS",
    }
    if not table["populated"]:
        status["reasons"] = [
            {"code": "ID_MAPPING_TABLE_NOT_POPULATED", "message": "The ID mapping table has no data yet."}
        ]
    return {
        "columns": [{"name": "sourceid", "type": "string"}, {"name": "targetid", "type": "string"}],
        "partitionKeys": [],
        "analysisRuleTypes": ["ID_MAPPING_TABLE"],
        "creatorAccountId": table["account"],
        "name": table["name"],
        "collaborationId": table["collaborationId"],
        "collaborationArn": table["collaborationArn"],
        "description": table.get("description") or "",
        "createTime": table["createTime"],
        "updateTime": table["updateTime"],
        "type": "ID_MAPPING_TABLE",
        "schemaStatusDetails": [status],
        "resourceArn": table["arn"],
        "schemaTypeProperties": {
            "idMappingTable": {
                "idMappingTableInputSource": table["inputReferenceProperties"]["idMappingTableInputSource"],
                "idMappingTableId": table["id"],
            }
        },
    }


def _schemas(call: Call, collaboration_id: str) -> list[Document]:
    found = [
        _schema_of_association(call, row)
        for row in call.world.table(TABLE_ASSOCIATIONS).find(lambda row: row["collaborationId"] == collaboration_id)
    ]
    found += [
        _schema_of_mapping_table(row)
        for row in call.world.table(MAPPING_TABLES).find(lambda row: row["collaborationId"] == collaboration_id)
    ]
    return found


def _schema(call: Call, collaboration_id: str, name: str) -> Document | None:
    return next((schema for schema in _schemas(call, collaboration_id) if schema["name"] == name), None)


def list_schemas(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """ListSchemas."""
    collaboration = visible(call, parameters["collaborationIdentifier"], active=True)
    wanted = parameters.get("schemaType")
    found = [schema for schema in _schemas(call, collaboration["id"]) if wanted in (None, schema["type"])]
    return page(found, parameters, "schemaSummaries")


def get_schema(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """GetSchema."""
    collaboration = visible(call, parameters["collaborationIdentifier"], active=True)
    schema = _schema(call, collaboration["id"], parameters["name"])
    if schema is None:
        raise _missing("CONFIGURED_TABLE_ASSOCIATION", parameters["name"], "Schema")
    return {"schema": schema}


def batch_get_schema(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """BatchGetSchema."""
    collaboration = visible(call, parameters["collaborationIdentifier"], active=True)
    found = {schema["name"]: schema for schema in _schemas(call, collaboration["id"])}
    names = list(dict.fromkeys(parameters["names"]))
    return {
        "schemas": [found[name] for name in names if name in found],
        "errors": [
            {"name": name, "code": "ResourceNotFoundException", "message": f"Schema {name} does not exist."}
            for name in names
            if name not in found
        ],
    }


def _schema_rule(call: Call, collaboration_id: str, name: str, kind: str) -> Document | None:
    for association in call.world.table(TABLE_ASSOCIATIONS).find(
        lambda row: row["collaborationId"] == collaboration_id and row["name"] == name
    ):
        configured = call.world.table(CONFIGURED_TABLES)[association["configuredTableId"]]
        rule = configured["rules"].get(kind)
        if rule is None:
            return None
        own = association["rules"].get(kind)
        consolidated = dict(rule["policy"]["v1"][kind.lower()])
        if own is not None:
            consolidated.update(own["policy"]["v1"][kind.lower()])
        return {
            "collaborationId": collaboration_id,
            "type": kind,
            "name": name,
            "createTime": rule["createTime"],
            "updateTime": rule["updateTime"],
            "policy": rule["policy"],
            "collaborationPolicy": own["policy"] if own else None,
            "consolidatedPolicy": {"v1": {kind.lower(): consolidated}},
        }
    return None


def get_schema_rule(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """GetSchemaAnalysisRule."""
    collaboration = visible(call, parameters["collaborationIdentifier"], active=True)
    rule = _schema_rule(call, collaboration["id"], parameters["name"], parameters["type"])
    if rule is None:
        raise _missing("CONFIGURED_TABLE_ASSOCIATION", parameters["name"], f"An analysis rule {parameters['type']} of")
    return {"analysisRule": rule}


def batch_get_schema_rule(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """BatchGetSchemaAnalysisRule."""
    collaboration = visible(call, parameters["collaborationIdentifier"], active=True)
    rules, errors = [], []
    for request in parameters["schemaAnalysisRuleRequests"]:
        rule = _schema_rule(call, collaboration["id"], request["name"], request["type"])
        if rule is not None:
            rules.append(rule)
        else:
            message = f"{request['name']} has no analysis rule of the type {request['type']}."
            errors.append({**request, "code": "ResourceNotFoundException", "message": message})
    return {"analysisRules": rules, "errors": errors}


OPERATIONS = {
    "CreateConfiguredTable": create_configured_table,
    "GetConfiguredTable": get_configured_table,
    "ListConfiguredTables": list_configured_tables,
    "UpdateConfiguredTable": update_configured_table,
    "DeleteConfiguredTable": delete_configured_table,
    "CreateConfiguredTableAnalysisRule": create_rule,
    "GetConfiguredTableAnalysisRule": get_rule,
    "UpdateConfiguredTableAnalysisRule": update_rule,
    "DeleteConfiguredTableAnalysisRule": delete_rule,
    "CreateConfiguredTableAssociation": create_association,
    "GetConfiguredTableAssociation": get_association,
    "ListConfiguredTableAssociations": list_associations,
    "UpdateConfiguredTableAssociation": update_association,
    "DeleteConfiguredTableAssociation": delete_association,
    "CreateConfiguredTableAssociationAnalysisRule": create_association_rule,
    "GetConfiguredTableAssociationAnalysisRule": get_association_rule,
    "UpdateConfiguredTableAssociationAnalysisRule": update_association_rule,
    "DeleteConfiguredTableAssociationAnalysisRule": delete_association_rule,
    "ListSchemas": list_schemas,
    "GetSchema": get_schema,
    "BatchGetSchema": batch_get_schema,
    "GetSchemaAnalysisRule": get_schema_rule,
    "BatchGetSchemaAnalysisRule": batch_get_schema_rule,
}
