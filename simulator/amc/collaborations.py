"""The Clean Rooms collaboration behind an instance, seen from AMC (guide 4).

AMC creates it in Clean Rooms once the instance is there and joins for its own members; the customer has to join by
itself. Some time after that AMC says ACTIVE. Whoever leaves can't come back.
"""

from __future__ import annotations

from datetime import datetime

from simulator.amc import instances
from simulator.amc.context import Amc, Answer, Call
from simulator.amc.errors import ApiError, bad_request
from simulator.aws import collaborations as cleanrooms
from simulator.aws.collaborations import CollaborationMemberSpec
from simulator.store import Document

SERVICE = "305214887761"
"""The AWS account with which AMC creates collaborations."""
QUERY_SUBMITTER = "657425294073"
RESULTS_RECEIVER = "813176346477"
DATA_PROVIDER = "418206637154"
"""The AWS account with Amazon's data; mapping tables and the TARGET ID namespace are its own."""
DATA_PROVIDERS = {
    DATA_PROVIDER: "Amazon Advertising Data Provider",
    "529317748265": "Lookalike Audience Generator",
    "630428859376": "Advertiser Uploaded Data Provider",
    "741539960487": "Third-party Paid Data Provider",
}
"""AMC's members with data, by AWS account; made up, like all of AMC's accounts but the two that guides name."""
OWN = {
    SERVICE: "AMC service",
    **DATA_PROVIDERS,
    RESULTS_RECEIVER: "AMC Results Receiver",
    QUERY_SUBMITTER: "Query Submitter",
}
"""All of AMC's own AWS accounts, by what they are called in a collaboration."""


def find(amc: Amc, call: Call) -> Document:
    """The instance in the path, if it has a collaboration; 404 or 400 otherwise."""
    instance = instances.find(amc, call)
    if not instance["acr"]:
        raise bad_request("This is only available for instances that are backed by AWS Clean Rooms.")
    return instance


def find_active(amc: Amc, call: Call) -> Document:
    """Like `find`, and 400 unless the collaboration is ACTIVE."""
    instance = find(amc, call)
    state = status(amc, instance)
    if state != "ACTIVE":
        raise bad_request(f"The collaboration is {state}; this needs it to be ACTIVE.")
    return instance


def begin(amc: Amc, due: Document) -> None:
    """Create the collaboration in Clean Rooms and join for AMC's own members; inside a change."""
    key = instances.key_of(due["account"], due["instance"])
    instance = amc.table("instances").get(key)
    if instance is None:
        return
    collaboration = cleanrooms.create_collaboration(
        amc.world,
        amc.clock,
        creator_account=SERVICE,
        name=instances.collaboration_name(instance),
        description=instances.collaboration_description(instance),
        members=_members(amc, instance),
    )
    for account in (SERVICE, *DATA_PROVIDERS, RESULTS_RECEIVER, QUERY_SUBMITTER):
        cleanrooms.create_service_membership(amc.world, amc.clock, collaboration, account)
    amc.table("instances").put(key, {**instance, "collaboration_id": collaboration})


def _members(amc: Amc, instance: Document) -> list[CollaborationMemberSpec]:
    customer_pays = (amc.world.table("settings").get("payment") or {}).get("customer", False)
    specs = [
        CollaborationMemberSpec(SERVICE, "AMC service", (), False),
        CollaborationMemberSpec(instance["aws_account"], "Advertiser", ("CAN_RECEIVE_RESULTS",), customer_pays),
    ]
    specs += [CollaborationMemberSpec(account, name, (), False) for account, name in DATA_PROVIDERS.items()]
    specs.append(CollaborationMemberSpec(RESULTS_RECEIVER, "AMC Results Receiver", ("CAN_RECEIVE_RESULTS",), False))
    specs.append(CollaborationMemberSpec(QUERY_SUBMITTER, "Query Submitter", ("CAN_QUERY",), not customer_pays))
    for partner in instance["partners"]:
        specs.append(
            CollaborationMemberSpec(
                partner["awsAccountId"], partner["displayName"], tuple(partner.get("abilities", ())), False
            )
        )
    return specs


def status(amc: Amc, instance: Document) -> str:
    """The collaboration's status as AMC tells it."""
    if instance["failed"]:
        return "NOT_STARTED" if amc.now < instance["completed_at"] else "REJECTED"
    if amc.now < instance["in_progress_at"]:
        return "NOT_STARTED"
    if not instance["collaboration_id"]:
        return "IN_PROGRESS"
    customer = _customer(amc, instance)
    if customer is None or customer["status"] in ("LEFT", "REMOVED"):
        return "DELETED"
    if customer["status"] == "INVITED":
        return "PENDING_ACCEPTANCE"
    joined = datetime.fromisoformat(customer["joinedAt"]).timestamp()
    return "ACTIVE" if amc.now >= joined + amc.pace.seconds("collaboration_active") else "PENDING_ACCEPTANCE"


def _customer(amc: Amc, instance: Document) -> Document | None:
    found = cleanrooms.members(amc.world, instance["collaboration_id"])
    return next((one for one in found if one["accountId"] == instance["aws_account"]), None)


def get(amc: Amc, call: Call) -> Answer:
    """getInstanceCollaboration."""
    instance = instances.find(amc, call)
    if not instance["acr"]:
        raise ApiError(404, "Not Found: the instance has no collaboration; it is not backed by AWS Clean Rooms.")
    answer: Document = {
        "id": instance["collaboration_id"],
        "name": instances.collaboration_name(instance),
        "description": instances.collaboration_description(instance),
        "status": status(amc, instance),
    }
    if not instance["collaboration_id"]:
        return 200, {"collaboration": answer}
    answer["customerAcceptanceLink"] = (
        "https://us-east-1.console.aws.amazon.com/cleanrooms/home?region=us-east-1#/collaborations/"
        f"{instance['collaboration_id']}"
    )
    members = {one["accountId"]: _member(one) for one in cleanrooms.members(amc.world, instance["collaboration_id"])}
    partners = [partner["awsAccountId"] for partner in instance["partners"]]
    receiving = [one["awsAccountId"] for one in instance["partners"] if one.get("abilities")]
    answer |= {
        "creator": members[SERVICE],
        "customer": members[instance["aws_account"]],
        "customerPartners": [members[account] for account in partners],
        "amcDataProviders": [members[account] for account in DATA_PROVIDERS],
        "querySubmitter": members[QUERY_SUBMITTER],
        "resultsReceivers": [members[one] for one in (instance["aws_account"], RESULTS_RECEIVER, *receiving)],
    }
    return 200, {"collaboration": answer}


def _member(member: Document) -> Document:
    shown = {key: member[key] for key in ("accountId", "displayName", "status")}
    return {**shown, "membershipId": member["membershipId"]} if member["membershipId"] else shown
