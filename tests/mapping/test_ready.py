"""Ready is proved link by link: a whole run from prepared files to READY, then each link broken by itself."""

import json

import pytest
from django.utils import timezone

from onboarding.clients.amc import AmcClient
from onboarding.guide.bucket_calls import CLOSED
from onboarding.guide.roles import source_trust
from onboarding.models import CallRecord, MappingTable, Step
from tests.join.conftest import PRIMARY, aws
from tests.lifecycle.conftest import Lifecycle
from tests.namespaces.conftest import BUCKET, DATASET, amazon, connected, joining, naming, portal_itself
from tests.namespaces.test_catalogue import COLUMNS, glue_table
from tests.namespaces.test_role import EXISTING, make_role
from tests.pages.conftest import text_of
from tests.simulated import browser

pytestmark = pytest.mark.django_db
__all__ = ["amazon", "connected", "joining", "naming", "portal_itself"]
ENCRYPTION = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
NEW_BUCKET = {"where": {"where": "files"}, "bucket": {"kind": "new", "name": BUCKET}, "folder": {"prefix": DATASET}}


class Mapped:
    """The onboarding with its mapping table, and AWS as its administrator."""

    def __init__(self, naming, monkeypatch, **answers) -> None:
        self.naming, self.monkeypatch = naming, monkeypatch
        naming.join_for_real()
        answers = {"data_bucket": NEW_BUCKET, **answers}
        for key in ("data-bucket", "source-role", "catalogue", "schema-mapping", "id-namespace"):
            naming.ready(key)
            done = naming.do(key, **answers.get(key.replace("-", "_"), {}))
            assert done.state == "done", naming.step(key).failure
        step = naming.work("mapping-look")
        assert step.state == "done", (step.state, step.plan, step.failure, step.next_attempt_at)
        naming.ready("mapping-table")
        step = naming.do("mapping-table")
        assert step.state == "done", step.failure

    def client(self, service: str):
        return aws(self.naming.amazon.url, PRIMARY, service)

    def prove(self) -> Step:
        """Look at every link once more, from the first."""
        step = self.naming.step("ready")
        CallRecord.objects.filter(step=step).delete()
        Step.objects.filter(pk=step.pk).update(state="queued", failure=None, next_attempt_at=timezone.now())
        return self.naming.work("ready")

    # The links, each broken as somebody might.

    def membership(self) -> None:
        rooms = self.client("cleanrooms")
        (one,) = rooms.list_memberships()["membershipSummaries"]
        rooms.delete_membership(membershipIdentifier=one["id"])

    def said(self, operation: str, change):
        """AMC says something else of one thing, until it is undone."""
        call = AmcClient.call

        def other(client, asked, params=None):
            answer = call(client, asked, params)
            if asked == operation:
                change(answer)
            return answer

        self.monkeypatch.setattr(AmcClient, "call", other)
        return lambda: self.monkeypatch.setattr(AmcClient, "call", call)

    def job(self):
        return self.said("getCollaborationIdMappingJob", lambda said: said["idMappingJob"].update(status="FAILED"))

    def collaboration(self):
        return self.said("getInstanceCollaboration", lambda said: said["collaboration"].update(status="REJECTED"))

    def not_queryable(self):
        tables = "listCollaborationIdMappingTables"
        return self.said(tables, lambda said: said["idMappingTables"][0].update(queryable=False))

    def results_open(self) -> None:
        self.client("s3").delete_public_access_block(Bucket="acme-results")

    def results_role(self) -> None:
        iam = self.client("iam")
        (name,) = (one["RoleName"] for one in iam.list_roles()["Roles"] if "cleanrooms-results" in one["RoleName"])
        for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            iam.delete_role_policy(RoleName=name, PolicyName=policy)
        iam.delete_role(RoleName=name)

    def data_open(self) -> None:
        self.client("s3").delete_public_access_block(Bucket=BUCKET)

    def data_gone(self) -> None:
        s3 = self.client("s3")
        for one in s3.list_objects_v2(Bucket=BUCKET).get("Contents", []):
            s3.delete_object(Bucket=BUCKET, Key=one["Key"])
        s3.delete_bucket(Bucket=BUCKET)

    def namespace(self) -> None:
        resolution = self.client("entityresolution")
        (one,) = resolution.list_id_namespaces()["idNamespaceSummaries"]
        resolution.delete_id_namespace(idNamespaceName=one["idNamespaceName"])

    def _schema(self) -> dict:
        resolution = self.client("entityresolution")
        (one,) = resolution.list_schema_mappings()["schemaList"]
        found = resolution.get_schema_mapping(schemaName=one["schemaName"])
        resolution.delete_schema_mapping(schemaName=one["schemaName"])
        return found

    def schema_changed(self) -> None:
        """As whoever deleted the namespace could: AWS holds on to a schema mapping that one stands on."""
        found = self._schema()
        fields = found["mappedInputFields"]
        next(one for one in fields if one.get("hashed"))["hashed"] = False
        self.client("entityresolution").create_schema_mapping(schemaName=found["schemaName"], mappedInputFields=fields)

    def schema(self) -> None:
        self._schema()

    def glue_table(self) -> None:
        self.client("glue").delete_table(DatabaseName="amc_crm", Name="crm_v1_identity")

    def consent(self) -> None:
        self._consent(Name="consent")

    def consent_as_a_number(self) -> None:
        self._consent(Type="int")

    def _consent(self, **changed: str) -> None:
        glue = self.client("glue")
        table = glue.get_table(DatabaseName="amc_crm", Name="crm_v1_identity")["Table"]
        columns = table["StorageDescriptor"]["Columns"]
        next(one for one in columns if one["Name"] == "tcf").update(changed)
        kept = ("Name", "StorageDescriptor", "Parameters", "TableType")
        glue.update_table(DatabaseName="amc_crm", TableInput={name: table[name] for name in kept})

    def association(self) -> None:
        """The mapping table is deleted first: AWS holds on to an association that one stands on."""
        naming = self.naming
        life = Lifecycle(naming.amazon, naming.account, naming.analyst, naming.approver)
        life.instance = naming.run.instance
        table = MappingTable.objects.get()
        assert life.amc("DELETE", f"/collaboration/idmappingtables/{table.table_id}").status_code < 300
        rooms = self.client("cleanrooms")
        (one,) = rooms.list_memberships()["membershipSummaries"]
        for found in rooms.list_id_namespace_associations(membershipIdentifier=one["id"])[
            "idNamespaceAssociationSummaries"
        ]:
            rooms.delete_id_namespace_association(
                idNamespaceAssociationIdentifier=found["id"], membershipIdentifier=one["id"]
            )

    def policy(self) -> None:
        iam, role = self.client("iam"), self.naming.names[0]
        (name,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
        document = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        document["Statement"] = document["Statement"][:1]
        iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))


