"""Instances and advertisers of the AMC administration API."""

import re

import pytest

from simulator.amc import instances
from simulator.people import CATALOGUE, HARBOUR, LUMEN
from tests.simulator.asking import INSTANCES, Asking, dump

AWS = HARBOUR.aws_accounts[0]
SLOW = {"instance_submitted": 10, "instance_in_progress": 10, "instance_completed": 10, "collaboration_pending": 10}


def test_the_accounts_that_a_person_may_see(simulator):
    for person, names in {
        "analyst": ["Harbour and Pine", "Big Catalogue"],
        "agency": ["Lumen Media Agency"],
        "outsider": [],
    }.items():
        response = Asking(simulator, person)("GET", "/amc/accounts", status=200)
        assert response.content_type == "application/vnd.amcaudiencesconnections.v1+json"
        assert [one["accountName"] for one in response.json["amcAccounts"]] == names
        assert response.json["nextToken"] is None


def test_an_instance_comes_about_step_by_step(simulator, ask):
    simulator.pace.set(SLOW)
    made = ask("POST", "/amc/instances", {"instanceName": "my_first one", "awsAccountId": AWS, "acrBacked": True})
    instance = made.json["instance"]
    assert made.content_type == INSTANCES
    assert re.fullmatch(r"amc[a-z0-9]{8}", instance["instanceId"])
    assert instance["acrCollaboration"] == {
        "id": "",
        "name": f"AMC {instance['instanceId']}",
        "description": f"AMC Clean Room collaboration for instance {instance['instanceId']}",
    }
    path = f"/amc/instances/{instance['instanceId']}"
    seen = [instance["creationStatus"]]
    collaboration = [ask("GET", f"{path}/collaboration").json["collaboration"]["status"]]
    for _ in range(4):
        simulator.clock.advance(10.5)
        seen.append(ask("GET", path, status=200).json["instance"]["creationStatus"])
        collaboration.append(ask("GET", f"{path}/collaboration").json["collaboration"]["status"])
    assert seen == ["REQUESTED", "SUBMITTED", "IN_PROGRESS", "COMPLETED", "COMPLETED"]
    assert collaboration == ["NOT_STARTED", "NOT_STARTED", "IN_PROGRESS", "IN_PROGRESS", "PENDING_ACCEPTANCE"]
    assert ask("GET", path).json["instance"]["acrCollaboration"]["id"]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"acrBacked": "true"}, "not of type 'boolean'"),
        ({"s3BucketName": "results"}, "s3BucketName must not be given"),
        ({"awsAccountId": None}, "awsAccountId is required"),
        ({"awsAccountId": "12345"}, "12 digits"),
        ({"awsAccountId": "١٢٣٤٥٦٧٨٩٠١٢"}, "12 digits"),
        ({"instanceName": "ab"}, "3 to 50"),
        ({"instanceName": "a" * 51}, "3 to 50"),
        ({"instanceName": "näme"}, "3 to 50"),
        ({"instanceName": "line\n"}, "3 to 50"),
        ({"instanceName": None}, "instanceName"),
        ({"instanceName": 7}, "not of type 'string'"),
        ({"advertiserName": " Pine"}, "neither start nor end"),
        ({"advertiserName": "Pine & Co"}, "advertiserName"),
        ({"surprise": 1}, "surprise"),
        ({"idempotencyToken": ""}, "idempotencyToken"),
        ({"acrCustomerPartners": [{"awsAccountId": AWS, "displayName": "Me again"}]}, "only once"),
        ({"acrCustomerPartners": [{"awsAccountId": "222233334444"}]}, "displayName"),
        ({"acrCustomerPartners": [{"awsAccountId": "222233334444", "displayName": "A", "abilities": ["X"]}]}, "X"),
        ({"acrCustomerPartners": [{"awsAccountId": f"{n}", "displayName": "P"} for n in (1, 2, 3)]}, "Partners"),
        ({"acrBacked": False, "acrCustomerPartners": [{"awsAccountId": "222233334444"}]}, "only be given with"),
    ],
)
def test_a_wrong_instance_is_refused_and_nothing_is_made(simulator, ask, changes, complaint):
    body = {"instanceName": "Fine name", "awsAccountId": AWS, "acrBacked": True, **changes}
    before = dump(simulator)
    refused = ask("POST", "/amc/instances", {name: value for name, value in body.items() if value is not None})
    assert refused.status_code == 400
    assert refused.json["code"] == "400" and complaint in refused.json["details"]
    assert dump(simulator) == before


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"Authorization": None}, 401),
        ({"Authorization": "Bearer Atza|nobody"}, 401),
        ({"Authorization": "Basic abc"}, 401),
        ({"Amazon-Advertising-API-ClientId": None}, 400),
        ({"Amazon-Advertising-API-ClientId": "other"}, 401),
        ({"Amazon-Advertising-API-AdvertiserId": None}, 400),
        ({"Amazon-Advertising-API-MarketplaceId": None}, 400),
        ({"Amazon-Advertising-API-MarketplaceId": "A1F83G8C2ARO7P"}, 400),
        ({"Amazon-Advertising-API-AdvertiserId": "ENTITYNOBODY"}, 403),
        ({"Accept": "text/csv"}, 415),
        ({"Accept": "application/json"}, 415),
    ],
)
def test_headers_are_demanded(ask, changes, status):
    refused = ask("GET", "/amc/instances", headers=changes)
    assert refused.status_code == status and refused.json["code"] == str(status)
    assert refused.content_type == INSTANCES


