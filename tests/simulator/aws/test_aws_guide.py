"""The guide's path through AWS: join, bring identity data in, leave."""

CUSTOMER = "123456789012"


def test_joining_and_leaving(aws, refused):
    collaboration = aws.collaboration()
    rooms = aws.client("cleanrooms")
    invited = rooms.list_collaborations(memberStatus="INVITED")["collaborationList"]
    assert [(c["id"], c["memberStatus"]) for c in invited] == [(collaboration, "INVITED")]
    membership = aws.join(collaboration)
    assert membership["status"] == "ACTIVE"
    assert rooms.list_collaborations(memberStatus="INVITED")["collaborationList"] == []
    again = refused(rooms.create_membership, **aws.membership_request(collaboration))
    assert again["Error"]["Code"] == "ConflictException"
    assert again["reason"] == "ALREADY_EXISTS"
    assert again["resourceId"] == membership["id"]
    rooms.delete_membership(membershipIdentifier=membership["id"])
    assert rooms.get_membership(membershipIdentifier=membership["id"])["membership"]["status"] == "REMOVED"
    for_good = refused(rooms.create_membership, **aws.membership_request(collaboration))
    assert (for_good["Error"]["Code"], for_good["reason"]) == ("ConflictException", "INVALID_STATE")
    assert rooms.list_collaborations()["collaborationList"] == []


def test_members_are_seen_by_those_inside(aws, refused):
    collaboration = aws.collaboration()
    members = aws.client("cleanrooms").list_members(collaborationIdentifier=collaboration)["memberSummaries"]
    assert {m["displayName"]: m["status"] for m in members} == {
        "AMC service": "ACTIVE",
        "Amazon Advertising Data Provider": "ACTIVE",
        "Query Submitter": "ACTIVE",
        "Advertiser": "INVITED",
    }
    stranger = aws.client("cleanrooms", "210987654321")
    assert (
        refused(stranger.get_collaboration, collaborationIdentifier=collaboration)["Error"]["Code"]
        == "AccessDeniedException"
    )
    assert stranger.list_collaborations()["collaborationList"] == []


def test_lists_are_paged(aws, refused):
    made = [aws.collaboration() for _ in range(5)]
    rooms = aws.client("cleanrooms")
    found, token = [], None
    while True:
        page = rooms.list_collaborations(maxResults=2, **({"nextToken": token} if token else {}))
        assert len(page["collaborationList"]) <= 2
        found += [c["id"] for c in page["collaborationList"]]
        token = page.get("nextToken")
        if token is None:
            break
    assert found == made[::-1]
    assert refused(rooms.list_collaborations, nextToken="of-nobody")["Error"]["Code"] == "ValidationException"


def test_identity_data_comes_in(aws, refused):
    membership = aws.join()
    arn = aws.namespace()
    rooms, er = aws.client("cleanrooms"), aws.client("entityresolution")
    made = rooms.create_id_namespace_association(
        membershipIdentifier=membership["id"],
        name="identity",
        inputReferenceConfig={"inputReferenceArn": arn, "manageResourcePolicies": True},
        tags={"run": "1"},
    )["idNamespaceAssociation"]
    assert made["inputReferenceProperties"]["idNamespaceType"] == "SOURCE"
    listed = rooms.list_collaboration_id_namespace_associations(collaborationIdentifier=membership["collaborationId"])
    assert [a["id"] for a in listed["collaborationIdNamespaceAssociationSummaries"]] == [made["id"]]
    assert "cleanrooms.amazonaws.com" in er.get_policy(arn=arn)["policy"]
    assert rooms.list_tags_for_resource(resourceArn=made["arn"])["tags"] == {"run": "1"}
    assert er.get_id_namespace(idNamespaceName="mynamespace")["idNamespaceArn"] == arn
    assert refused(er.delete_id_namespace, idNamespaceName="mynamespace")["Error"]["Code"] == "ConflictException"
    assert refused(er.delete_schema_mapping, schemaName="myschema")["Error"]["Code"] == "ConflictException"
    leaving = refused(rooms.delete_membership, membershipIdentifier=membership["id"])
    assert leaving["reason"] == "SUBRESOURCES_EXIST"
    rooms.delete_id_namespace_association(
        membershipIdentifier=membership["id"], idNamespaceAssociationIdentifier=made["id"]
    )
    rooms.delete_membership(membershipIdentifier=membership["id"])
    er.delete_id_namespace(idNamespaceName="mynamespace")
    er.delete_schema_mapping(schemaName="myschema")
    assert er.list_id_namespaces()["idNamespaceSummaries"] == []
    assert er.list_schema_mappings()["schemaList"] == []


