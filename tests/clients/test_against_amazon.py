"""The client against the local Amazon, over the wire."""

import time

import pytest

from onboarding.clients.amc import AmcClient, request_for
from onboarding.clients.failures import Fix, Later

NEW = {"instanceName": "Acme US", "awsAccountId": "555566667777", "acrBacked": True, "advertiserName": "Acme"}


def test_an_instance_is_created_read_listed_and_deleted(connected):
    client = AmcClient.of(connected)
    made = client.call("createInstance", {**NEW, "idempotencyToken": "t-1"})["instance"]
    again = client.call("createInstance", {**NEW, "idempotencyToken": "t-1"})["instance"]
    assert made["instanceId"] == again["instanceId"]
    assert client.call("getInstance", {"instanceId": made["instanceId"]})["instance"]["instanceName"] == "Acme US"
    pages = []
    listed = client.pages("listInstances", {"limit": 1}, "instances", before=lambda: pages.append(1))
    names = [one["instanceName"] for one in listed]
    assert names.count("Acme US") == 1 and len(pages) == len(names) > 1
    collaboration = client.call("getInstanceCollaboration", {"instanceId": made["instanceId"]})["collaboration"]
    assert collaboration["status"]
    assert (
        list(client.pages("getInstanceAdvertisers", {"instanceId": made["instanceId"], "limit": 9}, "advertisers"))
        == []
    )
    assert client.call("deleteInstance", {"instanceId": made["instanceId"]}) == {}
    with pytest.raises(Fix) as caught:
        client.call("getInstance", {"instanceId": made["instanceId"]})
    assert caught.value.status == 404


def test_people_are_invited(connected):
    invitation = {
        "user": {"emailAddress": "new@example.com", "userName": "New"},
        "permissionSet": {"type": "ROLE", "role": {"name": "viewer"}},
    }
    body = {"userInvitationRequests": [invitation], "notifyInvitedUsers": True}
    assert len(AmcClient.of(connected).call("inviteUsers", body)["success"]) == 1


def test_what_amazon_refuses_is_told_in_plain_words(connected):
    with pytest.raises(Fix) as caught:
        AmcClient.of(connected).call("createInstance", {**NEW, "instanceName": "No!"})
    assert "instanceName" in caught.value.details["amazon"]
    # Which answer it is about is said openly.
    assert caught.value.why.endswith(caught.value.details["amazon"]) and "Amazon says: instanceName" in caught.value.why
    assert "that Amazon names" in caught.value.todo
    assert caught.value.request_id


def test_throttling_and_cut_connections(amazon, connected):
    client = AmcClient.of(connected)
    amazon.rule("amc:listInstances", kind="throttle", retry_after=3)
    with pytest.raises(Later) as caught:
        client.call("listInstances")
    assert caught.value.retry_after == 3
    for kind in ("cut_before", "cut_after"):
        amazon.rule("amc:createInstance", kind=kind)
        with pytest.raises(Later) as caught:
            client.call("createInstance", NEW)
        assert caught.value.ambiguous
    names = [one["instanceName"] for one in client.pages("listInstances", None, "instances")]
    assert names.count("Acme US") == 1


def test_the_whole_call_is_over_in_time(amazon, connected, settings):
    settings.CALL_TIMEOUT = 0.5
    amazon.rule("amc:listInstances", kind="slow", seconds=5)
    client, began = AmcClient.of(connected), time.monotonic()
    with pytest.raises(Later) as caught:
        client.call("listInstances")
    assert time.monotonic() - began < 4
    assert not caught.value.ambiguous


def test_what_is_sent_is_what_request_for_says(amazon, connected):
    AmcClient.of(connected).call("listInstances", {"limit": 7})
    (listed,) = amazon.exchanges("amc:listInstances")
    said = request_for("listInstances", {"limit": 7}, connected)
    assert f"{listed['path']}?{listed['query']}" == said.path
    sent = {name.lower(): value for name, value in listed["request_headers"].items()}
    assert said.headers.items() <= {name: sent.get(name.lower()) for name in said.headers}.items()
    assert "access_token" not in listed["query"]