def test_errors_on_accounts_have_their_own_shape(ask):
    refused = ask("GET", "/amc/accounts", headers={"Authorization": None}, status=401)
    assert set(refused.json) == {"message", "requestId"}


def test_the_body_must_be_of_the_right_media_type_and_json(ask):
    body = {"instanceName": "Fine name"}
    assert ask("POST", "/amc/instances", body, content_type="application/json").status_code == 415
    for data in ("{", "[]", "null", '{"instanceName": NaN}', "[" * 100_000, b"\xff\xfe"):
        response = ask.client.post("/amc/instances", data=data, headers=ask.headers, content_type=INSTANCES)
        assert response.status_code == 400, data[:20]


def test_who_may_what(simulator, ask):
    instance = ask.create()
    analyst, outsider, agency = (Asking(simulator, person) for person in ("analyst", "outsider", "agency"))
    assert analyst("GET", f"/amc/instances/{instance}").status_code == 200
    assert analyst("POST", "/amc/instances", {"instanceName": "Mine"}).status_code == 403
    assert analyst("DELETE", f"/amc/instances/{instance}").status_code == 403
    for stranger in (outsider, agency):
        assert stranger("GET", f"/amc/instances/{instance}").status_code == 403
    ours = Asking(simulator, "agency", LUMEN.id, LUMEN.marketplace)
    assert ours("GET", f"/amc/instances/{instance}").status_code == 404
    plain = simulator.login.issue("admin", ["profile"])["access_token"]
    assert ask("GET", "/amc/instances", headers={"Authorization": f"Bearer {plain}"}).status_code == 401


def test_a_token_expires_and_can_be_revoked(simulator, ask):
    simulator.clock.advance(3599)
    assert ask("GET", "/amc/instances").status_code == 200
    simulator.clock.advance(2)
    assert ask("GET", "/amc/instances").status_code == 401
    fresh = Asking(simulator)
    assert fresh("GET", "/amc/instances").status_code == 200
    fresh.control("POST", "people/admin/revoke")
    assert fresh("GET", "/amc/instances").status_code == 401


def test_the_same_idempotency_token_makes_one_instance(simulator, ask):
    first = ask.create(idempotencyToken="once")
    assert ask.create(idempotencyToken="once") == first
    other = {"instanceName": "Another", "awsAccountId": AWS, "acrBacked": True, "idempotencyToken": "once"}
    assert ask("POST", "/amc/instances", other).status_code == 400
    assert len([one for one in _all(ask) if one["instanceType"] == "STANDARD"]) == 1
    lumen = Asking(simulator, "agency", LUMEN.id, LUMEN.marketplace)
    assert lumen.create(idempotencyToken="once") != first


def _all(ask, **query):
    found, token = [], None
    while True:
        page = ask("GET", "/amc/instances?" + "&".join(f"{k}={v}" for k, v in {**query, **(token or {})}.items()))
        found += page.json["instances"]
        if page.json["nextToken"] is None:
            return found
        token = {"nextToken": page.json["nextToken"]}


def test_paging_gives_each_instance_once(simulator):
    ask = Asking(simulator, account=CATALOGUE.id, marketplace=CATALOGUE.marketplace)
    ask.control("POST", "seed-instances", {"account": CATALOGUE.id, "count": 205})
    first = ask("GET", "/amc/instances", status=200).json
    assert len(first["instances"]) == 100 and first["nextToken"]
    for limit in (7, 100):
        ids = [one["instanceId"] for one in _all(ask, limit=limit)]
        assert len(ids) == len(set(ids)) == 206
    assert ask("GET", "/amc/instances?nextToken=nonsense").status_code == 422
    for limit in ("0", "101", "-1", "ten", "", "٣"):
        assert ask("GET", f"/amc/instances?limit={limit}").status_code == 422


