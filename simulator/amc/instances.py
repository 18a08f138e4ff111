"""Instances: asking for one, watching it come about, changing and deleting it (guide 4)."""

from __future__ import annotations

import hashlib
import json
import re
import secrets

from simulator.amc.context import PAGE, Amc, Answer, Call, page, short_id, stamp, whole_number
from simulator.amc.errors import bad_request, not_found
from simulator.aws import collaborations as cleanrooms
from simulator.store import Document

QUOTA = 4000
"""Instances an AMC account may have."""
NAME = re.compile(r"[A-Za-z0-9_ ]{3,50}")
ADVERTISER = re.compile(r"(?! )[A-Za-z0-9 ]{3,50}(?<! )")
AWS_ACCOUNT = re.compile(r"[0-9]{12}")
BUCKET = re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def key_of(account: str, instance: str) -> str:
    """Where an instance lies in its table."""
    return f"{account}/{instance}"


def find(amc: Amc, call: Call) -> Document:
    """The instance named in the path, if it is in the account of the header; a 404 otherwise."""
    instance = amc.table("instances").get(key_of(call.account_id, call.path["instanceId"]))
    if instance is None:
        raise not_found(f"instance {call.path['instanceId'][:60]}")
    return instance


def status(instance: Document, now: float) -> str:
    """The creation status at `now`."""
    if now < instance["submitted_at"]:
        return "REQUESTED"
    if now < instance["in_progress_at"]:
        return "SUBMITTED"
    if now < instance["completed_at"]:
        return "IN_PROGRESS"
    return "FAILED" if instance["failed"] else str(instance.get("final_status", "COMPLETED"))


def shown(amc: Amc, instance: Document) -> Document:
    """An instance the way the API shows it."""
    now = amc.now
    state = status(instance, now)
    there = state in ("COMPLETED", "SUCCEEDED")
    advertisers = instance["advertisers"]
    answer = {
        "instanceId": instance["id"],
        "instanceName": instance["name"],
        "instanceType": instance["kind"],
        "customerCanonicalName": instance["advertiser_name"],
        "creationStatus": state,
        "creationDatetime": stamp(instance["created_at"]),
        "s3BucketName": instance["bucket"],
        "s3BucketRegion": "us-east-1" if instance["bucket"] else None,
        "awsAccountId": instance["aws_account"],
        "entities": sorted(one["id"] for one in advertisers if one["type"] == "SPONSORED_ADS"),
        "dataUploadAwsAccountId": instance["upload_account"],
        "apiEndpoint": f"https://advertising-api.amazon.com/amc/reporting/{instance['id']}" if there else "",
        "optionalDatasets": [],
        "advertiserTypes": sorted({one["type"] for one in advertisers}),
    }
    if instance["acr"]:
        answer["acrCollaboration"] = {
            "id": instance["collaboration_id"],
            "name": collaboration_name(instance),
            "description": collaboration_description(instance),
        }
    return answer


def collaboration_name(instance: Document) -> str:
    """What AMC calls the collaboration of an instance."""
    return f"AMC {instance['id']}"


def collaboration_description(instance: Document) -> str:
    """How AMC describes the collaboration of an instance."""
    return f"AMC Clean Room collaboration for instance {instance['id']}"


def get(amc: Amc, call: Call) -> Answer:
    """getInstance."""
    return 200, {"instance": shown(amc, find(amc, call))}


def list_(amc: Amc, call: Call) -> Answer:
    """listInstances; oldest first."""
    limit = whole_number(call.query["limit"], 1, PAGE, "limit", 422) if "limit" in call.query else PAGE
    instances = amc.table("instances")
    keys = instances.under(f"{call.account_id}/")
    chosen, token = page(amc, keys, call.query.get("nextToken"), limit, "instances", 422)
    return 200, {"instances": [shown(amc, instances[key]) for key in chosen], "nextToken": token}


def create(amc: Amc, call: Call) -> Answer:
    """createInstance; the same idempotencyToken with the same request makes no second one."""
    call.may_change()
    body = call.body
    _check_new(body)
    token = body.get("idempotencyToken")
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    instances, tokens = amc.table("instances"), amc.table("idempotency")
    if token is not None:
        known = tokens.get(f"{call.account_id}/{token}")
        if known is not None:
            return 200, {"instance": _again(amc, call, known, digest)}
    if len(instances.under(f"{call.account_id}/")) >= QUOTA:
        raise bad_request(f"The AMC account already has {QUOTA} instances, and may not have more.")
    instance = new(amc, call, body)
    instances.put(key_of(call.account_id, instance["id"]), instance)
    if token is not None:
        tokens.put(f"{call.account_id}/{token}", {"digest": digest, "instance": instance["id"]})
    if instance["acr"] and not instance["failed"]:
        amc.later("collaboration", instance["pending_at"], account=call.account_id, instance=instance["id"])
    return 200, {"instance": {**shown(amc, instance), "creationStatus": "REQUESTED", "apiEndpoint": ""}}


def new(amc: Amc, call: Call, body: Document, kind: str = "STANDARD") -> Document:
    """An instance as the table keeps it, made from a request's body."""
    submitted = amc.now + amc.pace.seconds("instance_submitted")
    in_progress = submitted + amc.pace.seconds("instance_in_progress")
    completed = in_progress + amc.pace.seconds("instance_completed")
    return {
        "id": short_id("amc", 8),
        "account": call.account_id,
        "marketplace": call.marketplace,
        "kind": kind,
        "name": body["instanceName"],
        "advertiser_name": body.get("advertiserName", ""),
        "aws_account": body.get("awsAccountId", ""),
        "bucket": body.get("s3BucketName", ""),
        "acr": body.get("acrBacked", False),
        "partners": body.get("acrCustomerPartners", []),
        "upload_account": f"8{secrets.randbelow(10**11):011d}",
        "created_at": amc.now,
        "submitted_at": submitted,
        "in_progress_at": in_progress,
        "completed_at": completed,
        "pending_at": completed + amc.pace.seconds("collaboration_pending"),
        "failed": call.fail,
        "collaboration_id": "",
        "advertisers": [],
    }


