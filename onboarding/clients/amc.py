"""The AMC administration API, and of the reporting API what the portal reads: operations as data, and a client.

`request_for` turns an operation and its parameters into the request itself without making it, so that what a person
reads, downloads as a command and approves is what the client sends.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from string import Formatter
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from django.conf import settings

from onboarding.clients import login, pace
from onboarding.clients.counters import counted
from onboarding.clients.failures import Fix, Later, RemoteFailure
from onboarding.clients.http import Answer, Deadline, check_available, send
from onboarding.models import AmcAccount, AmcConnection

INSTANCES = "application/vnd.amcinstances.v1+json"
ACCOUNTS = "application/vnd.amcaudiencesconnections.v1+json"
EXECUTIONS = "application/vnd.amcworkflowexecutions.v1+json"
PLAIN = "application/json"

CLIENT_HEADER = "Amazon-Advertising-API-ClientId"
ACCOUNT_HEADER = "Amazon-Advertising-API-AdvertiserId"
MARKETPLACE_HEADER = "Amazon-Advertising-API-MarketplaceId"
INVITATION_HEADER = "Amazon-Ads-AccountId"


class Account(Protocol):
    """What of an AMC account goes into the headers of a call."""

    entity_id: str
    marketplace_id: str


@dataclass(frozen=True)
class Operation:
    """One operation of the specification.

    `words` completes "Amazon refused to …". What `path` and `query` do not name goes into the body. `reads` says that
    it changes nothing. `headers` names the account headers: "both", "invitation" or "none".
    """

    method: str
    path: str
    words: str
    query: tuple[str, ...] = ()
    body: bool = False
    reads: bool = False
    media: str = INSTANCES
    headers: str = "both"

    @property
    def path_names(self) -> tuple[str, ...]:
        """The parameters that the path holds."""
        return tuple(name for _, name, _, _ in Formatter().parse(self.path) if name)


_INSTANCE = "/amc/instances/{instanceId}"
_TABLES = f"{_INSTANCE}/collaboration/idmappingtables"
_TABLE = f"{_TABLES}/{{idMappingTableId}}"
_PAGED = ("nextToken", "limit")

OPERATIONS: dict[str, Operation] = {
    "AmcpLinkListAmcAccounts": Operation(
        "GET", "/amc/accounts", "list the AMC accounts", ("nextToken",), reads=True, media=ACCOUNTS, headers="none"
    ),
    "listInstances": Operation("GET", "/amc/instances", "list the instances", _PAGED, reads=True),
    "createInstance": Operation("POST", "/amc/instances", "create the instance", body=True),
    "getInstance": Operation("GET", _INSTANCE, "show the instance", reads=True),
    "updateInstance": Operation("PUT", _INSTANCE, "change the instance", body=True),
    "deleteInstance": Operation("DELETE", _INSTANCE, "delete the instance"),
    "updateInstanceCustomerAwsAccountMetadata": Operation(
        "POST", f"{_INSTANCE}/updateCustomerAwsAccount", "change the instance's AWS account", body=True
    ),
    "getInstanceAdvertisers": Operation(
        "GET", f"{_INSTANCE}/advertisers", "list the instance's advertisers", ("type", *_PAGED), reads=True
    ),
    "listAdvertiserUpdates": Operation(
        "GET", f"{_INSTANCE}/advertisers/updates", "list the changes of advertisers", _PAGED, reads=True
    ),
    "createAdvertiserUpdate": Operation(
        "POST", f"{_INSTANCE}/advertisers/updates", "change the instance's advertisers", body=True
    ),
    "getAdvertiserUpdate": Operation(
        "GET", f"{_INSTANCE}/advertisers/updates/{{updateId}}", "show the change of advertisers", reads=True
    ),
    "getInstanceCollaboration": Operation("GET", f"{_INSTANCE}/collaboration", "show the collaboration", reads=True),
    "listCollaborationIdNamespaces": Operation(
        "POST", f"{_INSTANCE}/collaboration/idnamespaces/list", "list the ID namespaces", body=True, reads=True
    ),
    "createCollaborationIdMappingTable": Operation("POST", _TABLES, "create the ID mapping table", body=True),
    "listCollaborationIdMappingTables": Operation(
        "POST", f"{_TABLES}/list", "list the ID mapping tables", body=True, reads=True
    ),
    "deleteCollaborationIdMappingTable": Operation("DELETE", _TABLE, "delete the ID mapping table"),
    "refreshCollaborationIdMappingTable": Operation("POST", f"{_TABLE}/refresh", "refresh the ID mapping table"),
    "getCollaborationIdMappingJobForTrackingId": Operation(
        "GET", f"{_TABLE}/jobTracker/{{trackingId}}", "find the mapping job", reads=True
    ),
    "listCollaborationIdMappingJobs": Operation(
        "POST", f"{_TABLE}/jobs/list", "list the mapping jobs", body=True, reads=True
    ),
    "getCollaborationIdMappingJob": Operation("GET", f"{_TABLE}/jobs/{{jobId}}", "show the mapping job", reads=True),
    "listWorkflowExecutions": Operation(
        "GET",
        "/amc/reporting/{instanceId}/workflowExecutions",
        "list the queries",
        ("minCreationTime", "sortAscending", *_PAGED),
        reads=True,
        media=EXECUTIONS,
    ),
    "inviteUsers": Operation(
        "POST", "/user-invitations", "invite people to AMC", body=True, media=PLAIN, headers="invitation"
    ),
}
"""The operations by the specification's operationId (the invitation of users is described by a guide only)."""


