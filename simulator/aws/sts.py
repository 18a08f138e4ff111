"""AWS Security Token Service: AssumeRole with its trust policy enforced, GetCallerIdentity, GetAccessKeyInfo."""

from __future__ import annotations

import re
import secrets
import string
from datetime import timedelta
from typing import Any
from xml.sax.saxutils import escape

from simulator.aws import policy
from simulator.aws.errors import AwsError
from simulator.aws.identity import SESSIONS, Call
from simulator.aws.wire import Answer, request_id
from simulator.clock import SimClock

NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
_SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_ROLE_ARN = re.compile(r"arn:aws:iam::\d{12}:role/[\w+=,.@/-]{1,512}", re.ASCII)


def _xml(action: str, result: str) -> Answer:
    text = (
        f'<{action}Response xmlns="{NAMESPACE}"><{action}Result>{result}</{action}Result>'
        f"<ResponseMetadata><RequestId>{request_id()}</RequestId></ResponseMetadata></{action}Response>"
    )
    return Answer(200, {"Content-Type": "text/xml"}, text.encode())


def _validation(message: str) -> AwsError:
    return AwsError("ValidationError", f"1 validation error detected: {message}", status=400)


def _identifier(prefix: str, length: int = 16) -> str:
    return prefix + "".join(secrets.choice(string.ascii_uppercase + "234567") for _ in range(length))


def get_caller_identity(call: Call, parameters: dict[str, str]) -> Answer:
    """GetCallerIdentity needs no permission."""
    return _xml(
        "GetCallerIdentity",
        f"<Arn>{escape(call.caller.arn)}</Arn><UserId>{escape(call.caller.user_id)}</UserId>"
        f"<Account>{call.account}</Account>",
    )


def get_access_key_info(call: Call, parameters: dict[str, str]) -> Answer:
    """GetAccessKeyInfo: the account behind an access key id."""
    key = parameters.get("AccessKeyId", "")
    if not re.fullmatch(r"\w{12,128}", key, re.ASCII):
        raise _validation("Value at 'accessKeyId' failed to satisfy constraint: Member must have length 16 to 128")
    session = call.world.table(SESSIONS).get(key)
    return _xml("GetAccessKeyInfo", f"<Account>{session['account'] if session else call.account}</Account>")


def _denied(call: Call, role_arn: str) -> AwsError:
    return AwsError(
        "AccessDenied",
        f"User: {call.caller.arn} is not authorized to perform: sts:AssumeRole on resource: {role_arn}",
        status=403,
    )


def _duration(parameters: dict[str, str], longest: int) -> int:
    text = parameters.get("DurationSeconds", "3600")
    if not re.fullmatch(r"\d{1,9}", text):
        raise _validation("Value at 'durationSeconds' can not be converted to an Integer")
    seconds = int(text)
    if not 900 <= seconds <= 43200:
        raise _validation(
            f"Value '{seconds}' at 'durationSeconds' failed to satisfy constraint: Member must have value between "
            "900 and 43200"
        )
    if seconds > longest:
        raise _validation("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
    return seconds


def assume_role(call: Call, parameters: dict[str, str]) -> Answer:
    """AssumeRole: the role must exist, trust the caller under the given external id, and the caller may have to be
    allowed by its own policies (always across accounts unless it is an administrator).

    Raises AwsError: AccessDenied (403), ValidationError (400), MalformedPolicyDocument (400).
    """
    role_arn = parameters.get("RoleArn", "")
    name = parameters.get("RoleSessionName", "")
    if not 20 <= len(role_arn) <= 2048:
        raise _validation(
            f"Value '{role_arn[:100]}' at 'roleArn' failed to satisfy constraint: Member must have "
            "length greater than or equal to 20"
        )
    if not _ROLE_ARN.fullmatch(role_arn):
        raise AwsError("ValidationError", f"{role_arn[:200]} is invalid", status=400)
    if not _SESSION_NAME.fullmatch(name):
        raise _validation(
            r"Value at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular "
            r"expression pattern: [\w+=,.@-]*"
        )
    external = parameters.get("ExternalId")
    if external is not None and not re.fullmatch(r"[\w+=,.@:/-]{2,1224}", external, re.ASCII):
        raise _validation(
            r"Value at 'externalId' failed to satisfy constraint: Member must satisfy regular "
            r"expression pattern: [\w+=,.@:\/-]*"
        )
    session_policy = parameters.get("Policy")
    if session_policy is not None and not policy.load(session_policy).get("Statement"):
        raise AwsError("MalformedPolicyDocument", "The policy is not in the valid JSON format.", status=400)
    role = call.moto.role(role_arn)
    if role is None:
        raise _denied(call, role_arn)
    context: dict[str, Any] = {**call.caller.context(), "sts:RoleSessionName": name}
    if external is not None:
        context["sts:ExternalId"] = external
    account = role_arn.split(":")[4]
    if not policy.trusts(role.assume_role_policy_document, "AWS", call.caller.principals, context):
        raise _denied(call, role_arn)
    verdict = call.caller.verdict(policy.Request("sts:AssumeRole", role_arn, context))
    named = account == call.account and policy.trusts(
        role.assume_role_policy_document, "AWS", [n for n in call.caller.principals if not n.endswith(":root")], context
    )
    if verdict == "Deny" or (verdict != "Allow" and not named):
        raise _denied(call, role_arn)
    seconds = _duration(parameters, int(role.max_session_duration or 3600))
    if call.caller.role_arn and seconds > 3600:
        raise _validation(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining."
        )
    return _open_session(call, role, role_arn, name, seconds, session_policy)


def _open_session(call: Call, role: Any, role_arn: str, name: str, seconds: int, session_policy: str | None) -> Answer:
    account = role_arn.split(":")[4]
    expires = call.clock.now().timestamp() + seconds
    key, secret, token = _identifier("ASIA"), secrets.token_urlsafe(30), secrets.token_urlsafe(180)
    arn = f"arn:aws:sts::{account}:assumed-role/{role.name}/{name}"
    user_id = f"{role.id}:{name}"
    with call.world.change():
        sessions = call.world.table(SESSIONS)
        for old in sessions.keys():  # noqa: SIM118  (a Table is no dict)
            if sessions[old]["expires"] < call.clock.now().timestamp() - 86400:
                sessions.delete(old)
        sessions.put(
            key,
            {
                "account": account,
                "arn": arn,
                "userId": user_id,
                "roleArn": role_arn,
                "secret": secret,
                "token": token,
                "expires": expires,
                "policy": session_policy,
                "openedBy": call.caller.arn,
            },
        )
    moment = _stamp(call.clock, seconds)
    return _xml(
        "AssumeRole",
        f"<AssumedRoleUser><AssumedRoleId>{escape(user_id)}</AssumedRoleId><Arn>{escape(arn)}</Arn></AssumedRoleUser>"
        f"<Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>"
        f"<SessionToken>{token}</SessionToken><Expiration>{moment}</Expiration></Credentials>"
        "<PackedPolicySize>1</PackedPolicySize>",
    )


def _stamp(clock: SimClock, seconds: int) -> str:
    return (clock.now() + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


OPERATIONS = {
    "AssumeRole": assume_role,
    "GetCallerIdentity": get_caller_identity,
    "GetAccessKeyInfo": get_access_key_info,
}