def update(amc: Amc, call: Call) -> Answer:
    """updateInstance."""
    call.may_change()
    instance, body = find(amc, call), call.body
    _check_names(body)
    if instance["acr"] and "s3BucketName" in body:
        raise bad_request("s3BucketName can't be set on an instance that is backed by AWS Clean Rooms.")
    if instance["acr"] and body.get("awsAccountId", instance["aws_account"]) != instance["aws_account"]:
        raise bad_request("awsAccountId can't change: it is a member of the instance's collaboration.")
    changes = {"instanceName": "name", "advertiserName": "advertiser_name", "awsAccountId": "aws_account"}
    for field, column in {**changes, "s3BucketName": "bucket"}.items():
        if field in body:
            instance[column] = body[field]
    amc.table("instances").put(key_of(call.account_id, instance["id"]), instance)
    return 200, {"instance": shown(amc, instance)}


def update_customer_account(amc: Amc, call: Call) -> Answer:
    """updateInstanceCustomerAwsAccountMetadata."""
    call.may_change()
    instance, body = find(amc, call), call.body
    if instance["acr"]:
        raise bad_request("This does not work on an instance that is backed by AWS Clean Rooms.")
    _check_names({"awsAccountId": body["awsAccountId"], "s3BucketName": body["bucketName"]})
    instance["aws_account"], instance["bucket"] = body["awsAccountId"], body["bucketName"]
    amc.table("instances").put(key_of(call.account_id, instance["id"]), instance)
    link = (
        "https://console.aws.amazon.com/cloudformation/home?region=us-east-1#/stacks/create/review"
        f"?stackName={instance['id']}&param_bucketName={body['bucketName']}"
    )
    return 200, {"cfnBucketUrl": link}


def delete(amc: Amc, call: Call) -> Answer:
    """deleteInstance; only of one that has come about or failed, and never the sandbox."""
    call.may_change()
    instance = find(amc, call)
    if instance["kind"] == "SANDBOX":
        raise bad_request("The sandbox instance can't be deleted.")
    state = status(instance, amc.now)
    if state not in ("COMPLETED", "SUCCEEDED", "FAILED"):
        raise bad_request(f"An instance whose creation status is {state} can't be deleted.")
    key = key_of(call.account_id, instance["id"])
    for row in amc.table("mapping_tables").under(f"{key}/"):
        cleanrooms.delete_id_mapping_table(amc.world, amc.table("mapping_tables")[row]["id"])
    if instance["collaboration_id"]:
        cleanrooms.delete_collaboration(amc.world, amc.clock, instance["collaboration_id"])
    for name in ("mapping_tables", "mapping_jobs", "trackings", "advertiser_updates", "executions"):
        table = amc.table(name)
        for row in table.under(f"{key}/"):
            table.delete(row)
    amc.table("instances").delete(key)
    return 204, None


def _again(amc: Amc, call: Call, known: Document, digest: str) -> Document:
    if known["digest"] != digest:
        raise bad_request("This idempotencyToken was used for a request with other parameters.")
    instance = amc.table("instances").get(key_of(call.account_id, known["instance"]))
    if instance is None:
        raise bad_request("The instance that this idempotencyToken made has been deleted.")
    return shown(amc, instance)


def _check_names(body: Document) -> None:
    if "instanceName" in body and not NAME.fullmatch(body["instanceName"]):
        raise bad_request("instanceName must be 3 to 50 English letters, digits, spaces or underscores.")
    if "advertiserName" in body and not ADVERTISER.fullmatch(body["advertiserName"]):
        raise bad_request(
            "advertiserName must be 3 to 50 English letters, digits or spaces, and neither start nor end with a space."
        )
    if "awsAccountId" in body and not AWS_ACCOUNT.fullmatch(body["awsAccountId"]):
        raise bad_request("awsAccountId must be 12 digits.")
    if "s3BucketName" in body and not BUCKET.fullmatch(body["s3BucketName"]):
        raise bad_request("s3BucketName is not a name that a bucket can have.")


def _check_new(body: Document) -> None:
    backed = body.get("acrBacked", False)
    if backed and "s3BucketName" in body:
        raise bad_request("s3BucketName must not be given for an instance that is backed by AWS Clean Rooms.")
    _check_names(body)
    if backed and "awsAccountId" not in body:
        raise bad_request("awsAccountId is required for an instance that is backed by AWS Clean Rooms.")
    if "idempotencyToken" in body and not 0 < len(body["idempotencyToken"]) <= 128:
        raise bad_request("idempotencyToken must have 1 to 128 characters.")
    partners = body.get("acrCustomerPartners", [])
    if partners and not backed:
        raise bad_request("acrCustomerPartners can only be given with acrBacked.")
    accounts = [body.get("awsAccountId")]
    for partner in partners:
        account = partner.get("awsAccountId", "")
        if not AWS_ACCOUNT.fullmatch(account):
            raise bad_request("acrCustomerPartners: awsAccountId must be 12 digits.")
        if not 0 < len(partner.get("displayName", "").strip()) <= 100:
            raise bad_request("acrCustomerPartners: displayName must have 1 to 100 characters.")
        if account in accounts:
            raise bad_request("acrCustomerPartners: an AWS account can be a member of a collaboration only once.")
        accounts.append(account)
