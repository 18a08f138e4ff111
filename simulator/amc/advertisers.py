"""The advertisers of an instance, and the updates that change them."""

from __future__ import annotations

import re

from simulator.amc import instances
from simulator.amc.context import PAGE, Amc, Answer, Call, page, whole_number
from simulator.amc.errors import bad_request, not_found
from simulator.store import Document

QUOTA = 2000
"""Advertisers an instance may have."""
NUMERIC = re.compile(r"[0-9]{1,20}")
ENTITY = re.compile(r"ENTITY[A-Z0-9]{1,30}")
FOREIGN = ("999", "ENTITY999")
"""Advertisers whose id begins so belong to somebody else: adding one is rejected after review."""


def _key(account: str, instance: str, update: int) -> str:
    return f"{instances.key_of(account, instance)}/{update:09d}"


def status(update: Document, now: float) -> str:
    """The status of an update at `now`."""
    if now < update["updating_at"]:
        return "PENDING"
    if update["rejected"] is not None:
        return "REJECTED"
    return "UPDATING" if now < update["completed_at"] else "COMPLETED"


def _shown(update: Document, now: float) -> Document:
    state = status(update, now)
    answer = {
        "updateId": update["id"],
        "status": state,
        "advertisersToAdd": update["add"],
        "advertisersToRemove": update["remove"],
    }
    return {**answer, "reason": update["rejected"]} if state == "REJECTED" else answer


def list_(amc: Amc, call: Call) -> Answer:
    """getInstanceAdvertisers."""
    instance = instances.find(amc, call)
    wanted = call.query.get("type")
    if wanted is not None and wanted not in ("DISPLAY", "SAS", "SPONSORED_ADS"):
        raise bad_request("type must be DISPLAY, SAS or SPONSORED_ADS.")
    limit = whole_number(call.query["limit"], 1, PAGE, "limit") if "limit" in call.query else PAGE
    mine = [one for one in instance["advertisers"] if wanted in (None, one["type"])]
    places, token = page(
        amc, [str(place) for place in range(len(mine))], call.query.get("nextToken"), limit, f"advertisers {wanted}"
    )
    shown = [_advertiser(mine[int(place)]) for place in places]
    return 200, {"advertisers": shown, "nextToken": token, "totalCount": len(mine)}


def _advertiser(identifier: Document) -> Document:
    kinds = {"DISPLAY": ["DISPLAY"], "SAS": ["SAS"], "SPONSORED_ADS": ["SPONSORED_BRANDS", "SPONSORED_PRODUCTS"]}
    return {
        **identifier,
        "name": f"Advertiser {identifier['id']}",
        "configuredAdvertiserTypes": kinds[identifier["type"]],
    }


def create_update(amc: Amc, call: Call) -> Answer:
    """createAdvertiserUpdate; one at a time, several advertisers at once wait for a review."""
    call.may_change()
    instance = instances.find(amc, call)
    if instance["kind"] == "SANDBOX":
        raise bad_request("The sandbox instance holds made-up data and takes no advertisers.")
    if instances.status(instance, amc.now) not in ("COMPLETED", "SUCCEEDED"):
        raise bad_request("The instance has not been created yet.")
    add, remove = call.body.get("advertisersToAdd", []), call.body.get("advertisersToRemove", [])
    if not add and not remove:
        raise bad_request("Give at least one advertiser to add or to remove.")
    for identifier in (*add, *remove):
        _check(identifier)
    _check_change(instance["advertisers"], add, remove)
    updates = amc.table("advertiser_updates")
    last = _all(amc, call.account_id, instance["id"])[-1:]
    if last and status(updates[last[0]], amc.now) in ("PENDING", "UPDATING"):
        raise bad_request("Another update of the advertisers is not finished yet; there can be only one at a time.")
    wait = amc.pace.seconds("advertiser_review" if len(add) > 1 else "advertiser_updating")
    update = {
        "id": amc.world.next_number(f"amc.update.{instances.key_of(call.account_id, instance['id'])}"),
        "add": add,
        "remove": remove,
        "updating_at": amc.now + wait,
        "completed_at": amc.now + wait + amc.pace.seconds("advertiser_completed"),
        "rejected": _why_not(add, call.fail),
    }
    key = _key(call.account_id, instance["id"], update["id"])
    updates.put(key, update)
    if update["rejected"] is None:
        amc.later(
            "advertisers", update["completed_at"], key=key, instance=instances.key_of(call.account_id, instance["id"])
        )
    return 200, {"advertiserUpdate": {**_shown(update, amc.now - 1e9)}}


