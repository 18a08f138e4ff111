"""Ready is proved link by link: a whole run from prepared files to READY, then each link broken by itself."""

import json

import pytest
from django.utils import timezone

from onboarding.clients.amc import AmcClient
from onboarding.models import CallRecord, MappingTable, Step
from tests.join.conftest import PRIMARY, aws
from tests.lifecycle.conftest import Lifecycle
from tests.namespaces.conftest import amazon, connected, joining, naming, portal_itself
from tests.namespaces.test_catalogue import COLUMNS, glue_table
from tests.pages.conftest import text_of
from tests.simulated import browser

pytestmark = pytest.mark.django_db
__all__ = ["amazon", "connected", "joining", "naming", "portal_itself"]


class Mapped:
    """The onboarding with its mapping table, and AWS as its administrator."""

    def __init__(self, naming, monkeypatch, **catalogue) -> None:
        self.naming, self.monkeypatch = naming, monkeypatch
        naming.join_for_real()
        for key in ("source-role", "catalogue", "schema-mapping", "id-namespace"):
            naming.ready(key)
            answers = catalogue if key == "catalogue" else {}
            assert naming.do(key, **answers).state == "done", naming.step(key).failure
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

    def glue_table(self) -> None:
        self.client("glue").delete_table(DatabaseName="amc_crm", Name="crm_v1_identity")

    def consent(self) -> None:
        glue = self.client("glue")
        table = glue.get_table(DatabaseName="amc_crm", Name="crm_v1_identity")["Table"]
        columns = table["StorageDescriptor"]["Columns"]
        next(one for one in columns if one["Name"] == "tcf")["Name"] = "consent"
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
        (mapped.consent, "Changed since it was approved: Glue table amc_crm.crm_v1_identity", "As commands"),
        (mapped.glue_table, "Not there any more: Glue table amc_crm.crm_v1_identity", "As commands"),
        (mapped.policy, "Changed since it was approved: What the role may do", "As commands"),
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


def test_consent_is_recognised_by_name_in_a_table_of_ones_own(naming, monkeypatch):
    """Its columns may stand in any order; only the name of a consent column makes it one."""
    glue_table(naming, naming.amazon.url, columns=sorted(COLUMNS))
    mapped = Mapped(naming, monkeypatch, how={"how": "existing"})
    assert mapped.prove().state == "done", naming.step("ready").failure
    mapped.consent()
    step = mapped.prove()
    assert step.state == "failed"
    assert (
        step.failure["what"] == "AMC can't recognise consent in amc_crm.crm_v1_identity: it needs country, tcf as text."
    )
    assert "Give the Glue table in AWS account 111122223333 its columns back" in step.failure["todo"]
    text = text_of(browser(naming.analyst).get(f"/instances/{naming.run.instance_id}/ready/"))
    assert "Not ready yet" in text and "recognise consent" in text


def test_an_association_that_is_gone_and_a_membership_that_ended(mapped):
    mapped.association()
    step = mapped.prove()
    assert step.state == "failed" and "Not there any more: Association of" in step.failure["what"]
    assert "As commands" in step.failure["todo"]
    mapped.membership()
    step = mapped.prove()
    assert step.state == "failed" and "active" in step.failure["what"]
    assert step.failure["todo"]
