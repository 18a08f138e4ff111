"""Who may call which operation of the API; the objects are those of the pages' test."""

from __future__ import annotations

from django.utils import timezone

from onboarding.models import Dataset, DatasetVersion, IdentityJob, MappingJob, MappingTable
from tests.access.routes import ADMIN, EVERYBODY_IN, MEMBERS, NO_ADMIN, SOME_ADMIN, Route
from tests.access.world import ASKERS, DECIDERS

OK, MADE, REFUSED, INVALID = (200,), (201,), (409,), (422,)
INSTANCE, RUN = ("@instance",), ("@run",)
STEP = ("@run", "advertisers-now")
PLAIN = ("analyst", "approver")
FILE = {
    "account": "ENTITY1",
    "steps": {
        "create-instance": {
            "name": {"name": "Another"},
            "advertiser": {"name": "Acme"},
            "aws-account": {"account_id": "111122223333"},
            "parties": {"multi": False},
        }
    },
}

EXPECTED: list[tuple[str, Route]] = [
    ("me", Route(EVERYBODY_IN, status=OK)),
    ("accounts", Route(EVERYBODY_IN, status=OK)),
    ("account", Route(MEMBERS, args=("@account",), status=OK)),
    ("account-policy", Route(ADMIN, args=("@account",), status=OK, forbidden=PLAIN)),
    ("connections", Route(SOME_ADMIN, status=OK, forbidden=NO_ADMIN)),
    ("aws-connections", Route(SOME_ADMIN, status=OK, forbidden=NO_ADMIN)),
    ("aws-connection", Route(ADMIN, args=("@aws",), status=OK, forbidden=PLAIN)),
    ("people", Route(SOME_ADMIN, status=OK, forbidden=NO_ADMIN)),
    ("person", Route(ADMIN, args=("@person",), status=OK, forbidden=NO_ADMIN)),
    ("audit", Route(SOME_ADMIN, status=OK, forbidden=NO_ADMIN)),
    ("notices", Route(EVERYBODY_IN, status=OK)),
    ("instances", Route(EVERYBODY_IN, status=OK)),
    ("instance", Route(MEMBERS, args=INSTANCE, status=OK)),
    ("instance-members", Route(MEMBERS, args=INSTANCE, status=OK)),
    ("instance-memberships", Route(MEMBERS, args=INSTANCE, status=OK)),
    ("instance-runs", Route(MEMBERS, args=INSTANCE, status=OK)),
    (
        "instance-runs",
        Route(ASKERS, "post", ("@there",), {"procedure": "leave"}, status=REFUSED, forbidden=("approver",)),
    ),
    ("datasets", Route(EVERYBODY_IN, status=OK)),
    ("dataset", Route(MEMBERS, args=("@api_dataset",), status=OK)),
    ("mapping-tables", Route(EVERYBODY_IN, status=OK)),
    ("mapping-table", Route(MEMBERS, args=("@api_mapping_table",), status=OK)),
    ("results", Route(EVERYBODY_IN, status=OK)),
    ("runs", Route(EVERYBODY_IN, status=OK)),
    # Who has no role on the account hears that there is none of that name: in the file, so 422.
    (
        "runs",
        Route(ASKERS, "post", data=FILE, status=MADE, invalid=("no role", "approver", "foreign admin")),
    ),
    ("run", Route(MEMBERS, args=RUN, status=OK)),
    ("run-log", Route(MEMBERS, args=RUN, status=OK)),
    ("run-step", Route(MEMBERS, args=STEP, status=OK)),
    ("run-submit", Route(ASKERS, "post", RUN, status=OK, forbidden=("approver",))),
    # Somebody else's run: its owner may, and an admin.
    ("run-cancel", Route(ADMIN, "post", RUN, {"typed": "There"}, status=OK, forbidden=PLAIN)),
    ("run-cancel", Route((), "post", RUN, {"typed": "x"}, forbidden=("approver",), invalid=ASKERS)),
    (
        "run-answer",
        Route(
            ASKERS,
            "put",
            ("@onboarding", "requirements", "eligibility"),
            {"agreement": True, "campaigns": True, "advertisers": True},
            status=OK,
            forbidden=("approver",),
        ),
    ),
    ("run-step-submit", Route(ASKERS, "post", STEP, status=REFUSED, forbidden=("approver",))),
    ("run-step-retry", Route(ASKERS, "post", STEP, status=REFUSED, forbidden=("approver",))),
    ("run-step-check", Route(ASKERS, "post", STEP, status=REFUSED, forbidden=("approver",))),
    ("requests", Route(EVERYBODY_IN, status=OK)),
    ("request", Route(MEMBERS, args=("@request",), status=OK)),
    (
        "request-approve",
        Route(DECIDERS, "post", ("@request",), {"digest": "0"}, status=REFUSED, forbidden=("analyst", "admin")),
    ),
    (
        "request-send-back",
        Route(
            DECIDERS,
            "post",
            ("@request",),
            {"digest": "0", "comment": "No"},
            status=REFUSED,
            forbidden=("analyst", "admin"),
        ),
    ),
    ("request-withdraw", Route(ADMIN, "post", ("@request",), status=OK, forbidden=PLAIN)),
    ("request-comments", Route(MEMBERS, "post", ("@request",), {"text": "Why now?"}, status=MADE)),
]


def more_objects(made: dict) -> dict:
    """What the API's addresses name besides: an instance in AMC, its onboarding, a data set, a mapping table."""
    now = timezone.now()
    there = made["run"].instance
    dataset = Dataset.objects.create(
        instance=there, aws_account_id="111122223333", name="customers", bucket="acme", made_at=now
    )
    version = DatasetVersion.objects.create(dataset=dataset, number=1, origin="s3", made_at=now, report={"rows": 3})
    IdentityJob.objects.create(version=version, kind="check", asked_at=now)
    table = MappingTable.objects.create(instance=there, table_id="t1", name="acme_customers", seen_at=now)
    MappingJob.objects.create(table=table, kind="create", asked_at=now, seen_at=now)
    return {
        **made,
        "there": there,
        "onboarding": made["instance"].runs.get(),
        "api_dataset": dataset,
        "api_mapping_table": table,
    }
