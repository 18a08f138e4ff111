"""Putting right: the plan holds exactly the calls that mend what was picked, and is signed as any other."""

import json

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from onboarding.models import Difference, Request, Run
from onboarding.services import lifecycle
from onboarding.services.errors import Refused
from tests.engine.conftest import person
from tests.pages.conftest import text_of
from tests.simulated import browser

pytestmark = pytest.mark.django_db


@pytest.fixture
def spoilt(drifting):
    """Four things changed by somebody."""
    drifting.compare()
    drifting.point_to("acme-old", resultFormat="PARQUET", keyPrefix="amc")
    drifting.client("s3").delete_public_access_block(Bucket="acme-old")
    iam, name = drifting.client("iam"), {"RoleName": drifting.role}
    trust = iam.get_role(**name)["Role"]["AssumeRolePolicyDocument"]
    trust["Statement"] = trust["Statement"][:1]
    iam.update_assume_role_policy(**name, PolicyDocument=json.dumps(trust))
    policy = iam.get_role_policy(**name, PolicyName="receive-results")["PolicyDocument"]
    policy["Statement"][1]["Action"] = ["s3:PutObject", "s3:GetObject"]
    iam.put_role_policy(**name, PolicyName="receive-results", PolicyDocument=json.dumps(policy))
    return drifting


def picked(life, rows) -> Request:
    life.begin("put-right")
    life.answer("put-right", "which", which=[str(row.pk) for row in rows])
    life.answer("put-right", "who", who="portal")
    return life.submit("put-right")


def test_exactly_what_was_picked(spoilt):
    life, rows = spoilt.life, spoilt.compare()
    assert [row.aspect for row in rows] == ["public", "format", "policy:receive-results", "trust"]
    request = picked(life, [row for row in rows if row.aspect != "format"])
    assert [call["operation"] for call in request.plan] == [
        "PutPublicAccessBlock",
        "UpdateAssumeRolePolicy",
        "PutRolePermissionsBoundary",
        "PutRolePolicy",
    ]
    assert life.work("put-right").state == "done", life.step("put-right").failure
    life.run.refresh_from_db()
    assert life.run.ended_at is not None
    assert [row.aspect for row in Difference.objects.open()] == ["format"]
    assert spoilt.aspects() == [("membership", "format")]
    request = picked(life, spoilt.compare())
    assert [call["operation"] for call in request.plan] == ["UpdateMembership"]
    assert life.work("put-right").state == "done", life.step("put-right").failure
    assert spoilt.membership()["defaultResultConfiguration"]["outputConfiguration"]["s3"]["resultFormat"] == "CSV"
    assert spoilt.compare() == []
    with pytest.raises(Refused, match="nothing"):
        life.begin("put-right")


def test_a_role_that_was_deleted_is_made_again(drifting):
    life, iam = drifting.life, drifting.client("iam")
    drifting.compare()
    iam.delete_role_policy(RoleName=drifting.role, PolicyName="receive-results")
    iam.delete_role(RoleName=drifting.role)
    request = picked(life, drifting.compare())
    assert [call["operation"] for call in request.plan] == ["CreateRole"]
    assert life.work("put-right").state == "done", life.step("put-right").failure
    # What it may do is missing still: found, and put right as well.
    request = picked(life, drifting.compare())
    assert [call["operation"] for call in request.plan] == ["PutRolePermissionsBoundary", "PutRolePolicy"]
    assert life.work("put-right").state == "done", life.step("put-right").failure
    assert drifting.compare() == []


def test_advertisers_are_put_right(drifting):
    life = drifting.life
    for number in ("123", "456"):
        life.amc("POST", "/advertisers/updates", advertisersToAdd=[{"id": number, "type": "DISPLAY"}])
        life.amazon.control("POST", "clock", advance=86_400)
        rows = drifting.compare()
    picked(life, rows)
    assert life.work("put-right").state == "done"
    life.submit("put-right-advertisers")
    life.amazon.control("POST", "pace", preset="fast")
    assert life.work("put-right-advertisers").state == "done", life.step("put-right-advertisers").failure
    assert life.advertisers() == ["123"]
    assert drifting.compare() == []


def test_the_pages(spoilt):
    life, rows = spoilt.life, spoilt.compare()
    analyst = browser(life.analyst)
    here = f"/instances/{life.instance.pk}/differences/"
    assert "4 things are otherwise" in text_of(analyst.get(f"/instances/{life.instance.pk}/"))
    page = text_of(analyst.get(here))
    assert "Format of results" in page and "PARQUET" in page and "Accept as it is now" in page
    assert analyst.get("/differences/").status_code == 403
    admin = browser(person(life.account, "Ada", "admin"))
    assert "Who may use the role" in text_of(admin.get("/differences/"))
    run = analyst.post(f"/instances/{life.instance.pk}/runs/start", {"procedure": "put-right"})
    life.run = Run.objects.get(pk=run["Location"].split("/")[2])
    steps = f"/runs/{life.run.pk}/steps/put-right"
    question = text_of(analyst.get(f"{steps}/q/which/"))
    assert "Closed to the public (acme-old)" in question
    assert analyst.post(f"{steps}/q/which/", {}).status_code == 422
    analyst.post(f"{steps}/q/which/", {"which": [rows[0].pk, rows[1].pk]})
    analyst.post(f"{steps}/q/who/", {"who": "portal"})
    review = text_of(analyst.get(f"{steps}/review/"))
    assert "PutPublicAccessBlock" in review and "UpdateMembership" in review and "PutRolePolicy" not in review
    accepted = analyst.post(f"/differences/{rows[1].pk}/accept", follow=True)
    assert "Accepted" in text_of(accepted)
    assert "Accepted as it is" in text_of(analyst.get(here))

    def queries(client, url: str) -> int:
        with CaptureQueriesContext(connection) as seen:
            assert client.get(url).status_code == 200
        return len(seen)

    few = queries(analyst, here), queries(admin, "/differences/")
    for number in range(20):
        Difference.objects.create(
            instance=life.instance,
            kind="bucket",
            subject=f"b{number}",
            aspect="public",
            since=spoilt.at,
            seen_at=spoilt.at,
        )
    assert (queries(analyst, here), queries(admin, "/differences/")) == few
    assert max(few) <= 16


def test_whoever_acts_alone_gets_commands(spoilt):
    life, rows = spoilt.life, spoilt.compare()
    life.begin("put-right")
    life.answer("put-right", "which", which=[str(row.pk) for row in rows])
    life.answer("put-right", "who", who="ourselves")
    life.ask("put-right")
    assert not any(call["effect"] in ("create", "update", "delete") for call in life.step("put-right").plan)
    assert life.work("put-right").state == "failed"
    assert lifecycle.why_not("put-right", life.instance) == "Putting right is under way."
