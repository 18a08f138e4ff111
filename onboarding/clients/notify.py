"""Posts messages to Slack, Microsoft Teams and webhooks.

Slack and Teams by the library apprise, at their own hosts alone. Webhooks are ours: signed as Standard Webhooks
describe, over https, to hosts of WEBHOOK_HOSTS, never on to another address, and not to private ones.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import json
import logging
import re
import secrets
import socket
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
from django.conf import settings

from onboarding.clients.failures import Fix, Later
from onboarding.clients.http import retry_after_seconds

SLACK = re.compile(r"https://hooks\.slack\.com/services/[A-Za-z0-9]+/[A-Za-z0-9]+/[A-Za-z0-9]+")
TEAMS = re.compile(
    r"https://[a-z0-9.-]+\.(logic\.azure\.com|api\.powerplatform\.com)(:443)?"
    r"(/powerautomate/automations/direct(/cu/[0-9]+)?)?/workflows/[A-Za-z0-9_-]+/triggers/manual/paths/invoke\?.+"
)
TEAMS_QUERY = frozenset({"api-version", "sp", "sv", "sig"})
KEY_PREFIX = "whsec_"
_STATUS = re.compile(r"error=(\d{3})\b")
# What the connection says when not a byte of the message can have left.
_NEVER_LEFT = ("NewConnectionError", "NameResolutionError", "ConnectTimeoutError", "ProxyError")


class WrongAddress(ValueError):
    """An address that may not be posted to; its text says why, in words for whoever typed it."""


@dataclass(frozen=True)
class Message:
    """What is posted: `key` is the same for every try. `items` are pairs of subject, text and link."""

    key: str
    what: str
    title: str
    text: str
    body: dict[str, Any]


def new_key() -> str:
    """A secret that signs a webhook: 32 random bytes."""
    return KEY_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def check_address(kind: str, address: str) -> str:
    """The host of an address that may be posted to. Raises WrongAddress for any other."""
    try:
        parts = urlsplit(address)
        host, port = (parts.hostname or "").lower(), parts.port
        strange = parts.username is not None or bool(parts.fragment)
    except ValueError:
        raise WrongAddress("This is not an address.") from None
    if parts.scheme != "https" or strange or not host:
        raise WrongAddress("The address must begin with https:// and hold no user name.")
    if kind == "slack":
        if not SLACK.fullmatch(address):
            raise WrongAddress("Slack's incoming webhooks are such as https://hooks.slack.com/services/T…/B…/…")
    elif kind == "teams":
        names = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
        if not TEAMS.fullmatch(address) or not names <= TEAMS_QUERY or "sig" not in names:
            raise WrongAddress(
                "Copy the address of the Teams workflow “When a Teams webhook request is received”: "
                "https://….logic.azure.com/workflows/… or https://….api.powerplatform.com/…"
            )
    else:
        named = host if port in (None, 443) else f"{host}:{port}"
        if named not in settings.WEBHOOK_HOSTS:
            raise WrongAddress(f"{named} is not among the hosts that webhooks may go to. Ask who runs the portal.")
    return host


def post(kind: str, address: str, key: str, message: Message, *, now: float) -> None:
    """Post the message. Raises Fix if somebody has to mend something, Later if it may be tried again.

    A Later with `ambiguous` may have arrived: repeat it only where the receiver knows a message by its key. `now` is in
    seconds since 1970. No failure quotes the address.
    """
    try:
        check_address(kind, address)
    except WrongAddress as wrong:
        raise Fix("The address may not be posted to", why=str(wrong), who="Admin", code="WrongAddress") from None
    if kind == "webhook":
        _post_webhook(address, key, message, now)
    else:
        _post_chat(kind, address, message)


def signature(key: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`: HMAC-SHA256 over id, timestamp and body, as Standard Webhooks describe it."""
    secret = base64.b64decode(key.removeprefix(KEY_PREFIX))
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()


