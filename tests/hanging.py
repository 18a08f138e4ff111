"""What hangs on a membership, made as the administrator of its AWS account makes it by hand."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.aws_roles import aws_admin

CUSTOM = {
    "allowedAnalyses": ["ANY_QUERY"],
    "allowedAnalysisProviders": ["657425294073", "813176346477"],
    "additionalAnalyses": "ALLOWED",
}


class Hanging:
    """A membership of `account` with everything on it that stands in the way of its end.

    `map_table` is called with the ARN of an associated ID namespace, and makes an ID mapping table of it.
    """

    def __init__(self, url: str, account: str, membership_id: str, map_table: Callable[[str], None]) -> None:
        self.url, self.account = url, account
        self.membership = {"membershipIdentifier": membership_id}
        self.rooms = self.client("cleanrooms")
        self.bucket = f"data-of-{account}"
        self.client("s3").create_bucket(Bucket=self.bucket)
        self.client("glue").create_database(DatabaseInput={"Name": "amc"})
        for service in ("entityresolution", "cleanrooms"):
            self.role(service)
        self.table("people", ["userid", "email"])
        resolution = self.client("entityresolution")
        resolution.create_schema_mapping(
            schemaName="people",
            mappedInputFields=[
                {"fieldName": "userid", "type": "UNIQUE_ID"},
                {"fieldName": "email", "type": "EMAIL_ADDRESS", "matchKey": "Email", "hashed": False},
            ],
        )
        self.namespace = self.associate("people")
        map_table(self.namespace)
        self.table("events", ["customer_user_id"])
        self.events()

    def client(self, service: str):
        return aws_admin(self.url, self.account, service)

    def role(self, service: str) -> None:
        trust = {"Effect": "Allow", "Principal": {"Service": f"{service}.amazonaws.com"}, "Action": "sts:AssumeRole"}
        everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
        iam, name = self.client("iam"), f"amc-cleanrooms-{service}"
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        iam.create_role(RoleName=name, Path="/service-role/", AssumeRolePolicyDocument=document)
        document = json.dumps({"Version": "2012-10-17", "Statement": [everything]})
        iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=document)

    def table(self, name: str, columns: list[str]) -> None:
        rows = [",".join(columns), ",".join(columns)]
        self.client("s3").put_object(Bucket=self.bucket, Key=f"{name}/part.csv", Body="\n".join(rows).encode())
        self.client("glue").create_table(
            DatabaseName="amc",
            TableInput={
                "Name": name,
                "StorageDescriptor": {
                    "Columns": [{"Name": column, "Type": "string"} for column in columns],
                    "Location": f"s3://{self.bucket}/{name}/",
                    "InputFormat": "org.apache.hadoop.mapred.TextInputFormat",
                    "OutputFormat": "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat",
                    "SerdeInfo": {"SerializationLibrary": "org.apache.hadoop.hive.serde2.OpenCSVSerde"},
                },
                "Parameters": {"classification": "csv", "skip.header.line.count": "1"},
                "TableType": "EXTERNAL_TABLE",
            },
        )

    def associate(self, name: str) -> str:
        """An ID namespace of that name, associated with the collaboration; its ARN."""
        arn = self.client("entityresolution").create_id_namespace(
            idNamespaceName=name,
            type="SOURCE",
            inputSourceConfig=[
                {"inputSourceARN": f"arn:aws:glue:us-east-1:{self.account}:table/amc/people", "schemaName": "people"}
            ],
            idMappingWorkflowProperties=[
                {"idMappingType": "RULE_BASED", "ruleBasedProperties": {"ruleDefinitionTypes": ["TARGET"]}}
            ],
            roleArn=f"arn:aws:iam::{self.account}:role/service-role/amc-cleanrooms-entityresolution",
        )["idNamespaceArn"]
        self.rooms.create_id_namespace_association(
            name=name,
            inputReferenceConfig={"inputReferenceArn": arn, "manageResourcePolicies": True},
            **self.membership,
        )
        return arn

    def events(self) -> None:
        """A table of events, associated, with its rules."""
        table = self.rooms.create_configured_table(
            name="events",
            tableReference={"glue": {"tableName": "events", "databaseName": "amc"}},
            allowedColumns=["customer_user_id"],
            analysisMethod="DIRECT_QUERY",
        )["configuredTable"]["id"]
        kind = {"analysisRuleType": "CUSTOM"}
        self.rooms.create_configured_table_analysis_rule(
            configuredTableIdentifier=table, analysisRulePolicy={"v1": {"custom": CUSTOM}}, **kind
        )
        made = self.rooms.create_configured_table_association(
            name="events",
            configuredTableIdentifier=table,
            roleArn=f"arn:aws:iam::{self.account}:role/service-role/amc-cleanrooms-cleanrooms",
            **self.membership,
        )["configuredTableAssociation"]
        self.rooms.create_configured_table_association_analysis_rule(
            configuredTableAssociationIdentifier=made["id"],
            analysisRulePolicy={"v1": {"custom": {"allowedResultReceivers": [self.account]}}},
            **kind,
            **self.membership,
        )