@pytest.fixture
def mapped(naming, monkeypatch) -> Mapped:
    return Mapped(naming, monkeypatch)


def test_proved_shown_and_kept_and_each_broken_link_is_named(mapped):
    naming = mapped.naming
    step = mapped.prove()
    assert step.state == "done", step.failure
    titles = [call["title"] for call in step.plan]
    assert "Consent is recognised in amc_crm.crm_v1_identity: country, tcf" in titles
    page, here = browser(naming.analyst), f"/instances/{naming.run.instance_id}/ready"
    text = text_of(page.get(f"{here}/"))
    assert "Not ready yet" not in text and "customer_id" in text and "amc_crm.crm_v1_identity" in text
    kept = json.loads(page.get(f"{here}.json").content)
    assert kept["ready"] is True and kept["key_column"] == "customer_id"
    (table,) = kept["identity_tables"][0]["tables"]
    assert (table["name"], "tcf" in table["columns"]) == ("crm_v1_identity", True)
    assert kept["mapping_tables"][0]["match_rate"] is not None
    assert all(check["good"] for check in kept["checks"]) and len(kept["checks"]) == len(titles)

    # Each later break lies earlier in the chain: the first link that is not as it should be is the one that is told.
    for broken, what, todo in (
        (mapped.not_queryable, "AMC says that the mapping table can't be queried yet.", "Mapping tables"),
        (mapped.job, "AMC says of the mapping job: FAILED.", "Mapping tables"),
        (mapped.association, "Not there any more: Association of", "As commands"),
        (mapped.namespace, "Not there any more: SOURCE ID namespace", "As commands"),
        (mapped.schema_changed, "Changed since it was approved: Schema mapping", "As commands"),
        (mapped.schema, "Not there any more: Schema mapping", "As commands"),
        (mapped.consent, "Changed since it was approved: Glue table amc_crm.crm_v1_identity", "As commands"),
        (mapped.glue_table, "Not there any more: Glue table amc_crm.crm_v1_identity", "As commands"),
        (mapped.policy, "Changed since it was approved: What the role may do", "As commands"),
        (mapped.data_open, f"{BUCKET} is closed to the public", "As commands"),
        (mapped.data_gone, f"Not there any more: Bucket {BUCKET}", "As commands"),
        (mapped.results_role, "Not there any more: IAM role /service-role/amc-cleanrooms-results-", "As commands"),
        (mapped.results_open, "acme-results is closed to the public", "As commands"),
        (mapped.collaboration, "AMC does not call the collaboration active, but", "Members"),
    ):
        undo = broken()
        step = mapped.prove()
        assert (step.state, what in step.failure["what"]) == ("failed", True), step.failure
        assert todo in step.failure["todo"]
        text = text_of(page.get(f"{here}/"))
        assert "Not ready yet" in text and what in text
        assert json.loads(page.get(f"{here}.json").content)["ready"] is False
        if undo:
            undo()


