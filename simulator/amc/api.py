"""Answers the requests to the AMC administration API: who may, in which form, and by which operation."""

from __future__ import annotations

import json
import uuid
from typing import Any

from werkzeug.wrappers import Request, Response

from simulator.amc import advertisers, collaborations, description, executions, instances, mapping, users
from simulator.amc.context import PAGE, Amc, Answer, Call, Handler, page
from simulator.amc.description import ACCOUNTS_MEDIA, Operation
from simulator.amc.errors import ApiError, bad_request
from simulator.login import ADVERTISING, Login, bearer
from simulator.store import Document

HANDLERS: dict[str, Handler] = {
    "listInstances": instances.list_,
    "createInstance": instances.create,
    "getInstance": instances.get,
    "updateInstance": instances.update,
    "deleteInstance": instances.delete,
    "updateInstanceCustomerAwsAccountMetadata": instances.update_customer_account,
    "getInstanceAdvertisers": advertisers.list_,
    "createAdvertiserUpdate": advertisers.create_update,
    "getAdvertiserUpdate": advertisers.get_update,
    "listAdvertiserUpdates": advertisers.list_updates,
    "getInstanceCollaboration": collaborations.get,
    "listCollaborationIdNamespaces": mapping.list_namespaces,
    "createCollaborationIdMappingTable": mapping.create,
    "listCollaborationIdMappingTables": mapping.list_tables,
    "deleteCollaborationIdMappingTable": mapping.delete,
    "refreshCollaborationIdMappingTable": mapping.refresh,
    "listCollaborationIdMappingJobs": mapping.list_jobs,
    "getCollaborationIdMappingJob": mapping.get_job,
    "getCollaborationIdMappingJobForTrackingId": mapping.track,
    "createUserInvitations": users.invite,
    "listWorkflowExecutions": executions.list_,
}
CLIENT, ACCOUNT, MARKETPLACE = (
    f"Amazon-Advertising-API-{name}" for name in ("ClientId", "AdvertiserId", "MarketplaceId")
)
USERS = "Amazon-Ads-AccountId"


class AmcApi:
    """The API for one world. Anything refused leaves the world as it was."""

    def __init__(self, amc: Amc, login: Login) -> None:
        self._amc = amc
        self._login = login

    def operation(self, request: Request) -> str:
        """The operation's id, such as "createInstance"; the method and path if there is no such operation."""
        found, _, _ = description.route(request.method, raw_path(request))
        return found.id if found else f"{request.method} {request.path}"

    def __call__(self, request: Request) -> Response:
        """The answer to one request. `simulator.fail` in its environment makes what it starts fail later."""
        path = raw_path(request)
        operation, values, allowed = description.route(request.method, path)
        if operation is None:
            media = ACCOUNTS_MEDIA if path == "/amc/accounts" else description.INSTANCES_MEDIA
            if allowed:
                response = refusal(ApiError(405, "Method Not Allowed"), media)
                response.headers["Allow"] = ", ".join(sorted(set(allowed)))
                return response
            return refusal(ApiError(404, "Not Found: there is no such resource."), media)
        try:
            with self._amc.world.change():
                status, body = self._answer(request, operation, values)
        except ApiError as error:
            return refusal(error, operation.media)
        response = Response(b"" if body is None else json.dumps(body), status=status, content_type=operation.media)
        if body is None:
            del response.headers["Content-Type"]  # HTTP allows a 204 no body, so there is nothing to have a type
        response.headers["x-amz-request-id"] = str(uuid.uuid4())
        return response

    def _answer(self, request: Request, operation: Operation, values: dict[str, str]) -> Answer:
        grant = self._authenticate(request)
        for name in operation.headers:
            if not request.headers.get(name, "").strip():
                raise bad_request(f"The header {name} is required.")
        if request.headers[CLIENT].strip() != grant["client"]:
            raise ApiError(401, f"Unauthorized: the token was not issued to the client in {CLIENT}.")
        if request.headers.get("Accept", "").strip() and not request.accept_mimetypes.quality(operation.media):
            raise ApiError(415, f"Unsupported media type in the Accept header: {operation.media} is what there is.")
        person = self._amc.world.table("people")[grant["person"]]
        if operation.id == "AmcpLinkListAmcAccounts":
            return self._accounts(person, request.args.get("nextToken"))
        account = self._account(request, person, USERS if operation.id == "createUserInvitations" else ACCOUNT)
        marketplace = request.headers.get(MARKETPLACE, account["marketplace"]).strip()
        if marketplace != account["marketplace"]:
            raise bad_request(f"{MARKETPLACE} is not the marketplace of the AMC account.")
        call = Call(account, marketplace, person, values, request.args.to_dict(), fail=request.environ.get(FAIL))
        if operation.body is not None:
            call.body = self._body(request, operation)
        return HANDLERS[operation.id](self._amc, call)

    def _authenticate(self, request: Request) -> Document:
        token = bearer(request)
        if token is None:
            raise ApiError(401, "Unauthorized: the header Authorization must hold a Bearer token.")
        grant = self._login.holder(token)
        if grant is None:
            raise ApiError(401, "Unauthorized: the access token is not valid, has expired or was revoked.")
        if ADVERTISING not in grant["scopes"]:
            raise ApiError(401, f"Unauthorized: the token lacks the scope {ADVERTISING}.")
        return grant

    def _account(self, request: Request, person: Document, header: str) -> Document:
        account = self._amc.table("accounts").get(request.headers[header].strip())
        if account is None or account["id"] not in person["amc"]:
            raise ApiError(403, "Forbidden: you do not have access to this AMC account.")
        return account

    def _accounts(self, person: Document, token: str | None) -> Answer:
        accounts = self._amc.table("accounts")
        mine = [name for name in accounts.under("") if name in person["amc"]]
        chosen, after = page(self._amc, mine, token, PAGE, f"accounts {person['id']}")
        shown = [
            {"accountId": one["id"], "accountName": one["name"], "marketplaceId": one["marketplace"]}
            for one in (accounts[name] for name in chosen)
        ]
        return 200, {"amcAccounts": shown, "nextToken": after}

    def _body(self, request: Request, operation: Operation) -> dict[str, Any]:
        data = request.get_data()
        if not data:
            raise bad_request("A body is required.")
        if request.mimetype != operation.media:
            raise ApiError(415, f"Unsupported media type: the body must be {operation.media}.")
        try:
            body = json.loads(data, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise bad_request("The body is not JSON.") from error
        complaint = next(description.complaints(operation, body), None)
        if complaint is not None:
            raise bad_request(complaint)
        assert isinstance(body, dict)
        return body


FAIL = "simulator.fail"
"""Where a request's environment carries how the thing it starts is to fail."""


def raw_path(request: Request) -> str:
    """The path as it was sent, percent-encoded."""
    raw = str(request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI") or request.path)
    return raw.partition("?")[0]


def refusal(error: ApiError, media: str) -> Response:
    """An error in the shape of the operation's media type."""
    body = {"code": str(error.status), "details": error.details}
    if media == ACCOUNTS_MEDIA:
        body = {"message": error.details, "requestId": str(uuid.uuid4())}
    response = Response(json.dumps(body), status=error.status, content_type=media)
    response.headers["x-amz-request-id"] = str(uuid.uuid4())
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    return response


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
