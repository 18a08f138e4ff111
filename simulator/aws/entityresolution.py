"""AWS Entity Resolution: schema mappings, ID namespaces, resource policies and tags (guide 7, steps 3 and 4)."""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

from simulator.aws import policy, quotas, roles
from simulator.aws.collaborations import NAMESPACE_ASSOCIATIONS, TAGS
from simulator.aws.errors import AccessRefused, AwsError
from simulator.aws.identity import Call
from simulator.aws.moto_state import MotoState
from simulator.aws.service import page
from simulator.store import Document, World

SERVICE = "entityresolution.amazonaws.com"
SCHEMAS = "entityresolution.schemas"
NAMESPACES = "entityresolution.idnamespaces"
POLICIES = "entityresolution.policies"

# Guide 7: 24 identity columns and one unique id. (The service model itself takes more.)
MOST_COLUMNS = 25
MOST_TABLES = 20
RESERVED = {
    "EmailAddress",
    "InputSourceARN",
    "MatchRule",
    "MatchID",
    "HashingProtocol",
    "ConfidenceLevel",
    "Source",
}
GLUE_TABLE = re.compile(r"arn:aws:glue:([a-z0-9-]+):(\d{12}):table/([^/]+)/([^/]+)")
_RESOURCE = re.compile(r"arn:aws:entityresolution:([a-z0-9-]+):(\d{12}):(schemamapping|idnamespace)/([\w-]+)", re.ASCII)


def _invalid(message: str) -> AwsError:
    return AwsError("ValidationException", message)


def _not_found(what: str) -> AwsError:
    return AwsError("ResourceNotFoundException", f"{what} does not exist.")


def _key(account: str, region: str, name: str) -> str:
    return f"{account}/{region}/{name}"


# Schema mappings


def schema_mapping(world: World, account: str, name: str, region: str = "us-east-1") -> Document | None:
    """The schema mapping (schemaName, schemaArn, mappedInputFields…) or None."""
    return world.table(SCHEMAS).get(_key(account, region, name))


def _check_fields(fields: list[dict[str, Any]]) -> None:
    if len(fields) > MOST_COLUMNS:
        raise AwsError(
            "ExceedsLimitException",
            f"A schema mapping can have at most {MOST_COLUMNS} columns: a unique id and {MOST_COLUMNS - 1} others. "
            f"This one has {len(fields)}.",
            quotaName="Input fields per schema mapping",
            quotaValue=MOST_COLUMNS,
        )
    names = [field["fieldName"] for field in fields]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise _invalid(f"The field name {repeated[0]} is mapped more than once.")
    if any(not name.strip() for name in names):
        raise _invalid("A field name must not be empty.")
    taken = sorted(set(names) & RESERVED)
    if taken:
        raise _invalid(f"The field name {taken[0]} is reserved.")
    unique = [field for field in fields if field["type"] == "UNIQUE_ID"]
    if len(unique) != 1:
        raise _invalid(f"A schema mapping must have exactly one field of type UNIQUE_ID, not {len(unique)}.")


