"""HTTP as AWS services speak it: errors in each service's own form, and small helpers over WSGI."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import escape

Environ = dict[str, Any]

JSON_TARGET = {"glue", "athena"}
REST_JSON = {"cleanrooms", "entityresolution", "lakeformation"}
_REASONS = {
    200: "OK", 204: "No Content", 206: "Partial Content", 301: "Moved Permanently", 304: "Not Modified",
    400: "Bad Request", 402: "Payment Required", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    409: "Conflict", 411: "Length Required", 412: "Precondition Failed", 416: "Requested Range Not Satisfiable",
    429: "Too Many Requests",
}  # fmt: skip


@dataclass
class Answer:
    """A response: either `body`, or bytes `start` to `end` (exclusive) of the file `path`."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    path: Path | None = None
    start: int = 0
    end: int = 0

    def send(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """Answer over WSGI."""
        headers = {name: value for name, value in self.headers.items() if name.lower() != "content-length"}
        known = next((value for name, value in self.headers.items() if name.lower() == "content-length"), None)
        chunks: Iterable[bytes]
        if self.path is not None:
            headers["Content-Length"] = str(self.end - self.start)
            chunks = _pieces(self.path, self.start, self.end)
        elif environ["REQUEST_METHOD"] == "HEAD" and known is not None:
            headers["Content-Length"] = known
            chunks = []
        else:
            if self.status not in (204, 304):
                headers["Content-Length"] = str(len(self.body))
            chunks = [self.body] if self.body else []
        if environ["REQUEST_METHOD"] == "HEAD":
            chunks = []
        start_response(f"{self.status} {_REASONS.get(self.status, 'Status')}", list(headers.items()))
        return chunks


def _pieces(path: Path, start: int, end: int) -> Iterator[bytes]:
    with path.open("rb") as body:
        body.seek(start)
        left = end - start
        while left > 0:
            piece = body.read(min(left, 1 << 18))
            if not piece:
                return
            left -= len(piece)
            yield piece


def request_id() -> str:
    """A fresh request id."""
    return str(uuid.uuid4())


def raw_path(environ: Environ) -> str:
    """The path as it was sent, percent-escapes and all."""
    uri = str(environ.get("RAW_URI") or environ.get("REQUEST_URI") or "")
    if uri:
        if uri.startswith(("http://", "https://")):
            uri = "/" + uri.split("/", 3)[3] if uri.count("/") >= 3 else "/"
        return uri.split("?", 1)[0]
    return quote(str(environ.get("PATH_INFO") or "/").encode("latin-1", "replace"), safe="/~:@!$&'()*+,;=-._")


def headers_of(environ: Environ) -> dict[str, str]:
    """Request headers by lower-case name."""
    found = {
        name[5:].replace("_", "-").lower(): str(value)
        for name, value in environ.items()
        if name.startswith("HTTP_") and isinstance(value, str)
    }
    for name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if environ.get(name):
            found[name.replace("_", "-").lower()] = str(environ[name])
    return found


def read_body(environ: Environ, limit: int = 64 << 20) -> bytes:
    """The whole body (at most `limit` bytes), left readable for whoever comes next."""
    stream = environ["wsgi.input"]
    if environ.get("CONTENT_LENGTH"):
        try:
            size = max(0, int(environ["CONTENT_LENGTH"]))
        except ValueError:
            size = 0
        body = stream.read(min(size, limit))
    elif environ.get("wsgi.input_terminated"):
        body = stream.read(limit)
    else:
        body = b""
    environ["wsgi.input"] = io.BytesIO(body)
    return bytes(body)


def error(service: str, code: str, message: str, status: int, members: dict[str, Any] | None = None) -> Answer:
    """An error in the form that `service` uses."""
    identifier = request_id()
    if service in REST_JSON or service in JSON_TARGET:
        document = {"message": message, **(members or {})}
        if service in JSON_TARGET:
            document = {"__type": code, **document}
        return Answer(
            status,
            {
                "Content-Type": "application/json" if service in REST_JSON else "application/x-amz-json-1.1",
                "x-amzn-ErrorType": code,
                "x-amzn-RequestId": identifier,
            },
            json.dumps(document).encode(),
        )
    if service == "s3":
        extra = "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in (members or {}).items())
        text = (
            f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{escape(code)}</Code>'
            f"<Message>{escape(message)}</Message>{extra}<RequestId>{identifier}</RequestId>"
            f"<HostId>{identifier}</HostId></Error>"
        )
        return Answer(status, {"Content-Type": "application/xml", "x-amz-request-id": identifier}, text.encode())
    text = (
        f"<ErrorResponse><Error><Type>Sender</Type><Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
        f"</Error><RequestId>{identifier}</RequestId></ErrorResponse>"
    )
    return Answer(status, {"Content-Type": "text/xml", "x-amzn-RequestId": identifier}, text.encode())
