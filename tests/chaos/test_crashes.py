"""Real workers, really killed: at every call of every step, and by seeded schedules of all that goes wrong.

One file, so that the tests, each of which keeps the machine busy, run one after the other.
"""

import pytest

from tests.chaos.matrix import POINTS
from tests.chaos.program import chaos
from tests.chaos.schedule import schedule

# The calls that are made whatever happens, each counted once for each phase that makes it.
MADE = 130
# What a way makes depends on where it is cut off in these three places alone.
SOMETIMES = {
    # Whose answer to the making of a table was lost finds its job in the list; whoever got it was told the job.
    ("identity", "amc:listCollaborationIdMappingJobs"),
    ("replace-dataset", "amc:listCollaborationIdMappingJobs"),
    # Only whoever gets the answer to a refresh is given a tracking id; else the new job is found in the list, which is
    # read before every refresh.
    ("refresh", "amc:getCollaborationIdMappingJobForTrackingId"),
}


@pytest.mark.timeout(1220)
def test_a_worker_killed_at_every_call_of_every_procedure_at_each_of_three_points():
    lines = chaos("--matrix")
    killed: dict[str, set[tuple[str, str]]] = {point: set() for point in POINTS}
    for line in lines:
        if line.startswith("ok "):
            words, _, rest = line.partition(" killed ")
            killed[rest.partition("went on")[0].strip()].add(tuple(words.split()[1:]))
    # The program fails if a call was made on a way and no worker was killed at it there.
    calls = set.intersection(*killed.values())
    assert set.union(*killed.values()) - calls <= SOMETIMES
    assert len(calls) >= MADE
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
    (crashes,) = [int(line.split()[3]) for line in lines if line.startswith("matrix: ")]
    assert crashes == sum(map(len, killed.values())) >= 3 * MADE


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
