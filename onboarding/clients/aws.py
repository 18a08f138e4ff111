"""AWS, only through roles that its owners made for the portal: STS sessions with an external id, in us-east-1 alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
)
from django.conf import settings

from onboarding.clients import athena
from onboarding.clients.counters import counted
from onboarding.clients.failures import Fix, Later, Reconnect, RemoteFailure
from onboarding.models import AwsConnection

if TYPE_CHECKING:
    # Loaded by the first call to AWS: most web processes never make one, and it takes ten megabytes.
    import boto3
    from botocore.config import Config

SESSION_SECONDS = 3600
# A role that was made a moment ago is not known everywhere yet; after this long it never will be.
ROLE_SETTLES_SECONDS = 120.0
# Policy documents are JSON in a text for IAM and S3; in a plan they are documents, so that people can read them.
DOCUMENTS = frozenset({"AssumeRolePolicyDocument", "PolicyDocument", "Policy"})
_THROTTLED = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "SlowDown",
        "RequestThrottled",
    }
)
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException"})
_ELSEWHERE = frozenset({"AuthorizationHeaderMalformed", "PermanentRedirect", "BucketRegionError", "301"})
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403"})


@dataclass(frozen=True)
class _Session:
    """Credentials of an assumed role, and until when they last."""

    credentials: Mapping[str, str]
    until: datetime


_sessions: dict[tuple[str, str, str, str], _Session] = {}
_lock = threading.Lock()


def forget_sessions() -> None:
    """Drop the sessions of this process, such as after a connection was changed."""
    with _lock:
        _sessions.clear()


# What the steps call.
_SERVICES = ("sts", "s3", "iam", "glue", "athena", "lakeformation", "cleanrooms", "entityresolution")


@lru_cache(maxsize=1)
def _boto() -> boto3.Session:
    import boto3

    return boto3.Session(region_name=settings.AWS_REGION)


def warm_up() -> None:
    """Read what boto3 knows of the services, so that it is not read for every job; opens no connection."""
    nobody = dict.fromkeys(("AccessKeyId", "SecretAccessKey", "SessionToken"), "none")
    for service in _SERVICES:
        client_with(service, nobody)


def _config() -> Config:
    from botocore.config import Config

    # botocore's own retries are off: they can double what a call makes, and the engine knows when to try again.
    return Config(
        region_name=settings.AWS_REGION,
        connect_timeout=min(3.0, settings.CALL_TIMEOUT / 3),
        read_timeout=settings.CALL_TIMEOUT / 2,
        retries={"total_max_attempts": 1},
        user_agent_extra="amc-onboarding-portal",
        s3={"addressing_style": "path"} if settings.AWS_ENDPOINT_URL else None,
    )


def _config_for_files() -> Config:
    from botocore.config import Config

    # Reading and writing a part again does no harm, so here botocore may try again.
    return Config(
        region_name=settings.AWS_REGION,
        connect_timeout=5,
        read_timeout=60,
        retries={"mode": "standard", "total_max_attempts": 5},
        max_pool_connections=16,
        user_agent_extra="amc-onboarding-portal",
        s3={"addressing_style": "path"} if settings.AWS_ENDPOINT_URL else None,
    )


def _plain(value: Any) -> Any:
    """An answer as JSON documents hold it: times as text, policy documents as documents, no metadata."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if key != "ResponseMetadata"}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value


def _as_sent(params: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: json.dumps(value) if name in DOCUMENTS and not isinstance(value, str) else value
        for name, value in params.items()
    }


def method_name(operation: str) -> str:
    """boto3's name of an operation: `CreateMembership` → `create_membership`."""
    from botocore import xform_name

    return str(xform_name(operation))


def command_name(operation: str) -> str:
    """The AWS command line's name of an operation: `CreateMembership` → `create-membership`."""
    return method_name(operation).replace("_", "-")