def test_mapping_tables_made_by_amc_show_up(aws, refused):
    from simulator.aws import collaborations

    membership = aws.join()
    arn = aws.namespace()
    rooms = aws.client("cleanrooms")
    rooms.create_id_namespace_association(
        membershipIdentifier=membership["id"],
        name="identity",
        inputReferenceConfig={"inputReferenceArn": arn, "manageResourcePolicies": True},
    )
    collaboration = membership["collaborationId"]
    (source,) = collaborations.id_namespace_associations(aws.world, collaboration)
    table = collaborations.record_id_mapping_table(
        aws.world,
        aws.clock,
        collaboration,
        owner_account="900000000002",
        name="mapping",
        source_association_id=source["id"],
    )
    (schema,) = rooms.list_schemas(collaborationIdentifier=collaboration)["schemaSummaries"]
    assert (schema["name"], schema["type"]) == ("mapping", "ID_MAPPING_TABLE")
    status = rooms.get_schema(collaborationIdentifier=collaboration, name="mapping")["schema"]["schemaStatusDetails"]
    assert status[0]["reasons"][0]["code"] == "ID_MAPPING_TABLE_NOT_POPULATED"
    collaborations.mark_id_mapping_table_populated(aws.world, aws.clock, table["id"])
    status = rooms.get_schema(collaborationIdentifier=collaboration, name="mapping")["schema"]["schemaStatusDetails"]
    assert status[0]["status"] == "READY"
    provider = aws.client("cleanrooms", "900000000002")
    (own,) = provider.list_id_mapping_tables(membershipIdentifier=table["membershipId"])["idMappingTableSummaries"]
    got = provider.get_id_mapping_table(membershipIdentifier=own["membershipId"], idMappingTableIdentifier=own["id"])
    assert got["idMappingTable"]["name"] == "mapping"
    kept = refused(
        rooms.delete_id_namespace_association,
        membershipIdentifier=membership["id"],
        idNamespaceAssociationIdentifier=source["id"],
    )
    assert kept["reason"] == "SUBRESOURCES_EXIST"
    collaborations.delete_id_mapping_table(aws.world, table["id"])
    rooms.delete_id_namespace_association(
        membershipIdentifier=membership["id"], idNamespaceAssociationIdentifier=source["id"]
    )


def test_policies_and_tags_of_entity_resolution(aws, refused):
    arn = aws.namespace()
    er = aws.client("entityresolution")
    assert refused(er.get_policy, arn=arn)["Error"]["Code"] == "ResourceNotFoundException"
    first = er.add_policy_statement(
        arn=arn,
        statementId="one",
        effect="Allow",
        action=["entityresolution:GetIdNamespace"],
        principal=["210987654321"],
    )
    other = aws.client("entityresolution", "210987654321")
    assert other.get_id_namespace(idNamespaceName=arn)["idNamespaceArn"] == arn
    stale = refused(er.put_policy, arn=arn, token="0" * 8 + "-0000-0000-0000-" + "0" * 12, policy="{}")
    assert stale["Error"]["Code"] == "ConflictException"
    er.put_policy(
        arn=arn,
        token=first["token"],
        policy='{"Version":"2012-10-17","Statement":[{"Sid":"x","Effect":"Deny","Principal":"*","Action":"*"}]}',
    )
    assert refused(other.get_id_namespace, idNamespaceName=arn)["Error"]["Code"] == "AccessDeniedException"
    er.delete_policy_statement(arn=arn, statementId="x")
    gone = refused(er.delete_policy_statement, arn=arn, statementId="x")
    assert gone["Error"]["Code"] == "ResourceNotFoundException"
    er.tag_resource(resourceArn=arn, tags={"a": "1", "b": "2"})
    er.untag_resource(resourceArn=arn, tagKeys=["a"])
    assert er.list_tags_for_resource(resourceArn=arn)["tags"] == {"b": "2"}


def test_update_operations(aws):
    membership = aws.join()
    aws.namespace()
    rooms, er = aws.client("cleanrooms"), aws.client("entityresolution")
    aws.bucket("second-results")
    role = aws.results_role("second-results", "amc-cleanrooms-second")
    request = aws.membership_request("", "second-results", role)
    changed = rooms.update_membership(
        membershipIdentifier=membership["id"],
        queryLogStatus="ENABLED",
        defaultResultConfiguration=request["defaultResultConfiguration"],
    )["membership"]
    assert changed["queryLogStatus"] == "ENABLED"
    assert changed["defaultResultConfiguration"]["outputConfiguration"]["s3"]["bucket"] == "second-results"
    assert rooms.list_memberships(status="ACTIVE")["membershipSummaries"][0]["id"] == membership["id"]
    assert er.update_id_namespace(idNamespaceName="mynamespace", description="new")["description"] == "new"
