"""Calls the portal's API: with the token, again where that is safe, and with its problems as exceptions."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from amc_portal.config import Config
from amc_portal.errors import Away, Failed, NotAllowed, NotFound

TRIES = 4
MOST_WAIT = 60.0
_BY_STATUS: dict[int, type[Failed]] = {401: NotAllowed, 403: NotAllowed, 404: NotFound, 429: Away}
_AGAIN = (429, 502, 503, 504)
Json = Any


class Client:
    """One portal. Every POST carries a key of its own, so that repeating it does nothing twice."""

    def __init__(
        self,
        config: Config,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._sleep = sleep
        self._http = httpx.Client(
            base_url=f"{config.url}/api/v1/",
            headers={"Authorization": f"Bearer {config.token}", "Accept": "application/json"},
            timeout=30,
            follow_redirects=False,
            transport=transport,
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **query: Any) -> Json:
        """What is there. Raises Failed."""
        return self._call("GET", path, params=_given(query)).json()

    def every(self, path: str, **query: Any) -> Iterator[Json]:
        """Every row of a list, page after page."""
        address, params = path, _given(query)
        while address:
            response = self._call("GET", address, params=params or None)
            yield from response.json()["items"]
            # The next page's address has the query in it.
            address, params = response.links.get("next", {}).get("url", ""), {}

    def post(self, path: str, body: Json = None, **query: Any) -> Json:
        """Do something, once. Raises Failed."""
        return self._call("POST", path, json=body or {}, params=_given(query), key=True).json()

    def post_file(self, path: str, content: bytes, media_type: str, **query: Any) -> Json:
        """Do something with a file, once. Raises Failed."""
        return self._call(
            "POST", path, content=content, headers={"Content-Type": media_type}, params=_given(query), key=True
        ).json()

    def _call(self, method: str, path: str, *, key: bool = False, **arguments: Any) -> httpx.Response:
        headers = {**arguments.pop("headers", {})}
        if key:
            headers["Idempotency-Key"] = uuid.uuid4().hex
        for left in reversed(range(TRIES)):
            wait = 2.0 ** (TRIES - 1 - left)
            try:
                response = self._http.request(method, path, headers=headers, **arguments)
            except httpx.TransportError as error:
                if not left:
                    raise Away(f"{self._http.base_url.host} can't be reached: {error}") from None
            else:
                if response.status_code not in _AGAIN or not left:
                    return _checked(response)
                told = response.headers.get("Retry-After", "")
                wait = float(told) if told.isdigit() else wait
                if wait > MOST_WAIT:
                    return _checked(response)
            self._sleep(wait)
        raise AssertionError("the last try returns or raises")


def _given(query: dict[str, Any]) -> dict[str, str]:
    words = {True: "true", False: "false"}
    return {
        name.rstrip("_"): words[value] if isinstance(value, bool) else str(value)
        for name, value in query.items()
        if value not in (None, "")
    }


def _checked(response: httpx.Response) -> httpx.Response:
    if response.is_success:
        return response
    status = response.status_code
    kind = _BY_STATUS.get(status, Away if status >= 500 else Failed)
    try:
        problem = response.json()
        lines = [str(problem["detail"])]
        lines += [_line(error) for error in problem["errors"]]
    except (ValueError, KeyError, TypeError):
        # Not the portal: a proxy, or another address.
        raise kind(f"{response.url.host} answered {status}.") from None
    raise kind("\n".join(dict.fromkeys(lines)))


def _line(error: dict[str, Any]) -> str:
    where = f"line {error['line']}" if error.get("line") else error.get("pointer") or error.get("parameter") or ""
    return f"  {where}: {error['detail']}" if where else f"  {error['detail']}"
