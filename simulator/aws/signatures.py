"""Presigned addresses: whether the signature in the query is that of the request, for keys whose secret is known."""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import quote, unquote

from simulator.aws import wire
from simulator.aws.wire import Environ

_SAFE = "-_.~"


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def presigned_is_right(environ: Environ, secret: str) -> bool:
    """Whether Signature Version 4 over method, path, query and the signed headers gives X-Amz-Signature."""
    pairs = []
    for piece in str(environ.get("QUERY_STRING") or "").split("&"):
        name, _, value = piece.partition("=")
        pairs.append((quote(unquote(name), safe=_SAFE), quote(unquote(value), safe=_SAFE)))
    query = {name: unquote(value) for name, value in pairs}
    given = query.get("X-Amz-Signature", "")
    headers = wire.headers_of(environ)
    signed = query.get("X-Amz-SignedHeaders", "").split(";")
    canonical = "\n".join(
        [
            str(environ["REQUEST_METHOD"]),
            wire.raw_path(environ),
            "&".join(f"{name}={value}" for name, value in sorted(pairs) if name != "X-Amz-Signature"),
            *(f"{name}:{' '.join(headers.get(name, '').split())}" for name in signed),
            "",
            ";".join(signed),
            headers.get("x-amz-content-sha256", "UNSIGNED-PAYLOAD"),
        ]
    )
    _, _, scope = query.get("X-Amz-Credential", "").partition("/")
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", query.get("X-Amz-Date", ""), scope, hashed])
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = _hmac(key, part)
    return hmac.compare_digest(_hmac(key, text).hex(), given)