def test_what_was_there_before_is_looked_at_again_as_it_was_when_it_was_chosen(naming, monkeypatch):
    """A bucket, a role and a Glue table of the customer's own; only its name makes a column one of consent."""
    url, s3 = naming.amazon.url, aws(naming.amazon.url, PRIMARY, "s3")
    s3.put_public_access_block(Bucket=BUCKET, PublicAccessBlockConfiguration=CLOSED)
    s3.put_bucket_encryption(Bucket=BUCKET, ServerSideEncryptionConfiguration={"Rules": [ENCRYPTION]})
    make_role(url)
    glue_table(naming, url, columns=sorted(COLUMNS))
    mapped = Mapped(
        naming,
        monkeypatch,
        data_bucket={"where": {"where": "prepared"}, "there": {"name": BUCKET}},
        source_role=EXISTING,
        catalogue={"how": {"how": "existing"}},
    )
    step = mapped.prove()
    assert step.state == "done", step.failure
    assert {"may-read", "may-list", "may-glue"} <= {call["key"].removeprefix("source-role-") for call in step.plan}
    iam = mapped.client("iam")
    trusted, untrusted = json.dumps(source_trust()), json.dumps(source_trust()).replace("entityresolution", "glue")
    mine = {"RoleName": "amc-cleanrooms-mine"}
    here = f"/instances/{naming.run.instance_id}/ready/"
    for act, what, todo in (
        (
            mapped.consent_as_a_number,
            "AMC can't recognise consent in amc_crm.crm_v1_identity: it needs country, tcf as text.",
            "Give the Glue table in AWS account 111122223333 its columns back",
        ),
        (mapped.consent, "The columns of amc_crm.crm_v1_identity are not those of the files.", "Correct the table's"),
        (
            lambda: iam.update_assume_role_policy(**mine, PolicyDocument=untrusted),
            "The role's trust policy is not the one of the guide.",
            "Change the trust policy",
        ),
        (
            lambda: (
                iam.update_assume_role_policy(**mine, PolicyDocument=trusted),
                iam.delete_role_policy(**mine, PolicyName="mine"),
            ),
            "The role may not do all that S3InputPermissions says.",
            "",
        ),
        (mapped.data_open, f"Bucket {BUCKET} is not closed to the public.", "Block all public access"),
    ):
        act()
        step = mapped.prove()
        assert (step.state, step.failure["what"]) == ("failed", what)
        assert todo in step.failure["todo"] and step.failure["todo"]
        text = text_of(browser(naming.analyst).get(here))
        assert "Not ready yet" in text and what in text


def test_a_membership_that_ended(mapped):
    mapped.association()
    mapped.membership()
    step = mapped.prove()
    assert step.state == "failed" and "active" in step.failure["what"]
    assert step.failure["todo"]