def create_schema_mapping(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """CreateSchemaMapping."""
    name = parameters["schemaName"]
    _check_fields(parameters["mappedInputFields"])
    key = _key(call.account, call.region, name)
    schemas = call.world.table(SCHEMAS)
    if key in schemas:
        raise AwsError("ConflictException", f"A schema mapping named {name} already exists.")
    mine = schemas.find(lambda row: row["account"] == call.account and row["region"] == call.region)
    quotas.enforce(call, "entityresolution", "Schema mappings per account", len(mine))
    document = {
        "account": call.account,
        "region": call.region,
        "schemaName": name,
        "schemaArn": f"arn:aws:entityresolution:{call.region}:{call.account}:schemamapping/{name}",
        "description": parameters.get("description", ""),
        "mappedInputFields": parameters["mappedInputFields"],
        "createdAt": call.now(),
        "updatedAt": call.now(),
    }
    schemas.put(key, document)
    _put_tags(call, document["schemaArn"], parameters.get("tags"))
    return document


def _users_of_schema(call: Call, name: str) -> list[Document]:
    return call.world.table(NAMESPACES).find(
        lambda row: (
            row["account"] == call.account
            and row["region"] == call.region
            and any(source.get("schemaName") == name for source in row.get("inputSourceConfig") or [])
        )
    )


def _own_schema(call: Call, name: str) -> Document:
    document = schema_mapping(call.world, call.account, name, call.region)
    if document is None:
        raise _not_found(f"Schema mapping {name}")
    return document


def get_schema_mapping(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """GetSchemaMapping."""
    document = _own_schema(call, parameters["schemaName"])
    return {
        **document,
        "hasWorkflows": False,
        "tags": call.world.table(TAGS).get(document["schemaArn"]) or {},
    }


def list_schema_mappings(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """ListSchemaMappings."""
    found = call.world.table(SCHEMAS).find(lambda row: row["account"] == call.account and row["region"] == call.region)
    return page([{**row, "hasWorkflows": False} for row in found], parameters, "schemaList", default=25)


def update_schema_mapping(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """UpdateSchemaMapping, refused while an ID namespace uses it."""
    document = _own_schema(call, parameters["schemaName"])
    _check_fields(parameters["mappedInputFields"])
    if _users_of_schema(call, document["schemaName"]):
        raise AwsError("ConflictException", f"Schema mapping {document['schemaName']} is in use by an ID namespace.")
    document["mappedInputFields"] = parameters["mappedInputFields"]
    if "description" in parameters:
        document["description"] = parameters["description"]
    document["updatedAt"] = call.now()
    call.world.table(SCHEMAS).put(_key(call.account, call.region, document["schemaName"]), document)
    return document


def delete_schema_mapping(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """DeleteSchemaMapping: succeeds for one that isn't there, refused while an ID namespace uses it."""
    name = parameters["schemaName"]
    document = schema_mapping(call.world, call.account, name, call.region)
    if document is not None:
        if _users_of_schema(call, name):
            raise AwsError("ConflictException", f"Schema mapping {name} is in use by an ID namespace.")
        call.world.table(SCHEMAS).delete(_key(call.account, call.region, name))
        _forget(call, document["schemaArn"])
    return {"message": f"Schema mapping {name} is deleted."}


# ID namespaces


def namespace(world: World, arn: str) -> Document | None:
    """The ID namespace (idNamespaceName, type, inputSourceConfig, roleArn…) or None."""
    found = _RESOURCE.fullmatch(arn)
    if found is None or found[3] != "idnamespace":
        return None
    return world.table(NAMESPACES).get(_key(found[2], found[1], found[4]))


def namespace_buckets(world: World, moto: MotoState, arn: str) -> set[str]:
    """The buckets that hold what the namespace's Glue tables describe."""
    document = namespace(world, arn)
    found = set()
    for source in (document or {}).get("inputSourceConfig") or []:
        matched = GLUE_TABLE.fullmatch(source["inputSourceARN"])
        table = moto.glue_table(matched[2], matched[1], matched[3], matched[4]) if matched else None
        location = ((table or {}).get("StorageDescriptor") or {}).get("Location") or ""
        if location.startswith("s3://"):
            found.add(location.removeprefix("s3://").split("/")[0])
    return found


def _check_sources(call: Call, sources: list[dict[str, Any]]) -> list[policy.Request]:
    """Tables and schema mappings must exist and fit; returns what the role must be allowed."""
    needs: list[policy.Request] = []
    if len(sources) > MOST_TABLES:
        raise AwsError(
            "ExceedsLimitException",
            f"An ID namespace can have at most {MOST_TABLES} input sources.",
            quotaName="Input sources per ID namespace",
            quotaValue=MOST_TABLES,
        )
    arns = [source["inputSourceARN"] for source in sources]
    if len(set(arns)) != len(arns):
        raise _invalid("An input source is named more than once.")
    for source in sources:
        matched = GLUE_TABLE.fullmatch(source["inputSourceARN"])
        if matched is None:
            raise _invalid(f"The input source {source['inputSourceARN']} is not an AWS Glue table.")
        region, account, database, name = matched.groups()
        if region != call.region:
            raise _invalid(
                f"The AWS Glue table {source['inputSourceARN']} must be in the same region as the ID namespace, "
                f"{call.region}."
            )
        if account != call.account:
            raise _invalid(f"The AWS Glue table {source['inputSourceARN']} must be in the account {call.account}.")
        table = call.moto.glue_table(account, region, database, name)
        if table is None:
            raise _invalid(f"The AWS Glue table {database}.{name} does not exist.")
        schema_name = source.get("schemaName")
        if schema_name is None:
            raise _invalid(f"A schema mapping is required for the input source {source['inputSourceARN']}.")
        schema = schema_mapping(call.world, call.account, schema_name, call.region)
        if schema is None:
            raise _invalid(f"The schema mapping {schema_name} does not exist.")
        descriptor = table.get("StorageDescriptor") or {}
        columns = [column["Name"] for column in descriptor.get("Columns") or []]
        columns += [column["Name"] for column in table.get("PartitionKeys") or []]
        missing = [field["fieldName"] for field in schema["mappedInputFields"] if field["fieldName"] not in columns]
        if missing:
            raise _invalid(
                f"The schema mapping {schema_name} names columns that the AWS Glue table {database}.{name} does not "
                f"have: {', '.join(missing)}."
            )
        location = descriptor.get("Location") or ""
        bucket_name = location.removeprefix("s3://").split("/")[0]
        bucket = call.moto.bucket(bucket_name) if location.startswith("s3://") else None
        if bucket is None:
            raise _invalid(
                f"The location {location or '(none)'} of the AWS Glue table {database}.{name} is not an "
                "Amazon S3 bucket that exists."
            )
        if bucket.region_name != call.region:
            raise _invalid(f"The bucket {bucket_name} is in {bucket.region_name}; it must be in {call.region}.")
        needs += roles.bucket_read_needs(call.moto, location)
        needs += roles.table_read_needs(account, region, database, name)
    return needs


def _check_workflow(kind: str, properties: list[dict[str, Any]] | None) -> None:
    for entry in properties or []:
        if entry["idMappingType"] == "PROVIDER":
            if entry.get("providerProperties") is None:
                raise _invalid("providerProperties is required for the ID mapping type PROVIDER.")
            continue
        rules = entry.get("ruleBasedProperties")
        if rules is None:
            raise _invalid("ruleBasedProperties is required for the ID mapping type RULE_BASED.")
        holders = rules.get("ruleDefinitionTypes") or []
        if not holders:
            raise _invalid("ruleDefinitionTypes is required for rule-based ID mapping.")
        if kind in holders and kind == "TARGET" and not rules.get("attributeMatchingModel"):
            raise _invalid("attributeMatchingModel is required where the target defines the rules.")
        if kind not in holders and rules.get("rules"):
            raise _invalid(f"rules must not be given by the {kind} when ruleDefinitionTypes is {', '.join(holders)}.")
        if kind in holders and len(holders) == 1 and not rules.get("rules"):
            raise _invalid(f"rules are required of the {kind} when ruleDefinitionTypes is {kind}.")


def _check_namespace(call: Call, document: Document) -> None:
    sources = document.get("inputSourceConfig") or []
    role_arn = document.get("roleArn")
    if document["type"] == "SOURCE":
        if not sources:
            raise _invalid("inputSourceConfig is required for an ID namespace of type SOURCE.")
        if not document.get("idMappingWorkflowProperties"):
            raise _invalid("idMappingWorkflowProperties is required for an ID namespace of type SOURCE.")
    if sources and role_arn is None:
        raise _invalid("roleArn is required with inputSourceConfig.")
    _check_workflow(document["type"], document.get("idMappingWorkflowProperties"))
    if role_arn is not None:
        if role_arn.split(":")[4] != call.account:
            raise AwsError("AccessDeniedException", "Cross-account pass role is not allowed.")
        call.require("iam:PassRole", role_arn, {"iam:PassedToService": SERVICE})
    needs = _check_sources(call, sources)
    if role_arn is not None:
        _check_role(call, role_arn, needs, document["idNamespaceArn"])


def _check_role(call: Call, role_arn: str, needs: list[policy.Request], arn: str) -> None:
    try:
        roles.check(
            call.world,
            call.clock,
            call.moto,
            role_arn,
            SERVICE,
            needs,
            delay=call.settings.role_delay_seconds,
            trust_contexts=[{"aws:SourceArn": arn}],
        )
    except roles.NotYet:
        raise _invalid(f"The role {role_arn} cannot be assumed by {SERVICE} yet. Try again later.") from None
    except AccessRefused as refused:
        raise _invalid(refused.message) from None


def create_id_namespace(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """CreateIdNamespace."""
    name = parameters["idNamespaceName"]
    key = _key(call.account, call.region, name)
    namespaces = call.world.table(NAMESPACES)
    if key in namespaces:
        raise AwsError("ConflictException", f"An ID namespace named {name} already exists.")
    mine = namespaces.find(lambda row: row["account"] == call.account and row["region"] == call.region)
    quotas.enforce(call, "entityresolution", "ID namespaces per account", len(mine))
    document: Document = {
        "account": call.account,
        "region": call.region,
        "idNamespaceName": name,
        "idNamespaceArn": f"arn:aws:entityresolution:{call.region}:{call.account}:idnamespace/{name}",
        "createdAt": call.now(),
        "updatedAt": call.now(),
        **{
            member: parameters[member]
            for member in ("description", "inputSourceConfig", "idMappingWorkflowProperties", "type", "roleArn")
            if member in parameters
        },
    }
    _check_namespace(call, document)
    namespaces.put(key, document)
    _put_tags(call, document["idNamespaceArn"], parameters.get("tags"))
    return {**document, "tags": parameters.get("tags")}


def _own_namespace(call: Call, name: str) -> Document:
    arn = (
        name
        if name.startswith("arn:")
        else (f"arn:aws:entityresolution:{call.region}:{call.account}:idnamespace/{name}")
    )
    document = namespace(call.world, arn)
    if document is not None and document["account"] != call.account:
        statements = _policy(call.world, arn)["statements"]
        request = policy.Request("entityresolution:GetIdNamespace", arn)
        document_of_policy = {"Statement": [{"Resource": arn, **statement} for statement in statements]}
        if policy.resource_policy_decision(document_of_policy, call.caller.principals, request) != "Allow":
            raise AwsError("AccessDeniedException", call.caller.refusal("entityresolution:GetIdNamespace", arn, "None"))
    if document is None:
        raise _not_found(f"ID namespace {name}")
    return document


def get_id_namespace(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """GetIdNamespace, by name or ARN."""
    document = _own_namespace(call, parameters["idNamespaceName"])
    return {**document, "tags": call.world.table(TAGS).get(document["idNamespaceArn"]) or {}}


def list_id_namespaces(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """ListIdNamespaces."""
    found = call.world.table(NAMESPACES).find(
        lambda row: row["account"] == call.account and row["region"] == call.region
    )
    return page(found, parameters, "idNamespaceSummaries", default=25)


def _associations_of(call: Call, arn: str) -> list[Document]:
    return call.world.table(NAMESPACE_ASSOCIATIONS).find(
        lambda row: row["inputReferenceConfig"]["inputReferenceArn"] == arn
    )


def update_id_namespace(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """UpdateIdNamespace, checked like a new one."""
    document = _own_namespace(call, parameters["idNamespaceName"])
    for member in ("description", "inputSourceConfig", "idMappingWorkflowProperties", "roleArn"):
        if member in parameters:
            document[member] = parameters[member]
    _check_namespace(call, document)
    document["updatedAt"] = call.now()
    call.world.table(NAMESPACES).put(_key(call.account, call.region, document["idNamespaceName"]), document)
    return document


def delete_id_namespace(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """DeleteIdNamespace: succeeds for one that isn't there, refused while it is associated to a collaboration."""
    name = parameters["idNamespaceName"]
    arn = f"arn:aws:entityresolution:{call.region}:{call.account}:idnamespace/{name}"
    if namespace(call.world, arn) is not None:
        if _associations_of(call, arn):
            raise AwsError("ConflictException", f"ID namespace {name} is associated to a collaboration.")
        call.world.table(NAMESPACES).delete(_key(call.account, call.region, name))
        _forget(call, arn)
    return {"message": f"ID namespace {name} is deleted."}


# Resource policies


def _policy(world: World, arn: str) -> Document:
    return world.table(POLICIES).get(arn) or {"token": None, "statements": []}


def _shown_policy(arn: str, document: Document) -> dict[str, Any]:
    answer = {"arn": arn, "token": document["token"] or str(uuid.UUID(int=0))}
    if document["statements"]:
        answer["policy"] = json.dumps({"Version": "2012-10-17", "Statement": document["statements"]})
    return answer


def _own_resource(call: Call, arn: str) -> str:
    found = _RESOURCE.fullmatch(arn)
    if found is None:
        raise _not_found(arn)
    if found[2] != call.account:
        raise AwsError("AccessDeniedException", f"{call.caller.arn} is not authorized to access {arn}.")
    table = SCHEMAS if found[3] == "schemamapping" else NAMESPACES
    if found[1] != call.region or _key(found[2], found[1], found[4]) not in call.world.table(table):
        raise _not_found(arn)
    return arn


def _store_policy(call: Call, arn: str, statements: list[dict[str, Any]]) -> dict[str, Any]:
    document = {"token": str(uuid.uuid4()), "statements": statements}
    call.world.table(POLICIES).put(arn, document)
    return _shown_policy(arn, document)


def get_policy(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """GetPolicy."""
    arn = _own_resource(call, parameters["arn"])
    document = call.world.table(POLICIES).get(arn)
    if document is None:
        raise _not_found(f"A resource policy of {arn}")
    return _shown_policy(arn, document)


def add_policy_statement(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """AddPolicyStatement."""
    arn = _own_resource(call, parameters["arn"])
    statements = _policy(call.world, arn)["statements"]
    if any(statement["Sid"] == parameters["statementId"] for statement in statements):
        raise AwsError("ConflictException", f"The statement {parameters['statementId']} already exists.")
    statement: dict[str, Any] = {
        "Sid": parameters["statementId"],
        "Effect": parameters["effect"],
        "Principal": {
            "Service": [name for name in parameters["principal"] if name.endswith(".amazonaws.com")],
            "AWS": [name for name in parameters["principal"] if not name.endswith(".amazonaws.com")],
        },
        "Action": parameters["action"],
        "Resource": arn,
    }
    if "condition" in parameters:
        condition = policy.load(parameters["condition"])
        if not condition:
            raise _invalid("The condition is not a JSON object.")
        statement["Condition"] = condition
    return _store_policy(call, arn, [*statements, statement])


def put_policy(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """PutPolicy: replaces the whole policy; a token that isn't the current one is a ConflictException."""
    arn = _own_resource(call, parameters["arn"])
    current = _policy(call.world, arn)
    if "token" in parameters and parameters["token"] != current["token"]:
        raise AwsError("ConflictException", "The policy has been changed since the token was given out.")
    statements = policy.as_list(policy.load(parameters["policy"]).get("Statement"))
    if not statements or not all(
        isinstance(entry, dict) and entry.get("Effect") in ("Allow", "Deny") for entry in statements
    ):
        raise _invalid("The policy is not a policy document.")
    named = [{"Sid": f"Statement{position}", **entry} for position, entry in enumerate(statements, start=1)]
    return _store_policy(call, arn, named)


def delete_policy_statement(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """DeletePolicyStatement."""
    arn = _own_resource(call, parameters["arn"])
    statements = _policy(call.world, arn)["statements"]
    left = [statement for statement in statements if statement["Sid"] != parameters["statementId"]]
    if len(left) == len(statements):
        raise _not_found(f"The statement {parameters['statementId']}")
    return _store_policy(call, arn, left)


def _statement_id(association: Document) -> str:
    return "CleanRooms" + str(association["id"]).replace("-", "")


def allow_collaboration(call: Call, arn: str, association: Document) -> None:
    """What `manageResourcePolicies` asks for: let Clean Rooms use the namespace for this collaboration."""
    statement = {
        "Sid": _statement_id(association),
        "Effect": "Allow",
        "Principal": {"Service": ["cleanrooms.amazonaws.com"], "AWS": []},
        "Action": ["entityresolution:GetIdNamespace", "entityresolution:StartIdMappingJob"],
        "Resource": arn,
        "Condition": {"StringEquals": {"aws:SourceArn": association["collaborationArn"]}},
    }
    _store_policy(call, arn, [*_policy(call.world, arn)["statements"], statement])


def forbid_collaboration(call: Call, arn: str, association: Document) -> None:
    """Take back what `allow_collaboration` gave."""
    statements = _policy(call.world, arn)["statements"]
    _store_policy(call, arn, [entry for entry in statements if entry["Sid"] != _statement_id(association)])


# Tags


def _put_tags(call: Call, arn: str, tags: dict[str, str] | None) -> None:
    if tags:
        call.world.table(TAGS).put(arn, tags)


def _forget(call: Call, arn: str) -> None:
    call.world.table(TAGS).delete(arn)
    call.world.table(POLICIES).delete(arn)


def list_tags(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """ListTagsForResource."""
    return {"tags": call.world.table(TAGS).get(_own_resource(call, parameters["resourceArn"])) or {}}


def tag_resource(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """TagResource."""
    arn = _own_resource(call, parameters["resourceArn"])
    tags = {**(call.world.table(TAGS).get(arn) or {}), **parameters["tags"]}
    if len(tags) > 200:
        raise _invalid("A resource can have at most 200 tags.")
    call.world.table(TAGS).put(arn, tags)
    return {}


def untag_resource(call: Call, parameters: dict[str, Any]) -> dict[str, Any]:
    """UntagResource."""
    arn = _own_resource(call, parameters["resourceArn"])
    tags = call.world.table(TAGS).get(arn) or {}
    call.world.table(TAGS).put(arn, {key: tags[key] for key in tags if key not in parameters["tagKeys"]})
    return {}


OPERATIONS = {
    "CreateSchemaMapping": create_schema_mapping,
    "GetSchemaMapping": get_schema_mapping,
    "ListSchemaMappings": list_schema_mappings,
    "UpdateSchemaMapping": update_schema_mapping,
    "DeleteSchemaMapping": delete_schema_mapping,
    "CreateIdNamespace": create_id_namespace,
    "GetIdNamespace": get_id_namespace,
    "ListIdNamespaces": list_id_namespaces,
    "UpdateIdNamespace": update_id_namespace,
    "DeleteIdNamespace": delete_id_namespace,
    "GetPolicy": get_policy,
    "AddPolicyStatement": add_policy_statement,
    "PutPolicy": put_policy,
    "DeletePolicyStatement": delete_policy_statement,
    "ListTagsForResource": list_tags,
    "TagResource": tag_resource,
    "UntagResource": untag_resource,
}
