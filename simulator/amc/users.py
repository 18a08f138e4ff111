"""The invitation of users to an AMC account."""

from __future__ import annotations

import uuid

from simulator.amc.context import Amc, Answer, Call, stamp


def invite(amc: Amc, call: Call) -> Answer:
    """createUserInvitations: each request succeeds or fails by itself; who is invited already is not invited twice."""
    call.may_change()
    invitations = amc.table("invitations")
    success, error = [], []
    for index, wanted in enumerate(call.body["userInvitationRequests"]):
        key = f"{call.account_id}/{wanted['user']['emailAddress'].lower()}"
        if key in invitations:
            error.append({"index": index, "errors": [{"code": "400", "details": "This person is invited already."}]})
            continue
        invitation = {
            "invitationId": str(uuid.uuid4()),
            "status": "PENDING",
            "creationDatetime": stamp(amc.now),
            "user": wanted["user"],
            "permissionSet": wanted["permissionSet"],
        }
        invitations.put(key, invitation)
        success.append({"index": index, "userInvitation": invitation})
    return 207, {"success": success, "error": error}