def _address_of(host: str, port: int) -> str:
    """An address of the host that may be connected to: what is checked is what is connected to."""
    try:
        found = [str(row[4][0]) for row in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except OSError as error:
        raise _later("The host of the webhook has no address", type(error).__name__) from None
    if not settings.WEBHOOK_PRIVATE and any(not ipaddress.ip_address(one).is_global for one in found):
        raise Fix("The webhook's host has a private address", why="Only public addresses are allowed.", who="Admin")
    return found[0]


def _post_webhook(address: str, key: str, message: Message, now: float) -> None:
    url = httpx.URL(address)
    port = url.port or 443
    body = json.dumps(message.body, ensure_ascii=False).encode()
    stamp = int(now)
    headers = {
        "Host": url.netloc.decode("ascii"),
        "Content-Type": "application/json",
        "User-Agent": "amc-onboarding-portal",
        "Idempotency-Key": message.key,
        "webhook-id": message.key,
        "webhook-timestamp": str(stamp),
        "webhook-signature": signature(key, message.key, stamp, body),
    }
    pinned = url.copy_with(host=_address_of(url.host, port))
    try:
        # No proxy of the environment: it would look the host up once more, for itself.
        with (
            httpx.Client(
                verify=ssl.create_default_context(), trust_env=False, follow_redirects=False, timeout=_patience()
            ) as client,
            client.stream(
                "POST", pinned, content=body, headers=headers, extensions={"sni_hostname": url.host}
            ) as answer,
        ):
            status, wanted = answer.status_code, answer.headers.get("retry-after", "")
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise _later("The webhook's host could not be reached", type(error).__name__) from None
    except httpx.TransportError as error:
        raise _later("The webhook's host did not answer", type(error).__name__, ambiguous=True) from None
    _judge("The webhook", status, retry_after_seconds(wanted) if wanted else None)


def _patience() -> float:
    # The clock posts between its ticks.
    return float(min(settings.CALL_TIMEOUT, 5))


def _judge(who: str, status: int, retry_after: float | None = None) -> None:
    if 200 <= status < 300:
        return
    if status in (408, 425, 429) or status >= 500:
        raise Later(f"{who} asks to try again later", code=str(status), status=status, retry_after=retry_after)
    raise Fix(f"{who} refused the message ({status})", who="Admin", code=str(status), status=status)


def _later(what: str, code: str, *, ambiguous: bool = False) -> Later:
    return Later(what, who="Admin", code=code, ambiguous=ambiguous)


class _Heard(logging.Handler):
    """Keeps what the library says of one message. It holds addresses: it goes nowhere from here."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += record.getMessage() + "\n"


def _post_chat(kind: str, address: str, message: Message) -> None:
    # Here, and not at the top: the library is large, and workers and web processes never need it.
    from apprise import AppriseAsset, NotifyFormat
    from apprise.plugins.slack import NotifySlack
    from apprise.plugins.workflows import NotifyWorkflows

    plugin: Any = NotifySlack if kind == "slack" else NotifyWorkflows
    parsed = plugin.parse_native_url(address)
    asset = AppriseAsset(app_id="AMC onboarding portal", secure_logging=True, image_url_mask=None, image_url_logo=None)
    options = {"asset": asset, "include_image": False, "redirect": "no", "cto": _patience(), "rto": _patience()}
    sender = plugin(**{**parsed, **options})
    heard, logger = _Heard(), logging.getLogger("apprise")
    before = logger.level, logger.propagate
    logger.addHandler(heard)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        good = sender.notify(body=message.text, title=message.title, body_format=NotifyFormat.TEXT)
    finally:
        logger.removeHandler(heard)
        logger.level, logger.propagate = before
    if good:
        return
    name = "Slack" if kind == "slack" else "Teams"
    status = _STATUS.search(heard.text)
    if status:
        _judge(name, int(status[1]))
    # The library tells failures apart in words alone. What can't be told apart may have been posted.
    never_left = any(word in heard.text for word in _NEVER_LEFT)
    raise _later(
        f"{name} could not be reached" if never_left else f"{name} did not answer", "", ambiguous=not never_left
    )
