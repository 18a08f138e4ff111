"""One WSGI application for every AWS service: who calls, which service, which operation, and off to whoever serves it.

S3, IAM, Glue, Athena's bookkeeping and Lake Formation are moto's; Clean Rooms, Entity Resolution, STS, Athena's queries
and Glue's crawlers are the simulator's own.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from simulator.aws import authorize, native, s3, service, signatures, sts, wire
from simulator.aws.errors import AwsError
from simulator.aws.identity import SESSIONS, Call, Caller, Unknown, identify
from simulator.aws.inventory import inventory
from simulator.aws.moto_state import MotoCopy, MotoState
from simulator.aws.registry import HANDLERS
from simulator.aws.wire import Answer, Environ
from simulator.clock import SimClock
from simulator.store import World

logger = logging.getLogger(__name__)

_SCOPE = re.compile(r"Credential=([^/,\s]{1,128})/(\d{8})/([a-z0-9-]{1,32})/([a-z0-9-]{1,32})/aws4_request")
_QUERY_SERVICES = {"iam", "sts"}
KNOWN_SERVICES = {"s3", "iam", "sts", "glue", "athena", "lakeformation", "cleanrooms", "entityresolution"}


class AwsFront:
    """The AWS endpoint. `data_dir` keeps moto's part (None: for as long as the process lives)."""

    def __init__(self, world: World, clock: SimClock, data_dir: Path | None) -> None:
        self.world = world
        self.clock = clock
        self.role_delay_seconds = 2.0
        self.moto = MotoState(data_dir / "aws" if data_dir is not None else None)
        self._durable = data_dir is not None
        self._s3 = s3.S3(self.moto)

    # What the request is

    def _scope(self, environ: Environ) -> tuple[str, str, str, str] | None:
        """Access key id, date, region and service of the signature, from the header or a presigned query."""
        header = str(environ.get("HTTP_AUTHORIZATION") or "")
        found = _SCOPE.search(header)
        if found is None and "X-Amz-Credential=" in str(environ.get("QUERY_STRING") or ""):
            credential = parse_qs(str(environ["QUERY_STRING"])).get("X-Amz-Credential", [""])[0]
            found = _SCOPE.search(f"Credential={credential}")
        return (found[1], found[2], found[3], found[4]) if found else None

    def is_aws(self, environ: Environ) -> bool:
        """Is the request signed for AWS, presigned, or a browser's preflight for a bucket that exists?"""
        if self._scope(environ) is not None:
            return True
        return environ["REQUEST_METHOD"] == "OPTIONS" and self.moto.bucket(s3.target_of(environ).bucket) is not None

    def service_name(self, environ: Environ) -> str:
        """The service that the request is for; S3 when it doesn't say."""
        scope = self._scope(environ)
        return scope[3] if scope else "s3"

    def operation_name(self, environ: Environ) -> str:
        """Service and operation, such as "cleanrooms:CreateMembership" or "s3:PutObject"; the body stays readable."""
        name = self.service_name(environ)
        return f"{name}:{self._operation(name, environ) or 'Unknown'}"

    def _operation(self, name: str, environ: Environ) -> str:
        if name in HANDLERS or name == "lakeformation":
            if environ["REQUEST_METHOD"] == "OPTIONS":
                return "Options"
            found = service.match(name, str(environ["REQUEST_METHOD"]), wire.raw_path(environ))
            return found[0].name if found else ""
        if name in wire.JSON_TARGET:
            return str(environ.get("HTTP_X_AMZ_TARGET") or "").rpartition(".")[2]
        if name in _QUERY_SERVICES:
            return self._form(environ).get("Action", "")
        return s3.operation_of(environ)

    @staticmethod
    def _form(environ: Environ) -> dict[str, str]:
        text = str(environ.get("QUERY_STRING") or "")
        if "x-www-form-urlencoded" in str(environ.get("CONTENT_TYPE") or ""):
            text += "&" + wire.read_body(environ, 1 << 20).decode("utf-8", "replace")
        return {key: values[0] for key, values in parse_qs(text, keep_blank_values=True).items()}

    def caller_account(self, environ: Environ) -> str | None:
        """The account that signs the request, None when unknown."""
        scope = self._scope(environ)
        if scope is None:
            return None
        try:
            return identify(self.world, self.clock, self.moto, scope[0], self._token(environ)).account
        except Unknown:
            return None

    @staticmethod
    def _token(environ: Environ) -> str | None:
        header = environ.get("HTTP_X_AMZ_SECURITY_TOKEN")
        if header:
            return str(header)
        query = parse_qs(str(environ.get("QUERY_STRING") or ""))
        return query.get("X-Amz-Security-Token", [None])[0]

    # Answering

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        return self._answer(environ).send(environ, start_response)

    def _answer(self, environ: Environ) -> Answer:
        name = self.service_name(environ)
        try:
            if environ["REQUEST_METHOD"] == "OPTIONS" and "HTTP_AUTHORIZATION" not in environ:
                with self.world.lock:
                    return self._s3.preflight(environ)
            if name not in KNOWN_SERVICES:
                return wire.error(
                    "cleanrooms", "UnknownOperationException", f"The simulator has no service '{name}'", 404
                )
            return self._serve(name, environ)
        except AwsError as refused:
            status = service.error_status(name, refused.code) if name in HANDLERS else None
            return wire.error(name, refused.code, refused.message, status or refused.status, refused.members)
        except Unknown as unknown:
            return self._unknown(name, unknown)
        except ConnectionError:
            raise
        except Exception:
            logger.exception("an internal error in %s", self.operation_name(environ))
            if name in HANDLERS or name == "sts":
                return wire.error(name, "InternalServerException", "An internal error occurred.", 500)
            # moto raises bare Python errors for some malformed requests, which AWS would have refused.
            codes = {"s3": "InvalidRequest", "iam": "ValidationError", "glue": "InvalidInputException"}
            return wire.error(name, codes.get(name, "ValidationException"), "The request could not be understood.", 400)

    @staticmethod
    def _unknown(name: str, unknown: Unknown) -> Answer:
        if name == "s3":
            code = {"InvalidClientTokenId": "InvalidAccessKeyId"}.get(unknown.code, unknown.code)
            message = unknown.message
            if code == "InvalidAccessKeyId":
                message = "The AWS Access Key Id you provided does not exist in our records."
            return wire.error(name, code, message, 400 if code == "ExpiredToken" else 403)
        if name in _QUERY_SERVICES:
            return wire.error(name, unknown.code, unknown.message, 403)
        code = {"ExpiredToken": "ExpiredTokenException"}.get(unknown.code, "UnrecognizedClientException")
        return wire.error(name, code, unknown.message, 403 if name in wire.REST_JSON else 400)

    def _serve(self, name: str, environ: Environ) -> Answer:
        scope = self._scope(environ)
        if scope is None:
            return self._kept(environ, self._s3.handle(environ, None, "us-east-1", self.world.lock))
        caller = identify(self.world, self.clock, self.moto, scope[0], self._token(environ))
        call = Call(self.world, self.clock, self.moto, caller, scope[2], self)
        if name == "s3":
            return self._serve_s3(environ, caller, scope)
        operation = self._operation(name, environ)
        if name in HANDLERS:
            return self._serve_own(name, environ, call)
        if name == "sts":
            handler = sts.OPERATIONS.get(operation)
            if handler is None:
                return wire.error(name, "InvalidAction", f"Could not find operation {operation[:100]}", 400)
            form = self._form(environ)
            with self.world.lock:
                return handler(call, form)
        body = wire.read_body(environ)
        with self.world.lock:
            parameters = self._parameters(name, environ, body)
            authorize.check(call, name, operation, parameters)
            authorize.check_boundary(call, name, operation, parameters)
        answer = self._serve_native(f"{name}:{operation}", call, parameters)
        if answer is None:
            with self.world.lock:
                answer = self._ask_moto(name, operation, environ, call, body)
        if answer.status < 400 and not operation.startswith(("Get", "List", "Batch", "Search", "Simulate")):
            self._keep()
        return answer

    @staticmethod
    def _serve_native(operation: str, call: Call, parameters: dict[str, Any]) -> Answer | None:
        if operation in native.XML_OPERATIONS:
            with call.world.lock:
                return native.XML_OPERATIONS[operation](call, parameters)
        if operation not in native.JSON_OPERATIONS:
            return None
        headers = {"Content-Type": "application/x-amz-json-1.1", "x-amzn-RequestId": wire.request_id()}
        return Answer(200, headers, json.dumps(native.JSON_OPERATIONS[operation](call, parameters)).encode())

    @staticmethod
    def _parameters(name: str, environ: Environ, body: bytes) -> dict[str, Any]:
        if name in _QUERY_SERVICES:
            return dict(AwsFront._form(environ))
        try:
            loaded = json.loads(body or b"{}")
        except (ValueError, RecursionError):
            raise AwsError("SerializationException", "Could not parse the request body as JSON") from None
        if not isinstance(loaded, dict):
            raise AwsError("SerializationException", "Start of structure or map found where not expected.")
        return loaded

    def _serve_s3(self, environ: Environ, caller: Caller, scope: tuple[str, str, str, str]) -> Answer:
        query = parse_qs(str(environ.get("QUERY_STRING") or ""))
        if "X-Amz-Expires" in query and "HTTP_AUTHORIZATION" not in environ:
            refused = self._presigned_problem(query) or self._signature_problem(environ, scope[0])
            if refused is not None:
                return refused
        return self._kept(environ, self._s3.handle(environ, caller, scope[2], self.world.lock))

    def _kept(self, environ: Environ, answer: Answer) -> Answer:
        if answer.status < 400 and environ["REQUEST_METHOD"] not in ("GET", "HEAD", "OPTIONS"):
            self._keep()
        return answer

    def _presigned_problem(self, query: dict[str, list[str]]) -> Answer | None:
        """A presigned address is dated by its maker's clock, which knows nothing of skipped time."""
        try:
            signed = datetime.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
            seconds = int(query["X-Amz-Expires"][0])
        except (KeyError, ValueError):
            return wire.error(
                "s3", "AuthorizationQueryParametersError", "X-Amz-Date or X-Amz-Expires is malformed", 400
            )
        if not 0 < seconds <= 604800:
            return wire.error(
                "s3",
                "AuthorizationQueryParametersError",
                "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less "
                "than 604800 seconds",
                400,
            )
        real_now = self.clock.now() - timedelta(seconds=self.clock.offset)
        if real_now > signed + timedelta(seconds=seconds):
            return wire.error("s3", "AccessDenied", "Request has expired", 403, {"X-Amz-Expires": seconds})
        return None

    def _signature_problem(self, environ: Environ, key_id: str) -> Answer | None:
        session = self.world.table(SESSIONS).get(key_id)
        secret = session.get("secret") if session is not None else None
        if secret is None or signatures.presigned_is_right(environ, str(secret)):
            return None
        return wire.error(
            "s3",
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. Check your key and "
            "signing method.",
            403,
        )

    def _ask_moto(self, name: str, operation: str, environ: Environ, call: Call, body: bytes) -> Answer:
        if name == "lakeformation":
            url = f"http://lakeformation.{call.region}.amazonaws.com{wire.raw_path(environ)}"
        elif name == "iam":
            url = "http://iam.amazonaws.com/"
        else:
            url = f"http://{name}.{call.region}.amazonaws.com/"
        if environ.get("QUERY_STRING"):
            url += f"?{environ['QUERY_STRING']}"
        headers = {
            key: value
            for key, value in wire.headers_of(environ).items()
            if key not in ("host", "content-length", "transfer-encoding", "user-agent", "connection")
        }
        status, answered, content = self.moto.ask(
            name, call.account, str(environ["REQUEST_METHOD"]), url, headers, body
        )
        answered.pop("server", None)
        answered.setdefault("x-amzn-RequestId", wire.request_id())
        if status >= 500:
            return wire.error(name, "ValidationError", "The request could not be understood.", 400)
        if status < 400 and name == "iam":
            authorize.after_iam(call, operation, self._form(environ), content)
        return Answer(status, answered, content)

    def _serve_own(self, name: str, environ: Environ, call: Call) -> Answer:
        raw = wire.raw_path(environ)
        found = service.match(name, str(environ["REQUEST_METHOD"]), raw)
        body = wire.read_body(environ, 8 << 20)
        if found is None:
            return wire.error(
                name,
                "UnknownOperationException",
                f"No operation at {environ['REQUEST_METHOD']} {unquote(raw)[:200]}",
                404,
            )
        route, path_members = found
        if not service.offered(call.region):
            raise AwsError("UnrecognizedClientException", "The security token included in the request is invalid.")
        handler = HANDLERS[name].get(route.name)
        parameters = service.parse(
            route, path_members, str(environ.get("QUERY_STRING") or ""), wire.headers_of(environ), body
        )
        with self.world.change():
            authorize.check(call, name, route.name, parameters)
            if handler is None:
                raise AwsError(
                    "AccessDeniedException", f"{route.name} is not part of what the simulator offers.", status=403
                )
            result = handler(call, parameters)
        output = service.shaped(route.model.output_shape, result)
        status = int(route.model.http.get("responseCode", 200))
        document = b"" if status == 204 else json.dumps(output or {}).encode()
        return Answer(status, {"Content-Type": "application/json", "x-amzn-RequestId": wire.request_id()}, document)

    # Keeping

    def _keep(self) -> None:
        """Write moto's part to disk: before the answer, so that what was answered outlasts a killed process."""
        with self.world.lock:
            if self._durable:
                self.moto.save()

    def reset(self) -> None:
        """Forget moto's part; the world's own tables are the caller's to reset."""
        with self.world.lock:
            self.moto.reset()

    def copy(self) -> MotoCopy:
        """moto's part, to be put back; the world's own tables are the caller's to copy."""
        with self.world.lock:
            return self.moto.copy()

    def put_back(self, copy: MotoCopy) -> None:
        """Have moto's part as it was when `copy` was made."""
        with self.world.lock:
            self.moto.put_back(copy)
            self._keep()

    def close(self) -> None:
        """Save and let go."""
        with self.world.lock:
            self._keep()
            self._durable = False  # a request that ends only now would keep what is gone already
            self.moto.close()

    def inventory(self) -> dict[str, list[dict[str, str]]]:
        """What exists in each account: entries of service, kind, name and arn."""
        with self.world.lock:
            return inventory(self.world, self.moto)