class AwsClient:
    """Makes calls of one service in one customer's account.

    `connection` names the account and its roles. Calls go through the provisioner role, or through the reader role when
    `reading` and there is one. `session_name` tells the customer in CloudTrail which run it was.
    """

    def __init__(
        self, connection: AwsConnection, service: str, *, session_name: str = "portal", reading: bool = False
    ) -> None:
        self.connection = connection
        self.service = service
        self.role_arn = (
            connection.reader_role_arn if reading and connection.reader_role_arn else connection.provisioner_role_arn
        )
        self.session_name = f"amc-portal-{session_name}"[:64]
        self._client: Any = None

    def call(self, operation: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Make one call and return its answer as JSON documents. Raises Later, Fix or Reconnect (see `failures`)."""
        with counted(self.service, operation):
            return self._call(operation, params)

    def _call(self, operation: str, params: Mapping[str, Any] | None) -> dict[str, Any]:
        try:
            answer = getattr(self._of_service(), method_name(operation))(**_as_sent(params or {}))
        except ClientError as error:
            raise self._failure(error, operation, params) from None
        except (BotoCoreError, ValueError) as error:
            raise self._unreachable(error, operation) from None
        return self._kept(operation, answer)

    def _kept(self, operation: str, answer: Any) -> dict[str, Any]:
        plain = _plain(answer)
        found = plain if isinstance(plain, dict) else {}
        return athena.kept(operation, found) if self.service == "athena" else found

    def pages(
        self,
        operation: str,
        params: Mapping[str, Any] | None,
        items: str,
        before: Callable[[], None] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Every entry of the list `items`, page after page; `before` is called ahead of each page's call."""
        pages: Iterator[Any] | None = None
        while True:
            if before is not None:
                before()
            with counted(self.service, operation) as call:
                try:
                    if pages is None:
                        client, name = self._of_service(), method_name(operation)
                        if not client.can_paginate(name):
                            pages = iter([getattr(client, name)(**_as_sent(params or {}))])
                        else:
                            pages = iter(client.get_paginator(name).paginate(**_as_sent(params or {})))
                    page = next(pages, None)
                    call.made = page is not None
                except ClientError as error:
                    raise self._failure(error, operation, params) from None
                except (BotoCoreError, ValueError) as error:
                    raise self._unreachable(error, operation) from None
            if page is None:
                return
            yield from self._kept(operation, page).get(items) or []

    def _of_service(self) -> Any:
        if self._client is None:
            credentials = assume(self.connection, self.role_arn, self.session_name)
            self._client = client_with(self.service, credentials)
        return self._client

    # -- failures

    def _failure(self, error: ClientError, operation: str, params: Mapping[str, Any] | None = None) -> RemoteFailure:
        said = error.response.get("Error", {})
        meta: Mapping[str, Any] = error.response.get("ResponseMetadata", {})
        code = str(said.get("Code") or "")
        status = int(meta.get("HTTPStatusCode") or 0)
        facts: dict[str, Any] = {
            "code": code[:60],
            "status": status,
            "request_id": str(meta.get("RequestId") or "")[:200],
        }
        answer: Mapping[str, Any] = error.response
        reason = str(answer.get("reason") or "")
        message = str(said.get("Message") or "")
        where = f"{self.service} {operation} in AWS account {self.connection.aws_account_id}"
        if code in _THROTTLED or status == 429:
            headers = meta.get("HTTPHeaders", {})
            after = headers.get("retry-after", "")
            return Later(
                "AWS asks for a pause.",
                why="Too many calls were made in a short time.",
                who="Amazon",
                retry_after=float(after) if after.replace(".", "", 1).isdigit() else None,
                **facts,
            )
        if status >= 500:
            return Later(
                f"AWS had a problem of its own ({where}).",
                why="A service at AWS does not work right now.",
                who="Amazon",
                ambiguous=True,
                **facts,
            )
        if code in _EXPIRED:
            forget_sessions()
            return Later("The AWS session ended.", who="The portal", retry_after=0, **facts)
        if code == "CrawlerRunningException":
            return Later("The crawler is at work already.", who="Amazon", **facts)
        if _role_is_new(code, reason, message):
            return Later(
                "AWS is still activating the new role.",
                why="A role that was just made can't be used everywhere for some seconds.",
                who="Amazon",
                todo="If it stays like this, compare the role's trust policy with the one in the plan.",
                give_up=ROLE_SETTLES_SECONDS,
                details={"message": message[:500]},
                **facts,
            )
        if code in _DENIED:
            # The session may outlive the role, or its trust; then every call is refused, and nothing says why.
            gone = self._role_gone()
            if gone is not None:
                return gone
        what, why, who, todo = _words(code, reason, message, self.service, operation, self.connection.aws_account_id)
        if code in _ELSEWHERE:
            region = said.get("Region") or meta.get("HTTPHeaders", {}).get("x-amz-bucket-region")
            what = f"Bucket {(params or {}).get('Bucket')} is in {region or 'another region'}; AMC needs us-east-1."
        elif answer.get("quotaName"):
            value = answer.get("quotaValue")
            value = f"{value:g}" if isinstance(value, int | float) else "not told"
            why = f"The quota “{answer['quotaName']}” is {value}, and all of it is used."
        return Fix(
            what,
            why=why,
            who=who,
            todo=todo,
            details={
                "message": message[:1000],
                "operation": f"{self.service}:{operation}",
                **{
                    name: str(answer[name])
                    for name in ("reason", "resourceId", "resourceType", "quotaName", "quotaValue")
                    if answer.get(name) is not None
                },
            },
            **facts,
        )

    def _role_gone(self) -> RemoteFailure | None:
        self._client = None
        try:
            assume(self.connection, self.role_arn, self.session_name, fresh=True)
        except RemoteFailure as failure:
            return failure
        return None

    def _unreachable(self, error: Exception, operation: str) -> RemoteFailure:
        if isinstance(error, RemoteFailure):
            return error
        reached = not isinstance(error, EndpointConnectionError | ConnectTimeoutError)
        if isinstance(error, ValueError) or type(error).__name__ in ("ParamValidationError", "UnknownServiceError"):
            return Fix(
                f"The call {self.service} {operation} is not one that AWS takes.",
                why="The portal made it wrongly.",
                who="The portal's maintainers",
                todo="Report this with the technical details.",
                code=type(error).__name__,
            )
        return Later(
            f"AWS did not answer ({self.service} {operation}).",
            why="Nobody can tell yet whether AWS did it." if reached else "No connection could be made.",
            who="Amazon",
            todo="Nothing: the portal looks what happened and tries again by itself.",
            code=type(error).__name__,
            ambiguous=reached,
        )


def _role_is_new(code: str, reason: str, message: str) -> bool:
    # Clean Rooms has a reason for it; the other services say it in words alone.
    return (
        reason == "IAM_SYNCHRONIZATION_DELAY"
        or (code == "MalformedPolicyDocument" and "Invalid principal" in message)
        or ("annot be assumed" in message and code.startswith("Validation"))
    )


def _words(
    code: str, reason: str, message: str, service: str, operation: str, account: str
) -> tuple[str, str, str, str]:
    """What happened, why, who can mend it and how, for a call that AWS refused."""
    call = f"{service}:{operation}"
    if "iam:PassRole" in message:
        return (
            "The portal may not hand the role to AWS.",
            "The portal's role in the account lacks iam:PassRole for it.",
            "AWS administrator",
            "Add the statement below to the portal's role; the connection's template has it. The role that is passed "
            "must be called service-role/amc-cleanrooms-….",
        )
    if code in _DENIED:
        return (
            f"AWS account {account} does not let the portal do this.",
            f"The portal's role there may not {call}.",
            "AWS administrator",
            "Update the portal's role with the template under Connections, then try again.",
        )
    if "is not authorized to perform" in message and code.startswith("Validation"):
        return (
            "The role lacks a permission that AMC needs.",
            "AWS tried what the role has to be able to do, and its policy does not allow it.",
            "AWS administrator",
            "Give the role every statement below as it is required, then try again.",
        )
    if code in _ELSEWHERE:
        return (
            "The bucket is in another region; AMC needs us-east-1.",
            "AMC on AWS Clean Rooms works in us-east-1 alone.",
            "Analyst",
            "Choose a bucket in us-east-1, or have the portal make one.",
        )
    if code == "ServiceQuotaExceededException" or code == "ExceedsLimitException":
        return (
            "A limit of the AWS account is reached.",
            "AWS did not say which.",
            "AWS administrator",
            "Remove what is no longer used, or ask AWS to raise the quota, then try again.",
        )
    if code == "ConflictException" and reason == "SUBRESOURCES_EXIST":
        return (
            "It can't be deleted yet: other things in it still exist.",
            "AWS Clean Rooms deletes a membership only when it is empty.",
            "Analyst",
            "Remove what is listed as still there, then try again.",
        )
    if code in ("ConflictException", "EntityAlreadyExists", "BucketAlreadyOwnedByYou", "AlreadyExistsException"):
        return (
            "It exists already.",
            "Something with this name was made by somebody else, or is in a state that forbids this.",
            "Analyst",
            "Choose another name, or use what exists.",
        )
    if code == "NoSuchEntity" and operation in ("CreateRole", "PutRolePermissionsBoundary") and ":policy/" in message:
        return (
            "The policy that limits the portal's roles is not there.",
            f"AWS account {account} no longer has the permissions boundary that the connection's template made.",
            "AWS administrator",
            "Run the template under Connections again: it makes the policy anew. Then try again.",
        )
    if code == "BucketAlreadyExists":
        return (
            "The bucket name is taken by another AWS account.",
            "Bucket names are unique in all of AWS.",
            "Analyst",
            "Choose another bucket name.",
        )
    if code in ("NoSuchBucket", "NoSuchEntity", "ResourceNotFoundException", "EntityNotFoundException", "404"):
        return (
            "It is not there.",
            f"AWS account {account} has nothing of that name, or the portal may not see it.",
            "Analyst",
            "Check the name, then try again.",
        )
    return (
        f"AWS refused {call}.",
        "AWS does not accept one of the values.",
        "Analyst",
        "Read what AWS said under the technical details, change the answer that it names and ask again.",
    )


class FileSessions:
    """Gives S3 clients for work on files that may take longer than one session lasts; may be called by any thread.

    `reading` takes the reader role of the connection, if there is one. Calling it raises Later or Reconnect.
    """

    def __init__(self, connection: AwsConnection, *, session_name: str, reading: bool) -> None:
        self._connection = connection
        self._role_arn = (
            connection.reader_role_arn if reading and connection.reader_role_arn else connection.provisioner_role_arn
        )
        self._session_name = f"amc-portal-{session_name}"[:64]
        self._known: tuple[Mapping[str, str], Any] | None = None

    def __call__(self) -> Any:
        """An S3 client whose session lasts five minutes at least."""
        credentials = assume(self._connection, self._role_arn, self._session_name)
        known = self._known
        if known is None or known[0] is not credentials:
            known = self._known = credentials, client_with("s3", credentials, _config_for_files())
        return known[1]


def client_with(service: str, credentials: Mapping[str, str] | None, config: Config | None = None) -> Any:
    """A boto3 client; without credentials it acts as the portal itself."""
    keys: dict[str, Any] = {}
    if credentials is not None:
        keys = {
            "aws_access_key_id": credentials["AccessKeyId"],
            "aws_secret_access_key": credentials["SecretAccessKey"],
            "aws_session_token": credentials["SessionToken"],
        }
    with _lock:  # making clients is not thread-safe
        return _boto().client(  # type: ignore[call-overload]  # the service is chosen by the plan
            service, endpoint_url=settings.AWS_ENDPOINT_URL or None, config=config or _config(), **keys
        )


def assume(
    connection: AwsConnection,
    role_arn: str,
    session_name: str,
    *,
    fresh: bool = False,
    policy: Mapping[str, Any] | None = None,
) -> Mapping[str, str]:
    """Credentials of the role, from a session of this process or a new one (always a new one when `fresh`).

    With `policy` the session may do no more than that says, whatever the role may do.

    Raises Reconnect when there is no role or it can't be assumed, Later when STS does not answer.
    """
    where = f"aws:{connection.aws_account_id}"
    if not role_arn:
        raise Reconnect(
            f"AWS account {connection.aws_account_id} is not connected.",
            connection=where,
            who="Admin",
            todo="Connect it under Connections. The run then goes on by itself.",
        )
    narrowed = json.dumps(policy, sort_keys=True) if policy else ""
    key = (role_arn, connection.external_id, session_name, narrowed)
    now = datetime.now(UTC)
    with _lock:
        known = _sessions.pop(key, None) if fresh else _sessions.get(key)
    if known and not fresh and known.until > now + timedelta(minutes=5):
        return known.credentials
    try:
        answer = client_with("sts", None).assume_role(
            RoleArn=role_arn,
            RoleSessionName=session_name,
            ExternalId=connection.external_id,
            DurationSeconds=SESSION_SECONDS,
            **({"Policy": narrowed} if narrowed else {}),
        )
    except ClientError as error:
        raise _not_assumed(error, connection, where) from None
    except BotoCoreError as error:
        raise _no_session(error) from None
    credentials: Mapping[str, str] = answer["Credentials"]
    with _lock:
        _sessions[key] = _Session(credentials, answer["Credentials"]["Expiration"])
    return credentials


def _no_session(error: BotoCoreError) -> RemoteFailure:
    if isinstance(error, NoCredentialsError | PartialCredentialsError):
        return Fix(
            "The portal has no identity of its own at AWS.",
            why="boto3 finds no credentials where the portal runs.",
            who="Whoever runs the portal",
            todo="Give the portal an instance or task role, or credentials in its environment.",
            code=type(error).__name__,
        )
    return Later("AWS did not answer when the portal asked for a session.", who="Amazon", code=type(error).__name__)


def opens_without(role_arn: str, external_id: str | None) -> bool:
    """Whether the portal can assume the role with another external id than the right one, or with none.

    It must not be able to. Raises Later when STS does not answer.
    """
    words = {} if external_id is None else {"ExternalId": external_id}
    try:
        client_with("sts", None).assume_role(
            RoleArn=role_arn, RoleSessionName="amc-portal-check", DurationSeconds=900, **words
        )
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code") or "")
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
        if code in _THROTTLED or status >= 500 or status == 429:
            raise Later("AWS asks for a pause.", who="Amazon", code=code, status=status) from None
        return False
    except BotoCoreError as error:
        raise _no_session(error) from None
    return True


def _not_assumed(error: ClientError, connection: AwsConnection, where: str) -> RemoteFailure:
    code = str(error.response.get("Error", {}).get("Code") or "")
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)
    if code in _THROTTLED or status >= 500 or status == 429:
        return Later("AWS asks for a pause before it opens a session.", who="Amazon", code=code, status=status)
    return Reconnect(
        f"The portal's role in AWS account {connection.aws_account_id} no longer works.",
        connection=where,
        why="AWS does not let the portal assume it. It was deleted, or its trust policy was changed.",
        who="Admin",
        todo="Check the role against the template under Connections. The runs then go on by themselves.",
        code=code,
        status=status,
    )
