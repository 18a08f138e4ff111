"""Login with Amazon: the consent page, the token endpoint and the profile.

Codes work once and for 5 minutes, access tokens (`Atza|…`) for 60 minutes, refresh tokens (`Atzr|…`) until they are
revoked; a refresh answers the same refresh token again.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from werkzeug.wrappers import Request, Response

from simulator import people
from simulator.clock import SimClock
from simulator.page import render
from simulator.store import Document, World

CODE_SECONDS = 300
TOKEN_SECONDS = 3600
COOKIE = "simulator_session"
# Who allowed something last in this browser: a real browser stays signed in to Amazon, too.
LAST_PERSON = "simulator_person"

SCOPES = {
    "profile": "Your name, e-mail address and Amazon user id",
    "profile:user_id": "Your Amazon user id",
    "postal_code": "Your postal code",
    "advertising::campaign_management": "Your advertising, Amazon Marketing Cloud included: reading and changing it",
    "advertising::audiences": "Your audiences: reading and changing them",
    "advertising::account_management": "Your advertising accounts: reading and changing them",
    "advertising::test:create_account": "Making advertising test accounts",
}
ADVERTISING = "advertising::campaign_management"


class LoginError(Exception):
    """A request that Login with Amazon refuses: `error` and `description` as the vendor words them."""

    def __init__(self, error: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.error = error
        self.description = description
        self.status = status


class Login:
    """Answers everything under /ap/oa, /auth/o2/ and /user/profile, and knows whose token is whose."""

    def __init__(self, world: World, clock: SimClock) -> None:
        self._world = world
        self._clock = clock

    def __call__(self, request: Request) -> Response:
        """The answer to one request. Never raises for what a client sent."""
        try:
            if request.path == "/ap/oa":
                return self._authorize(request)
            if request.path == "/auth/o2/token":
                return self._token(request)
            if request.path == "/auth/o2/tokeninfo":
                return self._token_info(request)
            return self._profile(request)
        except LoginError as error:
            return _json({"error": error.error, "error_description": error.description}, error.status)

    # Tokens

    def holder(self, token: str) -> Document | None:
        """The grant behind an access token: person, client and scopes; None if it is unknown, expired or revoked."""
        entry = self._world.table("lwa.tokens").get(_digest(token))
        if entry is None or entry["expires"] <= self._clock.now().timestamp():
            return None
        grant = self._world.table("lwa.grants").get(entry["grant"])
        return None if grant is None or grant["revoked"] else grant

    def issue(self, person: str, scopes: list[str], client: str = people.CLIENT_ID) -> dict[str, Any]:
        """Grant `client` these scopes on behalf of `person` and return the token endpoint's answer."""
        refresh = "Atzr|IwEB" + secrets.token_urlsafe(60)
        with self._world.change():
            key = _digest(refresh)
            self._world.table("lwa.grants").put(
                key,
                {
                    "id": key,
                    "person": person,
                    "client": client,
                    "scopes": scopes,
                    "revoked": False,
                    "since": self._clock.now().isoformat(),
                },
            )
            return self._access(key, refresh)

    def revoke(self, person: str) -> int:
        """Take back every grant that `person` gave, and say how many there were."""
        grants = self._world.table("lwa.grants")
        with self._world.change():
            mine = grants.find(lambda grant: grant["person"] == person and not grant["revoked"])
            for grant in mine:
                grants.put(grant["id"], {**grant, "revoked": True})
        return len(mine)

    def _access(self, grant: str, refresh: str) -> dict[str, Any]:
        access = "Atza|IwEB" + secrets.token_urlsafe(60)
        tokens = self._world.table("lwa.tokens")
        now = self._clock.now().timestamp()
        with self._world.change():
            for key in tokens.keys()[:20]:
                if tokens[key]["expires"] <= now:
                    tokens.delete(key)
            tokens.put(_digest(access), {"grant": grant, "expires": now + TOKEN_SECONDS})
        return {
            "access_token": access,
            "refresh_token": refresh,
            "token_type": "bearer",
            "expires_in": TOKEN_SECONDS,
        }

    # The consent page

    def _authorize(self, request: Request) -> Response:
        if request.method not in ("GET", "POST"):
            return Response(status=405, headers={"Allow": "GET, POST"})
        values: Mapping[str, str] = request.args
        if request.method == "POST":
            values = dict(parse_qsl(request.form.get("request", ""), keep_blank_values=True))
        client = self._world.table("lwa.clients").get(values.get("client_id", ""))
        redirect = values.get("redirect_uri", "")
        if client is None:
            return _refusal("An unknown client was specified", "invalid_client")
        if not allowed_redirect(client, redirect):
            return _refusal("The redirect URI you provided has not been whitelisted for your application", "redirect")
        state = {"state": values["state"]} if "state" in values else {}
        scopes = values.get("scope", "").split()
        try:
            _check_authorization(values, scopes)
        except LoginError as error:
            return _back(redirect, {"error": error.error, "error_description": error.description, **state})
        if request.method == "GET":
            return self._consent(request, client, values, scopes)
        session = request.cookies.get(COOKIE, "")
        if not session or not hmac.compare_digest(
            self._nonce(session, request.form["request"]), request.form.get("nonce", "")
        ):
            return _refusal("This page has expired. Go back to the application and sign in again.", "expired")
        chosen = people.person(self._world, request.form.get("person", ""))
        if request.form.get("answer") != "allow" or chosen is None:
            return _back(redirect, {"error": "access_denied", "error_description": "Access not permitted.", **state})
        code = "AN" + secrets.token_hex(9)
        with self._world.change():
            self._world.table("lwa.codes").put(
                _digest(code),
                {
                    "person": chosen["id"],
                    "client": client["id"],
                    "scopes": scopes,
                    "redirect_uri": redirect,
                    "challenge": values.get("code_challenge"),
                    "expires": self._clock.now().timestamp() + CODE_SECONDS,
                },
            )
        response = _back(redirect, {"code": code, "scope": " ".join(scopes), **state})
        response.set_cookie(LAST_PERSON, chosen["id"], path="/ap", httponly=True, samesite="Lax")
        return response

    def _consent(self, request: Request, client: Document, values: Mapping[str, str], scopes: list[str]) -> Response:
        session = request.cookies.get(COOKIE) or secrets.token_urlsafe(24)
        wanted = urlencode(dict(values))
        hint = values.get("login_hint") or request.cookies.get(LAST_PERSON, "")
        response = render(
            "consent.html",
            client=client,
            people=self._world.table("people").values(),
            accounts={one["id"]: one["name"] for one in self._world.table("amc.accounts").values()},
            scopes=[(scope, SCOPES[scope]) for scope in scopes],
            wanted=wanted,
            nonce=self._nonce(session, wanted),
            hint=hint,
        )
        response.set_cookie(COOKIE, session, path="/ap", httponly=True, samesite="Lax")
        return response

    def _nonce(self, session: str, wanted: str) -> str:
        key = self._world.table("settings")["secret"]["key"]
        return hmac.new(key.encode(), f"{session}\n{wanted}".encode(), hashlib.sha256).hexdigest()

    # The token endpoint

    def _token(self, request: Request) -> Response:
        if request.method != "POST":
            return Response(status=405, headers={"Allow": "POST"})
        form = request.form
        grant_type = _required(form, "grant_type")
        if grant_type not in ("authorization_code", "refresh_token"):
            raise LoginError(
                "unsupported_grant_type",
                "The authorization grant type is not supported by the authorization server",
            )
        client = self._client(request)
        answer = self._by_code(form, client) if grant_type == "authorization_code" else self._by_refresh(form, client)
        return _json(answer)

    def _client(self, request: Request) -> Document:
        given, secret = request.form.get("client_id"), request.form.get("client_secret")
        if request.authorization is not None and request.authorization.type == "basic":
            given, secret = request.authorization.username, request.authorization.password
        if not given:
            raise LoginError("invalid_request", "The request is missing a required parameter : client_id")
        client = self._world.table("lwa.clients").get(given)
        if client is None or not hmac.compare_digest(client["secret"].encode(), (secret or "").encode()):
            raise LoginError("invalid_client", "Client authentication failed", 401)
        return client

    def _by_code(self, form: Mapping[str, str], client: Document) -> dict[str, Any]:
        code = _required(form, "code")
        redirect = _required(form, "redirect_uri")
        codes = self._world.table("lwa.codes")
        wrong = LoginError("invalid_grant", "The request has an invalid parameter : code")
        with self._world.change():
            entry = codes.get(_digest(code))
            if entry is None or entry["client"] != client["id"]:
                raise wrong
            if entry["expires"] <= self._clock.now().timestamp():
                raise wrong
            if entry["redirect_uri"] != redirect:
                raise LoginError("invalid_grant", "The request has an invalid parameter : redirect_uri")
            if not _verifies(entry["challenge"], form.get("code_verifier")):
                raise LoginError("invalid_grant", "The request has an invalid parameter : code_verifier")
            codes.delete(_digest(code))
            return self.issue(entry["person"], entry["scopes"], client["id"])

    def _by_refresh(self, form: Mapping[str, str], client: Document) -> dict[str, Any]:
        refresh = _required(form, "refresh_token")
        grant = self._world.table("lwa.grants").get(_digest(refresh))
        if grant is None or grant["revoked"] or grant["client"] != client["id"]:
            raise LoginError(
                "invalid_grant",
                "The request has an invalid grant parameter : refresh_token. "
                "User may have revoked or didn't grant the permission.",
            )
        return self._access(grant["id"], refresh)

    # Profile

    def _grant_of(self, request: Request) -> Document:
        token = bearer(request) or request.args.get("access_token")
        if not token:
            raise LoginError("invalid_request", "The request is missing a required parameter : access_token")
        grant = self.holder(token)
        if grant is None:
            raise LoginError("invalid_token", "The request has an invalid parameter : access_token", 401)
        return grant

    def _profile(self, request: Request) -> Response:
        if request.method != "GET":
            return Response(status=405, headers={"Allow": "GET"})
        grant = self._grant_of(request)
        person = self._world.table("people")[grant["person"]]
        if "profile" in grant["scopes"]:
            return _json({key: person[key] for key in ("user_id", "name", "email")})
        if "profile:user_id" in grant["scopes"]:
            return _json({"user_id": person["user_id"]})
        raise LoginError("insufficient_scope", "The request requires higher privileges than provided", 403)

    def _token_info(self, request: Request) -> Response:
        if request.method != "GET":
            return Response(status=405, headers={"Allow": "GET"})
        grant = self._grant_of(request)
        return _json(
            {
                "iss": "https://www.amazon.com",
                "aud": grant["client"],
                "user_id": self._world.table("people")[grant["person"]]["user_id"],
                "app_id": grant["client"],
                "iat": int(datetime.fromisoformat(grant["since"]).timestamp()),
            }
        )


