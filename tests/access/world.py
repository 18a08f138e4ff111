"""What the pages about instances, requests and the audit log add to the test of every route."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from onboarding.guide.plan import Call, dump
from onboarding.models import (
    AuditEntry,
    AwsConnection,
    Channel,
    Dataset,
    DatasetVersion,
    Difference,
    IdentityJob,
    Instance,
    MappingTable,
    PartnerInvitation,
    Request,
    SavedView,
    SourceFile,
    Step,
    UserInvitation,
)
from onboarding.services import runs, tokens
from tests.access.routes import ADMIN, EVERYBODY_IN, MEMBERS, NO_ADMIN, SOME_ADMIN, Route

ASKERS = ("analyst", "admin", "superuser")
DECIDERS = ("approver", "superuser")
INSTANCE = ("@instance",)
AWS = ("@aws",)
FIRST = ("@instance", "requirements")
TABLE = ("@instance", "@mapping_table")
OTHER = ("@run", "advertisers-now")
PLANNED = ("@instance", "create-instance")
QUESTION = (*FIRST, "eligibility")

EXPECTED_ELSEWHERE: dict[str, list[Route]] = {
    "home": [Route(EVERYBODY_IN)],
    "dashboard": [
        Route(EVERYBODY_IN),
        Route(EVERYBODY_IN, data={"format": "csv", "table": "stuck"}),
    ],
    "view-save": [Route(EVERYBODY_IN, "post", data={"page": "runs", "query": "at=join", "name": "Joining"})],
    "results": [Route(EVERYBODY_IN), Route(EVERYBODY_IN, data={"format": "csv"})],
    # A view belongs to one person: here to none of these.
    "view-remove": [Route((), "post", ("@view",))],
    "runs": [Route(EVERYBODY_IN), Route(EVERYBODY_IN, data={"format": "csv"})],
    "instances": [Route(EVERYBODY_IN), Route(EVERYBODY_IN, data={"format": "csv"})],
    "instance-new": [
        Route((*ASKERS, "foreign admin"), forbidden=("no role", "approver")),
        Route(
            (*ASKERS, "foreign admin"), "post", data={"account": ""}, status=(422,), forbidden=("no role", "approver")
        ),
        Route(
            ASKERS,
            "post",
            data={"account": "@account", "name": "New"},
            status=(302,),
            forbidden=("no role", "approver"),
            invalid=("foreign admin",),
        ),
    ],
    "instance": [Route(MEMBERS, args=INSTANCE, status=(200,))],
    "instance-members": [Route(MEMBERS, args=INSTANCE, status=(200,))],
    "instance-mapping": [Route(MEMBERS, args=INSTANCE, status=(200,))],
    "instance-ready": [Route(MEMBERS, args=INSTANCE, status=(200,))],
    "instance-ready-json": [Route(MEMBERS, args=INSTANCE, status=(200,))],
    "mapping-table-new": [Route(ASKERS, "post", INSTANCE, status=(302,), forbidden=("approver",))],
    "mapping-table": [Route(MEMBERS, args=TABLE, status=(200,))],
    "mapping-table-start": [
        Route(ASKERS, "post", TABLE, {"procedure": "refresh"}, status=(302,), forbidden=("approver",))
    ],
    "mapping-table-policy": [
        Route(ASKERS, "post", TABLE, {"policy": "when_changed"}, status=(302,), forbidden=("approver",))
    ],
    "mapping-table-look": [Route(ASKERS, "post", TABLE, status=(302,), forbidden=("approver",))],
    "instance-activity": [Route(MEMBERS, args=INSTANCE, status=(200,))],
    "instance-commands": [Route(MEMBERS, args=INSTANCE, status=(200,))],
    "instance-onboard": [Route(ASKERS, "post", INSTANCE, status=(302,), forbidden=("approver",))],
    "instance-cancel": [
        Route(ASKERS, args=INSTANCE, status=(200,), forbidden=("approver",)),
        Route(ASKERS, "post", INSTANCE, {"typed": "wrong"}, status=(200, 422), forbidden=("approver",)),
    ],
    "instance-differences": [Route(MEMBERS, args=INSTANCE, status=(200,))],
    "instance-results-read": [Route(ASKERS, "post", INSTANCE, status=(302,), forbidden=("approver",))],
    "instance-compare": [Route(ASKERS, "post", INSTANCE, status=(302,), forbidden=("approver",))],
    "differences": [Route(SOME_ADMIN, status=(200,), forbidden=NO_ADMIN)],
    "difference-accept": [
        Route(ASKERS, "post", ("@difference",), status=(302,), forbidden=("approver",)),
    ],
    "instance-runs": [Route(MEMBERS, args=INSTANCE, status=(200,))],
    "run-start": [
        Route(ASKERS, "post", INSTANCE, {"procedure": "advertisers"}, status=(302,), forbidden=("approver",)),
    ],
    "run": [Route(MEMBERS, args=("@run",), status=(200,))],
    "run-cancel": [
        Route(ASKERS, args=("@run",), status=(200,), forbidden=("approver",)),
        Route(ASKERS, "post", ("@run",), {"typed": "wrong"}, status=(422,), forbidden=("approver",)),
    ],
    "run-look-again": [Route(ASKERS, "post", ("@run",), status=(302,), forbidden=("approver",))],
    "account-users": [
        Route(ADMIN, args=("@account",), status=(200,), forbidden=("analyst", "approver")),
        Route(ADMIN, "post", ("@account",), status=(422,), forbidden=("analyst", "approver")),
    ],
    "invitation-resend": [
        Route(ADMIN, "post", ("@user_invitation",), status=(302,), forbidden=("analyst", "approver"))
    ],
    "invitation-revoked": [
        Route(ADMIN, "post", ("@user_invitation",), status=(302,), forbidden=("analyst", "approver"))
    ],
    "step": [Route(MEMBERS, args=FIRST, status=(302,)), Route(MEMBERS, args=OTHER, status=(302,))],
    "step-question": [
        Route(ASKERS, args=QUESTION, status=(200,), forbidden=("approver",)),
        Route(ASKERS, "post", QUESTION, status=(200, 422), forbidden=("approver",)),
    ],
    "step-review": [
        Route(MEMBERS, args=FIRST, status=(302,)),
        Route(ASKERS, "post", FIRST, forbidden=("approver",)),
    ],
    "step-progress": [Route(MEMBERS, args=FIRST, status=(200,)), Route(MEMBERS, args=OTHER, status=(200,))],
    "step-retry": [Route(ASKERS, "post", FIRST, status=(302,), forbidden=("approver",))],
    "step-check": [Route(ASKERS, "post", FIRST, status=(302,), forbidden=("approver",))],
    "step-browse": [Route(ASKERS, args=FIRST, status=(200,), forbidden=("approver",))],
    "step-uploads": [
        Route(ASKERS, args=FIRST, status=(200,), forbidden=("approver",)),
        Route(ASKERS, "post", FIRST, status=(302,), forbidden=("approver",)),
    ],
    "upload-begin": [Route(ASKERS, "post", ("@version",), status=(409,), forbidden=("approver",))],
    "upload-addresses": [Route(ASKERS, "post", ("@file",), status=(409,), forbidden=("approver",))],
    "upload-complete": [Route(ASKERS, "post", ("@file",), status=(409,), forbidden=("approver",))],
    "upload-remove": [Route(ASKERS, "post", ("@file",), status=(302,), forbidden=("approver",))],
    "step-commands": [Route(MEMBERS, args=PLANNED, status=(200,))],
    "step-samples": [Route(ASKERS, args=FIRST, status=(200,), forbidden=("approver",))],
    "step-again": [Route(ASKERS, "post", FIRST, {"again": "look"}, status=(302,), forbidden=("approver",))],
    "instance-data": [Route(MEMBERS, args=INSTANCE, status=(200,))],
    "instance-data-new": [Route(ASKERS, "post", INSTANCE, status=(302,), forbidden=("approver",))],
    "dataset-version": [Route(MEMBERS, args=("@dataset", "1"), status=(200,))],
    "dataset-new-version": [Route(ASKERS, "post", ("@dataset",), status=(302,), forbidden=("approver",))],
    "dataset-retire": [
        Route(ASKERS, args=("@dataset",), status=(200,), forbidden=("approver",)),
        Route(ASKERS, "post", ("@dataset",), {"typed": "wrong"}, status=(422,), forbidden=("approver",)),
    ],
    "identity-work-cancel": [Route(ASKERS, "post", ("@identity_job",), status=(302,), forbidden=("approver",))],
    "requests": [Route(EVERYBODY_IN), Route(EVERYBODY_IN, data={"format": "csv", "show": "all"})],
    "request": [Route(MEMBERS, args=("@request",), status=(200,))],
    "request-approve": [
        Route(DECIDERS, "post", ("@request",), {"digest": "0"}, status=(200, 302, 422), forbidden=("analyst", "admin"))
    ],
    "request-send-back": [
        Route(DECIDERS, "post", ("@request",), {"digest": "0"}, status=(200, 302, 422), forbidden=("analyst", "admin"))
    ],
    "request-withdraw": [Route(ADMIN, "post", ("@request",), status=(302,), forbidden=("analyst", "approver"))],
    "request-comment": [Route(MEMBERS, "post", ("@request",), {"text": "Why now?"}, status=(302,))],
    "aws-connection-new": [
        Route(SOME_ADMIN, status=(200,), forbidden=NO_ADMIN),
        Route(
            ADMIN,
            "post",
            data={"account": "@account", "aws_account_id": "444455556666"},
            status=(302,),
            forbidden=NO_ADMIN,
            invalid=("foreign admin",),
        ),
    ],
    "aws-connection": [Route(ADMIN, args=AWS, status=(200,), forbidden=("analyst", "approver"))],
    "aws-connection-roles": [
        Route(ADMIN, "post", AWS, {"provisioner": "x"}, status=(422,), forbidden=("analyst", "approver"))
    ],
    "aws-connection-check": [Route(ADMIN, "post", AWS, status=(302,), forbidden=("analyst", "approver"))],
    "aws-connection-template": [
        # The portal has no identity at AWS here, so that there is no template either.
        Route((), args=(*AWS, "commands"), forbidden=("analyst", "approver"))
    ],
    "aws-connection-disable": [
        Route(ADMIN, "post", AWS, {"disabled": "yes"}, status=(302,), forbidden=("analyst", "approver"))
    ],
    "aws-connection-replace": [Route(ADMIN, "post", AWS, status=(302,), forbidden=("analyst", "approver"))],
    "aws-invite": [
        Route(SOME_ADMIN, status=(200,), forbidden=NO_ADMIN),
        Route(SOME_ADMIN, "post", data={"partner": "1/444455556666", "days": 7}, status=(422,), forbidden=NO_ADMIN),
    ],
    "aws-invite-withdraw": [Route(ADMIN, "post", ("@invitation",), status=(302,), forbidden=("analyst", "approver"))],
    # A partner's part belongs to whoever accepted the invitation: here nobody has, not even a superuser.
    "partner": [Route((), args=("@invitation",))],
    "partner-roles": [Route((), "post", ("@invitation",), {"provisioner": "x"})],
    "partner-check": [Route((), "post", ("@invitation",))],
    "partner-template": [Route((), args=("@invitation", "commands"))],
    "partner-link": [
        Route(EVERYBODY_IN, args=("the-token",), status=(200,)),
        Route(EVERYBODY_IN, args=("another-token",), status=(410,)),
        Route(EVERYBODY_IN, "post", ("the-token",), status=(302,)),
    ],
    "queues": [
        Route(SOME_ADMIN, status=(200,), forbidden=NO_ADMIN),
        Route(SOME_ADMIN, data={"format": "csv", "show": "failed"}, status=(200,), forbidden=NO_ADMIN),
    ],
    # What an admin can't choose is answered with a message; who may not resume it learns nothing.
    "queue-pause": [Route(SOME_ADMIN, "post", data={"target": "all"}, status=(302,), forbidden=NO_ADMIN)],
    "queue-resume": [Route(("superuser",), "post", data={"target": "all"}, status=(302,), forbidden=NO_ADMIN)],
    "queue-step": [
        Route(ADMIN, args=("@step", "stop"), status=(200,), forbidden=("analyst", "approver")),
        Route(ADMIN, "post", ("@step", "stop"), status=(302,), forbidden=("analyst", "approver")),
        Route((), args=("@step", "other")),
    ],
    "queue-job": [
        Route(
            ("superuser",),
            "post",
            ("00000000-0000-0000-0000-000000000000", "dismiss"),
            status=(302,),
            forbidden=(*NO_ADMIN, "admin", "foreign admin"),
        )
    ],
    "audit": [
        Route(SOME_ADMIN, status=(200,), forbidden=NO_ADMIN),
        Route(SOME_ADMIN, data={"format": "csv"}, status=(200,), forbidden=NO_ADMIN),
        Route(SOME_ADMIN, data={"format": "jsonl"}, status=(200,), forbidden=NO_ADMIN),
    ],
    "audit-entry": [Route(ADMIN, args=("@entry",), status=(200,), forbidden=("analyst", "approver", "no role"))],
    "audit-check": [
        Route(SOME_ADMIN, status=(302,), forbidden=NO_ADMIN),
        Route(("superuser",), "post", status=(302,), forbidden=(*NO_ADMIN, "admin", "foreign admin")),
    ],
    "tokens": [
        Route(EVERYBODY_IN, status=(200,)),
        Route(EVERYBODY_IN, "post", data={"name": "CI", "days": 7, "scopes": ["act"]}, status=(200,)),
        Route((), "post", data={"days": 7}, invalid=EVERYBODY_IN),
    ],
    "token-revoke": [Route(ADMIN, "post", ("@token",), status=(302,))],
    "notices": [Route(EVERYBODY_IN, status=(200,))],
    "notice-settings": [
        Route(EVERYBODY_IN, status=(200,)),
        Route((), "post", data={"kind": "slack", "name": "x", "address": "https://x.example"}, invalid=EVERYBODY_IN),
    ],
    "account-channels": [
        Route(ADMIN, args=("@account",), status=(200,), forbidden=("analyst", "approver")),
        Route(ADMIN, "post", ("@account",), status=(422,), forbidden=("analyst", "approver")),
    ],
    # The channel of an account belongs to its admins; another person's own is nobody's here.
    "channel-topics": [
        Route(ADMIN, "post", ("@channel",), status=(302,)),
        Route((), "post", ("@own_channel",)),
    ],
    "channel-test": [Route(ADMIN, "post", ("@channel",), status=(302,)), Route((), "post", ("@own_channel",))],
    "channel-key": [Route(ADMIN, "post", ("@channel",), status=(200,)), Route((), "post", ("@own_channel",))],
    "channel-remove": [Route(ADMIN, "post", ("@channel",), status=(302,)), Route((), "post", ("@own_channel",))],
    "notices-read": [Route(EVERYBODY_IN, "post", status=(302,))],
}


def more_objects(made: dict[str, object], now: datetime) -> dict[str, object]:
    """Objects on the account `made["account"]` that addresses of these pages name: a run, and an open request."""
    account, asker = made["account"], made["person"]
    run = runs.run_start(person=asker, account=account, name="Acme US", now=now)
    step = Step.objects.get(run=run, key="create-instance")
    params = {"instanceName": "Acme US", "awsAccountId": "111122223333", "acrBacked": True}
    call = Call("instance", "Create the instance", "amc", "createInstance", params, effect="create")
    Step.objects.filter(pk=step.pk).update(plan=dump([call]), digest="0" * 64)
    request = Request.objects.create(
        account=account,
        step=step,
        title="Create the instance Acme US",
        plan=dump([call]),
        digest="0" * 64,
        asked_by=asker,
        asked_at=now,
        expires_at=now + timedelta(days=14),
    )
    aws = AwsConnection.objects.create(account=account, aws_account_id="111122223333")
    invitation = PartnerInvitation.objects.create(
        connection=aws,
        instance=run.instance,
        partner_name="Source Data 1",
        token_hash=hashlib.sha256(b"the-token").hexdigest(),
        made_at=now,
        expires_at=now + timedelta(days=7),
    )
    token, _ = tokens.make(asker, name="CI", may_act=True, may_approve=False, days=7, now=now)
    there = Instance.objects.create(account=account, name="There", instance_id="amcthere", status_since=now)
    dataset = Dataset.objects.create(
        instance=run.instance, aws_account_id="111122223333", name="customers", bucket="acme-data", made_at=now
    )
    version = DatasetVersion.objects.create(dataset=dataset, number=1, run=run, origin="s3", made_at=now)
    job = IdentityJob.objects.create(version=version, kind="look", settings={}, asked_at=now, next_attempt_at=now)
    return {
        "instance": run.instance,
        "dataset": dataset,
        "identity_job": job,
        "version": version,
        "file": SourceFile.objects.create(version=version, bucket="b", key="k", size=1, state="uploading"),
        "mapping_table": MappingTable.objects.create(
            instance=run.instance, table_id="table", name="customers", queryable=True, seen_at=now
        ),
        "request": request,
        "aws": aws,
        "token": token,
        "invitation": invitation,
        "run": runs.begin("advertisers", person=asker, instance=there, now=now),
        "step": step,
        "channel": Channel.objects.create(account=account, kind="webhook", name="Hook", made_at=now),
        "own_channel": Channel.objects.create(person=asker, kind="slack", name="Mine", made_at=now),
        # Its address holds its number.
        "entry": AuditEntry(pk=AuditEntry.objects.filter(account=account).latest("number").number),
        "view": SavedView.objects.create(person=asker, page="runs", name="Mine", query="at=join", made_at=now),
        "difference": Difference.objects.create(
            instance=run.instance, kind="bucket", subject="acme", aspect="region", since=now, seen_at=now
        ),
        "user_invitation": UserInvitation.objects.create(
            account=account, email="v@example.com", name="V", role="viewer", invited_at=now, tried_at=now
        ),
    }