@dataclass(frozen=True)
class ApiRequest:
    """A request without its secrets (no Authorization, no client id). `path` includes the query."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any] | None = field(default=None)

    @property
    def content(self) -> bytes | None:
        """The body as it is sent."""
        return None if self.body is None else json.dumps(self.body).encode()


def request_for(operation: str, params: Mapping[str, Any], account: Account | None) -> ApiRequest:
    """What `call` would send, without secrets.

    Raises KeyError for an unknown operation and ValueError for a parameter that has no place in it, a missing one, or a
    missing account.
    """
    spec = OPERATIONS[operation]
    rest = {name: value for name, value in params.items() if value is not None}
    missing = [name for name in spec.path_names if rest.get(name) in (None, "")]
    if missing:
        raise ValueError(f"{operation} needs {', '.join(missing)}")
    # A dot segment would be another address once the path is normalised.
    path_values = {name: str(rest.pop(name)) for name in spec.path_names}
    if any(value in (".", "..") for value in path_values.values()):
        raise ValueError(f"{operation}: a dot is no identifier")
    path = spec.path.format(**{name: quote(value, safe="") for name, value in path_values.items()})
    query = {name: str(rest.pop(name)) for name in spec.query if name in rest}
    if query:
        path = f"{path}?{urlencode(query)}"
    if rest and not spec.body:
        raise ValueError(f"{operation} has no parameter {', '.join(sorted(rest))}")
    headers = {"Accept": spec.media}
    if spec.body:
        headers["Content-Type"] = spec.media
    if spec.headers != "none":
        if account is None:
            raise ValueError(f"{operation} needs an AMC account")
        if spec.headers == "invitation":
            headers[INVITATION_HEADER] = account.entity_id
        else:
            headers[ACCOUNT_HEADER] = account.entity_id
            headers[MARKETPLACE_HEADER] = account.marketplace_id
    return ApiRequest(spec.method, path, headers, rest if spec.body else None)


class AmcClient:
    """Makes calls of the AMC API with one connection, for one AMC account (None: only to list accounts).

    `who` has a turn of its own when calls have to wait for one (`pace`): the run.
    """

    def __init__(self, connection: AmcConnection, account: AmcAccount | None = None, who: str = "portal") -> None:
        if account is not None and account.connection_id != connection.pk:
            raise ValueError("the AMC account is reached through another connection")
        self.connection = connection
        self.account = account
        self._who = who
        self._going_on = False

    @classmethod
    def of(cls, account: AmcAccount) -> AmcClient:
        """The client of an AMC account through its own connection."""
        return cls(account.connection, account)

    def call(self, operation: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Make one call and return its JSON answer ({} for an empty one).

        All of it, renewing the token included, is over within settings.CALL_TIMEOUT seconds. A token that Amazon
        refuses is renewed once. Raises Later, Fix or Reconnect (see `failures`).
        """
        self._await_turn(OPERATIONS[operation])
        with counted("amc", operation):
            return self._call(operation, params)

    def _await_turn(self, spec: Operation) -> None:
        if self.account is None:
            return
        wait = pace.turn(self.account.entity_id, self._who, going_on=self._going_on)
        self._going_on = not wait
        if wait:
            raise Later(
                f"Amazon has asked for fewer calls; it is not our turn yet to {spec.words}",
                who="Amazon",
                todo="Nothing: the portal goes on by itself when it is its turn.",
                code="Pace",
                retry_after=wait,
                held=True,
            )

    def _call(self, operation: str, params: Mapping[str, Any] | None) -> dict[str, Any]:
        spec = OPERATIONS[operation]
        request = request_for(operation, params or {}, self.account)
        deadline = Deadline()
        token = login.access_token(self.connection, deadline=deadline)
        answer = self._send(spec, request, token, deadline)
        if answer.status == 401:
            token = login.access_token(self.connection, rejected=token, deadline=deadline)
            answer = self._send(spec, request, token, deadline)
        if answer.status == 429 and self.account is not None:
            pace.slower(self.account.entity_id, answer.retry_after)
        check_available(answer, doing=spec.words, reads=spec.reads)
        if not 200 <= answer.status < 300:
            raise self._refused(operation, spec, answer, token)
        if answer.status == 204:
            return {}
        if not isinstance(answer.body, dict):
            raise Later(
                f"Amazon gave an answer that cannot be read when asked to {spec.words}",
                who="Amazon",
                code="unreadable",
                status=answer.status,
                request_id=answer.request_id,
                ambiguous=not spec.reads,
            )
        return answer.body

    def pages(
        self,
        operation: str,
        params: Mapping[str, Any] | None,
        items: str,
        before: Callable[[], None] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Every entry of the list `items` in the answers, page by page until `nextToken` is null.

        `before` is called ahead of each page's call.
        """
        wanted = dict(params or {})
        seen: set[str] = set()
        while True:
            if before is not None:
                before()
            page = self.call(operation, wanted)
            yield from page.get(items) or []
            token = page.get("nextToken")
            if not token:
                return
            if token in seen:
                raise Later(
                    f"Amazon answered the same page twice when asked to {OPERATIONS[operation].words}",
                    who="Amazon",
                    code="repeated_page",
                )
            seen.add(token)
            wanted["nextToken"] = token

    def _send(self, spec: Operation, request: ApiRequest, token: str, deadline: Deadline) -> Answer:
        headers = {
            **request.headers,
            CLIENT_HEADER: settings.LOGIN_CLIENT_ID,
            "Authorization": f"Bearer {token}",
        }
        return send(
            request.method,
            settings.AMC_URL + request.path,
            doing=spec.words,
            deadline=deadline,
            reads=spec.reads,
            headers=headers,
            content=request.content,
        )

    def _refused(self, operation: str, spec: Operation, answer: Answer, token: str) -> RemoteFailure:
        body = answer.body if isinstance(answer.body, dict) else {}
        said = str(body.get("details") or body.get("message") or "")[:1000]
        facts: dict[str, Any] = {
            "code": str(body.get("code") or answer.status)[:60],
            "status": answer.status,
            "request_id": answer.request_id,
        }
        if answer.status == 401:
            why = "Amazon refuses the login, even after it was renewed."
            row = AmcConnection.objects.get(pk=self.connection.pk)
            if row.access_token != token:
                return Later("The connection to Amazon has just been made again", who="The portal", retry_after=0)
            login.mark_broken(row, reason=why, refresh_token=row.refresh_token)
            return login.lost(row, why=why, **facts)
        words = _WORDS.get((operation, answer.status)) or _WORDS.get(("", answer.status)) or _UNKNOWN
        why, who, todo = (text.format(account=self.account or "this AMC account") for text in words)
        if operation == "createInstance" and answer.status == 400 and said:
            # It names the answer that has to be changed, and these answers hold nothing personal.
            why = f"{why} Amazon says: {said}"
            todo = "Change the answer that Amazon names, and ask again."
        return Fix(
            f"Amazon refused to {spec.words}",
            why=why,
            who=who,
            todo=todo,
            details={"amazon": said, "operation": operation},
            **facts,
        )


_UNKNOWN = (
    "Amazon does not accept the call.",
    "Admin",
    "Read what Amazon said under the technical details, put it right and try again.",
)
_WORDS: dict[tuple[str, int], tuple[str, str, str]] = {
    ("", 400): (
        "Amazon does not accept one of the values.",
        "Analyst",
        "Read what Amazon said under the technical details, change the answer that it names and ask again.",
    ),
    ("createInstance", 400): (
        "Amazon does not accept one of the answers: the name, the AWS account, the advertiser or a partner; or the AMC "
        "account already has as many instances as it may have.",
        "Analyst",
        "Read what Amazon said under the technical details, change that answer and ask again.",
    ),
    ("createAdvertiserUpdate", 400): (
        "Amazon does not accept one of the advertisers, or an earlier change of this instance's advertisers is still "
        "under way.",
        "Analyst",
        "Check the ids and marketplaces. If an earlier change is under way, wait until it is finished and try again.",
    ),
    ("createCollaborationIdMappingTable", 400): (
        "Amazon does not accept the name or the ID namespace, or the instance already has five ID mapping tables.",
        "Analyst",
        "Check that the ID namespace is associated with the collaboration and that a table is left, then try again.",
    ),
    ("refreshCollaborationIdMappingTable", 400): (
        "An ID mapping table can be refreshed once in 14 days.",
        "Analyst",
        "Wait until the 14 days are over, then try again.",
    ),
    ("", 403): (
        "The Amazon login that the portal uses may not do this in {account}.",
        "AMC administrator",
        "Ask an administrator of the AMC account to make that login an admin there, then try again.",
    ),
    ("AmcpLinkListAmcAccounts", 403): (
        "The Amazon login may not use Amazon Marketing Cloud.",
        "AMC administrator",
        "Ask an administrator of the AMC account to invite that login, then try again.",
    ),
    ("", 404): (
        "Amazon does not know it, or the login may not see it. It may have been deleted.",
        "Admin",
        "Check in the AMC console whether it still exists; refresh the list of instances.",
    ),
    ("getInstanceCollaboration", 404): (
        "The instance has no collaboration, as one that is not backed by AWS Clean Rooms; or it was deleted, or the "
        "login may not see it.",
        "Analyst",
        "Look at the instance in the AMC console. If it is not backed by AWS Clean Rooms, cancel this and start an "
        "onboarding under another name.",
    ),
    ("", 409): (
        "Something with this name exists, or an earlier change is still under way.",
        "Analyst",
        "Wait until the earlier change is finished, or choose another name, then try again.",
    ),
    ("", 415): (
        "The portal sent the call in a form that Amazon does not take.",
        "The portal's maintainers",
        "Report this with the technical details.",
    ),
    ("", 422): (
        "Amazon cannot carry out this call as things stand.",
        "Analyst",
        "Read what Amazon said under the technical details, put it right and try again.",
    ),
}
"""Why, who mends it and how, by operation (empty: any) and status."""