def test_a_token_of_another_list_is_refused(simulator, ask):
    simulator.change_settings({"page_size": 1})
    ask.create()
    token = ask("GET", "/amc/instances").json["nextToken"]
    instance = ask.create("Second one")
    assert ask("GET", f"/amc/instances/{instance}/advertisers?nextToken={token}").status_code == 400


def test_the_quota_of_instances(simulator):
    ask = Asking(simulator, account=CATALOGUE.id, marketplace=CATALOGUE.marketplace)
    ask.control("POST", "seed-instances", {"account": CATALOGUE.id, "count": instances.QUOTA - 1})
    before = len(simulator.amc.table("instances"))
    refused = ask("POST", "/amc/instances", {"instanceName": "One too many"}, status=400)
    assert "4000" in refused.json["details"]
    assert len(simulator.amc.table("instances")) == before


def test_changing_and_deleting_an_instance(simulator, ask):
    simulator.pace.set(SLOW)
    instance = ask.create()
    path = f"/amc/instances/{instance}"
    assert ask("PUT", path, {"instanceName": "Renamed"}).json["instance"]["instanceName"] == "Renamed"
    assert ask("PUT", path, {"s3BucketName": "a-bucket"}).status_code == 400
    assert ask("PUT", path, {"awsAccountId": "222233334444"}).status_code == 400
    assert ask("POST", f"{path}/updateCustomerAwsAccount", {"awsAccountId": AWS, "bucketName": "b"}).status_code == 400
    assert "REQUESTED" in ask("DELETE", path, status=400).json["details"]
    simulator.clock.advance(60)
    gone = ask("DELETE", path, status=204)
    assert gone.data == b""
    assert ask("GET", path).status_code == 404
    assert ask("DELETE", path).status_code == 404


def test_an_instance_without_a_collaboration(ask):
    made = ask("POST", "/amc/instances", {"instanceName": "Plain", "awsAccountId": AWS, "s3BucketName": "amc-results"})
    path = f"/amc/instances/{made.json['instance']['instanceId']}"
    assert "acrCollaboration" not in made.json["instance"]
    assert ask("GET", f"{path}/collaboration").status_code == 404
    assert ask("POST", f"{path}/collaboration/idmappingtables/list", {}).status_code == 400
    body = {"awsAccountId": "222233334444", "bucketName": "amc-other"}
    assert "amc-other" in ask("POST", f"{path}/updateCustomerAwsAccount", body, status=200).json["cfnBucketUrl"]
    changed = ask("GET", path).json["instance"]
    assert (changed["awsAccountId"], changed["s3BucketName"]) == ("222233334444", "amc-other")


def test_the_sandbox_stays(ask):
    sandbox = next(one for one in _all(ask) if one["instanceType"] == "SANDBOX")
    assert sandbox["creationStatus"] == "SUCCEEDED"
    assert ask("DELETE", f"/amc/instances/{sandbox['instanceId']}").status_code == 400


def test_unknown_paths_and_methods(ask):
    assert ask("GET", "/amc/nothing").status_code == 404
    assert ask("GET", "/amc/instances/").status_code == 404
    refused = ask("PATCH", "/amc/instances")
    assert refused.status_code == 405 and refused.headers["Allow"] == "GET, POST"


# Advertisers

ONE = {"id": "5771", "type": "DISPLAY"}
TWO = {"id": "ENTITYPINE2", "type": "SPONSORED_ADS", "marketplaceId": "ATVPDKIKX0DER"}


def _update(ask, instance, add=(), remove=(), status=200):
    body = {"advertisersToAdd": list(add), "advertisersToRemove": list(remove)}
    return ask("POST", f"/amc/instances/{instance}/advertisers/updates", body, status=status).json