def apply(amc: Amc, due: Document) -> None:
    """Carry out a completed update; inside a change."""
    instance, update = amc.table("instances").get(due["instance"]), amc.table("advertiser_updates").get(due["key"])
    if instance is None or update is None:
        return
    gone = [_same(one) for one in update["remove"]]
    instance["advertisers"] = [one for one in instance["advertisers"] if _same(one) not in gone] + update["add"]
    amc.table("instances").put(due["instance"], instance)


def get_update(amc: Amc, call: Call) -> Answer:
    """getAdvertiserUpdate."""
    instance = instances.find(amc, call)
    number = call.path["updateId"]
    if not re.fullmatch(r"-?[0-9]{1,40}", number, re.ASCII):
        raise bad_request("updateId must be a whole number.")
    update = None
    if 0 <= int(number) < 10**9:
        update = amc.table("advertiser_updates").get(_key(call.account_id, instance["id"], int(number)))
    if update is None:
        raise not_found(f"advertiser update {number}")
    return 200, {"advertiserUpdate": _shown(update, amc.now)}


def list_updates(amc: Amc, call: Call) -> Answer:
    """listAdvertiserUpdates; newest first."""
    instance = instances.find(amc, call)
    limit = whole_number(call.query["limit"], 1, PAGE, "limit") if "limit" in call.query else PAGE
    keys = list(reversed(_all(amc, call.account_id, instance["id"])))
    chosen, token = page(amc, keys, call.query.get("nextToken"), limit, "updates")
    updates = [amc.table("advertiser_updates")[key] for key in chosen]
    shown = [{"updateId": one["id"], "status": status(one, amc.now)} for one in updates]
    return 200, {"advertiserUpdates": shown, "nextToken": token}


def _all(amc: Amc, account: str, instance: str) -> list[str]:
    return amc.table("advertiser_updates").under(f"{instances.key_of(account, instance)}/")


def _same(identifier: Document) -> tuple[str, str, str | None]:
    return identifier["id"], identifier["type"], identifier.get("marketplaceId")


def _check(identifier: Document) -> None:
    kind, name, marketplace = identifier["type"], identifier["id"], identifier.get("marketplaceId")
    if kind == "SPONSORED_ADS" and not ENTITY.fullmatch(name):
        raise bad_request("The id of a SPONSORED_ADS advertiser begins with ENTITY.")
    if kind != "SPONSORED_ADS" and not NUMERIC.fullmatch(name):
        raise bad_request(f"The id of a {kind} advertiser is a number.")
    if kind == "DISPLAY" and marketplace is not None:
        raise bad_request("A DISPLAY advertiser has no marketplaceId.")
    if kind != "DISPLAY" and not marketplace:
        raise bad_request(f"marketplaceId is required for a {kind} advertiser.")


def _check_change(present: list[Document], add: list[Document], remove: list[Document]) -> None:
    there = {_same(one) for one in present}
    adding, removing = [_same(one) for one in add], [_same(one) for one in remove]
    if len(set(adding + removing)) < len(adding) + len(removing):
        raise bad_request("An advertiser is named more than once.")
    if there & set(adding):
        raise bad_request("An advertiser to add is already in the instance.")
    if set(removing) - there:
        raise bad_request("An advertiser to remove is not in the instance.")
    if len(there) + len(adding) - len(removing) > QUOTA:
        raise bad_request(f"An instance can have at most {QUOTA} advertisers.")


def _why_not(add: list[Document], fail: Document | None) -> str | None:
    if fail is not None:
        return str(fail["reason"])
    if any(one["id"].startswith(FOREIGN) for one in add):
        return "The AMC account has no access to one of the advertisers."
    return None