def bearer(request: Request) -> str | None:
    """The token in an `Authorization: Bearer …` header, if there is one."""
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() or None if kind.lower() == "bearer" else None


def allowed_redirect(client: Document, redirect: str) -> bool:
    """Whether `redirect` is an http(s) address on one of the client's hosts (any port), without a fragment."""
    try:
        parts = urlsplit(redirect)
        host = parts.netloc.rpartition("@")[2]
        name = host.rpartition(":")[0] if ":" in host.rpartition("]")[2] else host
        return (
            parts.scheme in ("http", "https")
            and name in client["redirect_hosts"]
            and "@" not in parts.netloc
            and not parts.fragment
            and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        return False


def _check_authorization(values: Mapping[str, str], scopes: list[str]) -> None:
    if values.get("response_type") != "code":
        raise LoginError(
            "unsupported_response_type",
            "The authorization server does not support obtaining an authorization code using this method.",
        )
    if not scopes or any(scope not in SCOPES for scope in scopes):
        raise LoginError("invalid_scope", "An unknown scope was requested")
    method, challenge = values.get("code_challenge_method"), values.get("code_challenge")
    if (method or challenge) and (method != "S256" or not challenge or len(challenge) != 43):
        raise LoginError("invalid_request", "The request has an invalid parameter : code_challenge")


def _verifies(challenge: str | None, verifier: str | None) -> bool:
    if challenge is None:
        return verifier is None
    hashed = hashlib.sha256((verifier or "").encode()).digest()
    return hmac.compare_digest(base64.urlsafe_b64encode(hashed).rstrip(b"=").decode(), challenge)


def _required(form: Mapping[str, str], name: str) -> str:
    value = form.get(name)
    if not value:
        raise LoginError("invalid_request", f"The request is missing a required parameter : {name}")
    return value


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _json(body: dict[str, Any], status: int = 200) -> Response:
    headers = {"Cache-Control": "no-store", "Pragma": "no-cache", "x-amzn-RequestId": secrets.token_hex(16)}
    return Response(json.dumps(body), status=status, content_type="application/json;charset=UTF-8", headers=headers)


def _back(redirect: str, values: Mapping[str, str]) -> Response:
    parts = urlsplit(redirect)
    query = "&".join(filter(None, (parts.query, urlencode(values))))
    return Response(status=302, headers={"Location": urlunsplit(parts._replace(query=query))})


def _refusal(summary: str, code: str) -> Response:
    return render("refusal.html", status=400, summary=summary, code=code)
