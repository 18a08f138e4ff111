"""Real workers, really killed: at every call of every step, and by seeded schedules of all that goes wrong.

One file, so that the tests, each of which keeps the machine busy, run one after the other.
"""

import pytest

from tests.chaos.matrix import POINTS
from tests.chaos.program import chaos
from tests.chaos.schedule import schedule


@pytest.mark.timeout(920)
def test_a_worker_killed_at_every_call_of_every_procedure():
    """Each call that changes something at one of the three points, in turn; `make chaos` has them all."""
    lines = chaos("--matrix", "--sample")
    calls = {tuple(line.split()[1:3]) for line in lines if line.startswith("ok ")}
    points = {line.partition(" killed ")[2].partition("went on")[0].strip() for line in lines if line.startswith("ok ")}
    assert points == set(POINTS)
    assert {
        ("onboard", "amc:createInstance"),
        ("onboard", "iam:CreateRole"),
        ("onboard", "cleanrooms:CreateMembership"),
        ("join-partners", "cleanrooms:CreateMembership"),
        ("join-partners", "s3:PutBucketCors"),
        ("prepare", "s3:CompleteMultipartUpload"),
        ("identity", "glue:CreateTable"),
        ("identity", "entityresolution:CreateIdNamespace"),
        ("identity", "cleanrooms:CreateIdNamespaceAssociation"),
        ("identity", "amc:createCollaborationIdMappingTable"),
        ("refresh", "amc:refreshCollaborationIdMappingTable"),
        ("replace-dataset", "amc:deleteCollaborationIdMappingTable"),
        ("delete-mapping-table", "amc:deleteCollaborationIdMappingTable"),
        ("advertisers", "amc:createAdvertiserUpdate"),
        ("membership", "iam:PutRolePolicy"),
        ("membership", "cleanrooms:UpdateMembership"),
        ("put-right", "s3:PutPublicAccessBlock"),
        ("put-right", "iam:UpdateAssumeRolePolicy"),
        ("leave", "amc:deleteCollaborationIdMappingTable"),
        ("leave", "cleanrooms:DeleteConfiguredTableAssociationAnalysisRule"),
        ("leave", "cleanrooms:DeleteMembership"),
        ("delete-instance", "amc:deleteInstance"),
    } <= calls
    made = [int(line.split()[1]) for line in lines if line.startswith("matrix: ")]
    assert [len(calls)] == made


@pytest.mark.timeout(920)
def test_with_the_times_of_production_work_goes_on_within_thirty_seconds():
    lines = chaos(
        "--matrix",
        "--operation",
        "amc:createInstance",
        "--wait",
        LEASE_SECONDS="20",
        CALL_TIMEOUT="10",
        CLOCK_SECONDS="1",
        PUT_AGAIN_SECONDS="10",
    )
    waits = [float(line.rpartition("after ")[2].split()[0]) for line in lines if line.startswith("ok ")]
    assert len(waits) == 3
    assert all(15 < wait < 30 for wait in waits), waits


@pytest.mark.timeout(920)
def test_fifty_seeded_schedules_of_everything_that_goes_wrong():
    lines = chaos("--seeds", "50", "--lanes", "3")
    assert sum(line.startswith("ok ") for line in lines) == 50


def test_the_same_seed_gives_the_same_schedule():
    assert schedule(7) == schedule(7)
    assert str(schedule(7)) == str(schedule(7))
    assert schedule(7) != schedule(8)