def test_advertisers_come_and_go_by_updates(simulator, ask):
    instance = ask.create()
    simulator.pace.set({"advertiser_updating": 10, "advertiser_completed": 10, "advertiser_review": 1000})
    made = _update(ask, instance, [ONE])["advertiserUpdate"]
    assert (made["updateId"], made["status"]) == (0, "PENDING")
    path = f"/amc/instances/{instance}/advertisers"
    _update(ask, instance, [TWO], status=400)
    simulator.clock.advance(11)
    assert ask("GET", f"{path}/updates/0").json["advertiserUpdate"]["status"] == "UPDATING"
    _update(ask, instance, [TWO], status=400)
    assert ask("GET", path).json["totalCount"] == 0
    simulator.clock.advance(10)
    assert ask("GET", f"{path}/updates/0").json["advertiserUpdate"]["status"] == "COMPLETED"
    assert _update(ask, instance, [TWO], [ONE])["advertiserUpdate"]["updateId"] == 1
    simulator.clock.advance(25)
    shown = ask("GET", path).json
    assert [one["id"] for one in shown["advertisers"]] == ["ENTITYPINE2"] and shown["totalCount"] == 1
    assert ask("GET", f"{path}?type=DISPLAY").json["advertisers"] == []
    assert ask("GET", f"{path}?type=TV").status_code == 400
    assert ask("GET", f"/amc/instances/{instance}").json["instance"]["advertiserTypes"] == ["SPONSORED_ADS"]
    listed = ask("GET", f"{path}/updates").json["advertiserUpdates"]
    assert listed == [{"updateId": 1, "status": "COMPLETED"}, {"updateId": 0, "status": "COMPLETED"}]


def test_several_advertisers_wait_for_a_review(simulator, ask):
    instance = ask.create()
    simulator.pace.set({"advertiser_updating": 10, "advertiser_completed": 10, "advertiser_review": 1000})
    _update(ask, instance, [ONE, TWO])
    simulator.clock.advance(900)
    path = f"/amc/instances/{instance}/advertisers/updates/0"
    assert ask("GET", path).json["advertiserUpdate"]["status"] == "PENDING"
    simulator.clock.advance(200)
    assert ask("GET", path).json["advertiserUpdate"]["status"] == "COMPLETED"


def test_an_advertiser_of_somebody_else_is_rejected(ask):
    instance = ask.create()
    _update(ask, instance, [{"id": "999123", "type": "DISPLAY"}])
    update = ask("GET", f"/amc/instances/{instance}/advertisers/updates/0").json["advertiserUpdate"]
    assert update["status"] == "REJECTED" and "no access" in update["reason"]
    assert ask("GET", f"/amc/instances/{instance}/advertisers").json["totalCount"] == 0
    _update(ask, instance, [ONE])


@pytest.mark.parametrize(
    ("add", "remove"),
    [
        ([], []),
        ([{"id": "abc", "type": "DISPLAY"}], []),
        ([{**ONE, "marketplaceId": "ATVPDKIKX0DER"}], []),
        ([{"id": "ENTITYPINE2", "type": "SPONSORED_ADS"}], []),
        ([{"id": "5771", "type": "SPONSORED_ADS", "marketplaceId": "ATVPDKIKX0DER"}], []),
        ([{"id": "5771", "advertiserType": "DISPLAY"}], []),
        ([ONE, ONE], []),
        ([], [ONE]),
        ([{"id": str(number), "type": "DISPLAY"} for number in range(11)], []),
    ],
)
def test_a_wrong_update_is_refused(simulator, ask, add, remove):
    instance = ask.create()
    ask("GET", f"/amc/instances/{instance}", status=200)
    before = dump(simulator)
    _update(ask, instance, add, remove, status=400)
    assert dump(simulator) == before


def test_which_updates_exist(ask):
    instance = ask.create()
    path = f"/amc/instances/{instance}/advertisers/updates"
    assert ask("GET", f"{path}/0").status_code == 404
    assert ask("GET", f"{path}/-1").status_code == 404
    assert ask("GET", f"{path}/{10**30}").status_code == 404
    assert ask("GET", f"{path}/first").status_code == 400


# Users

INVITED = {"user": {"emailAddress": "mia@harbour.example", "userName": "Mia"}}
VIEWER = {"permissionSet": {"type": "ROLE", "role": {"name": "viewer"}}}


def test_people_are_invited_once(simulator, ask):
    def invite(who, *people):
        headers = {"Amazon-Ads-AccountId": HARBOUR.id}
        body = {"userInvitationRequests": list(people), "notifyInvitedUsers": True}
        return who("POST", "/user-invitations", body, headers=headers, content_type="application/json")

    answer = invite(ask, {**INVITED, **VIEWER})
    assert answer.status_code == 207 and len(answer.json["success"]) == 1 and answer.json["error"] == []
    again = invite(ask, {**INVITED, **VIEWER}).json
    assert again["success"] == [] and again["error"][0]["index"] == 0
    assert invite(ask, INVITED).status_code == 400
    assert invite(ask).status_code == 400
    assert invite(Asking(simulator, "analyst"), {**INVITED, **VIEWER}).status_code == 403
