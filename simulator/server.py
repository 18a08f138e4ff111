"""The simulator as one program: a WSGI application that sends each request to whom it is meant for, and its server."""

from __future__ import annotations

import io
import json
import logging
import re
import socket
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from cheroot import wsgi
from werkzeug.wrappers import Request, Response

from simulator import capture, control, learn, misbehave, page, people
from simulator.amc import description
from simulator.amc.api import FAIL, AmcApi, raw_path, refusal
from simulator.amc.context import Amc
from simulator.amc.errors import ApiError
from simulator.amc.progress import Progress
from simulator.aws import wire
from simulator.clock import SimClock, real_now
from simulator.limits import Limits
from simulator.login import Login
from simulator.pace import Pace
from simulator.store import Document, World

if TYPE_CHECKING:
    from simulator.aws.front import AwsFront
    from simulator.aws.moto_state import MotoCopy

log = logging.getLogger("simulator")

SPOOL = 4 << 20
"""Request bodies above this size lie in a file while they are worked on, not in memory."""
SOCKET = "simulator.socket"
"""Where a request's environment carries its connection."""
THREADS = 48
SEEDED = 130
"""How many instances the account for trying out paging begins with."""
WITH_QUERIES = 12
"""How many of them have workflow executions."""

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
_ABOUT = frozenset({"/", "/openapi.json", "/watch.js", "/learn", "/learn.sh"})
_HOST = re.compile(r"[a-z0-9.-]+(:[0-9]+)?|\[[0-9a-f:]+\](:[0-9]+)?", re.IGNORECASE)
_CODE = re.compile(r"AN[0-9a-f]+")
_LOGIN = {
    "/ap/oa": "lwa:authorize",
    "/auth/o2/token": "lwa:token",
    "/auth/o2/tokeninfo": "lwa:tokenInfo",
    "/user/profile": "lwa:profile",
}
_DEFAULTS: Document = {"page_size": 100, "customer_pays": False, "role_delay": 2.0, "amc_rate": 0.0}


@dataclass(frozen=True)
class _Snapshot:
    """A world to go back to."""

    documents: dict[str, dict[str, str]]
    aws: MotoCopy
    exchanges: list[Document]


class Simulator:
    """Everything that the simulated Amazon is. `data_dir` keeps it; without one it lives as long as the process."""

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        with_control: bool = True,
        seeded: int = SEEDED,
        real_now: Callable[[], datetime] = real_now,
    ) -> None:
        if data_dir is not None:
            data_dir.mkdir(parents=True, exist_ok=True)
        self._seeded = seeded
        self.world = World(data_dir / "world.sqlite3" if data_dir else None)
        self.clock = SimClock(self.world, real_now)
        self.pace = Pace(self.world)
        self._data_dir = data_dir
        self._aws: Future[AwsFront] | None = None
        self._aws_lock = threading.Lock()
        self.amc = Amc(self.world, self.clock, self.pace, lambda: self.aws)
        self.progress = Progress(self.amc)
        self.login = Login(self.world, self.clock)
        self.api = AmcApi(self.amc, self.login)
        self.rules = misbehave.Rules(self.world)
        self.holds = misbehave.Holds()
        self._limits = Limits()
        self._amc_rate = float(self.settings()["amc_rate"])
        self.capture = capture.Capture(data_dir / "exchanges.jsonl" if data_dir else None)
        self._control = control.Control(self) if with_control else None
        self._snapshots: dict[int, _Snapshot] = {}
        if not len(self.world.table("people")):
            self._seed()

    def load_aws(self) -> Future[AwsFront]:
        """Begin to load the AWS side, if that has not begun: moto takes as long as all the rest.

        Not to be waited for while holding the world's lock: loading may need it.
        """
        with self._aws_lock:
            if self._aws is None:
                loader = ThreadPoolExecutor(1, "aws")
                self._aws = loader.submit(self._aws_side)
                loader.shutdown(wait=False)
            return self._aws

    def _aws_side(self) -> AwsFront:
        from simulator.aws.front import AwsFront

        front = AwsFront(self.world, self.clock, self._data_dir)
        front.role_delay_seconds = self.settings()["role_delay"]
        return front

    @property
    def aws(self) -> AwsFront:
        """The AWS side, once it is loaded. Raises what kept it from loading."""
        return self.load_aws().result()

    def is_aws(self, environ: Environ) -> bool:
        """Whether a request is for AWS: signed, presigned, or a browser's question before it uploads to a bucket."""
        likely = (
            "aws4_request" in str(environ.get("HTTP_AUTHORIZATION", ""))
            or "X-Amz-Credential=" in str(environ.get("QUERY_STRING", ""))
            or environ["REQUEST_METHOD"] == "OPTIONS"
        )
        return likely and self.aws.is_aws(environ)

    def _seed(self) -> None:
        with self.world.change():
            people.seed(self.world)
            control.seed_sandboxes(self)
            control.seed_instances(self, people.CATALOGUE.id, self._seeded)
            control.seed_executions(self, people.CATALOGUE.id, WITH_QUERIES)

    # Settings

    def settings(self) -> Document:
        """`page_size` (the most a list answers), `customer_pays` (for queries, in collaborations made from now on),
        `role_delay` (seconds until a new role can be used) and `amc_rate` (AMC calls a second an account; 0: any).
        """
        pages = self.world.table("settings").get("pages") or {}
        payment = self.world.table("settings").get("payment") or {}
        roles = self.world.table("settings").get("roles") or {}
        rate = self.world.table("settings").get("rate") or {}
        return {
            "page_size": pages.get("size", _DEFAULTS["page_size"]),
            "customer_pays": payment.get("customer", _DEFAULTS["customer_pays"]),
            "role_delay": roles.get("delay", _DEFAULTS["role_delay"]),
            "amc_rate": rate.get("amc", _DEFAULTS["amc_rate"]),
        }

    def change_settings(self, changes: Mapping[str, Any]) -> Document:
        """Take over some of the settings and return all. Raises ValueError for what is no setting or value."""
        unknown = set(changes) - set(_DEFAULTS)
        if unknown:
            raise ValueError(f"there is no setting {', '.join(sorted(unknown))}")
        merged = {**self.settings(), **changes}
        size, pays, delay = merged["page_size"], merged["customer_pays"], merged["role_delay"]
        if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= 100:
            raise ValueError("page_size must be from 1 to 100")
        if not isinstance(pays, bool):
            raise ValueError("customer_pays must be true or false")
        if isinstance(delay, bool) or not isinstance(delay, int | float) or not 0 <= delay <= 3600:
            raise ValueError("role_delay must be from 0 to 3600 seconds")
        rate = merged["amc_rate"]
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 10_000:
            raise ValueError("amc_rate must be from 0 to 10000 calls a second")
        with self.world.change():
            table = self.world.table("settings")
            table.put("pages", {"size": size})
            table.put("payment", {"customer": pays})
            table.put("roles", {"delay": delay})
            table.put("rate", {"amc": rate})
        self._amc_rate = float(rate)
        if self._aws is not None:
            self.aws.role_delay_seconds = delay
        return self.settings()

    def reset(self) -> None:
        """Back to the demo world as it was at first, but for the pace and the settings.

        What is still under way, slow or held, is cut: it neither acts on the new world nor is among its exchanges.
        """
        pace, settings = self.pace.all(), self.settings()
        self.capture.clear()
        self._limits.clear()
        aws = self.aws
        with self.world.lock:
            self.world.reset()
            aws.reset()
            self._seed()
            self.pace.set(pace)
            self.change_settings(settings)
        self.capture.clear()

    def snapshot(self) -> int:
        """Keep the world as it is, with all its exchanges, for `restore`; its number."""
        aws = self.aws
        with self.world.lock:
            number = len(self._snapshots) + 1
            self._snapshots[number] = _Snapshot(self.world.copy(), aws.copy(), self.capture.since(0))
        return number

    def restore(self, number: int) -> bool:
        """Have the world as it was when that snapshot was made; False if there is none. As often as one likes.

        What is under way is cut, as by a reset.
        """
        kept = self._snapshots.get(number)
        if kept is None:
            return False
        self.capture.clear()
        self._limits.clear()
        aws = self.aws
        with self.world.lock:
            self.world.put_back(kept.documents)
            aws.put_back(kept.aws)
            self.change_settings({})
        self.capture.put_back(kept.exchanges)
        return True

    def close(self) -> None:
        """Let what is under way end, and put everything on disk."""
        self.holds.close()
        self.progress.wait(5)
        if self._aws is not None:
            self.aws.close()
        self.capture.close()
        self.world.close()

    # Requests

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request over WSGI. Raises ConnectionCut when the connection is to be closed without an answer."""
        with _spooled(environ) as body:
            environ["wsgi.input"] = body
            environ.setdefault("RAW_URI", environ.get("REQUEST_URI", ""))
            return self._dispatch(Request(environ), environ, start_response)

    def _dispatch(self, request: Request, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        self.progress.settle()
        if request.path.startswith(control.PREFIX) and self._control is not None:
            return self._control(request)(environ, start_response)
        if request.path in _ABOUT and not self.is_aws(environ):
            return self._about(request)(environ, start_response)
        return self._captured(request, environ, start_response)

    def _captured(self, request: Request, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        operation, account = self._who(request, environ)
        asked = _body(environ)
        era = self.capture.era
        rule = self.rules.meet(operation, account)
        answer = _Answer()
        cut = False
        try:
            self._before(rule, operation, account, environ, era)
            if era != self.capture.era:
                raise misbehave.ConnectionCut
            instead = self._instead(rule, operation, environ) or self._limited(operation, account)
            if instead is None:
                answer.take(self._app(operation, request), environ)
            else:
                answer.take(instead, environ)
            self._after(rule, operation, account, environ, era)
        except misbehave.ConnectionCut:
            cut = True
            raise
        finally:
            self._record(request, operation, account, asked, answer, rule, cut, era)
        start_response(answer.status, answer.headers)
        return answer.body

    def _who(self, request: Request, environ: Environ) -> tuple[str, str | None]:
        if self.is_aws(environ):
            return self.aws.operation_name(environ), self.aws.caller_account(environ)
        if request.path in _LOGIN:
            return _LOGIN[request.path], None
        headers = request.headers
        account = headers.get("Amazon-Advertising-API-AdvertiserId") or headers.get("Amazon-Ads-AccountId")
        return f"amc:{self.api.operation(request)}", account

    def _app(self, operation: str, request: Request) -> Any:
        if operation.startswith("lwa:"):
            return self.login(request)
        return self.api(request) if operation.startswith("amc:") else self.aws

    def _before(self, rule: Document | None, operation: str, account: str | None, environ: Environ, era: int) -> None:
        kind = rule["action"]["kind"] if rule else None
        if rule and kind == "slow":
            self.holds.slow(rule["action"].get("seconds", 1), lambda: era != self.capture.era)
        elif kind == "cut_before":
            raise misbehave.ConnectionCut
        elif kind == "hold_before":
            self.holds.wait(operation, account, "before", environ.get(SOCKET), lambda: era != self.capture.era)
            self.progress.settle()

    def _after(self, rule: Document | None, operation: str, account: str | None, environ: Environ, era: int) -> None:
        kind = rule["action"]["kind"] if rule else None
        if kind == "cut_after":
            raise misbehave.ConnectionCut
        if kind == "hold_after":
            self.holds.wait(operation, account, "after", environ.get(SOCKET), lambda: era != self.capture.era)

    def _instead(self, rule: Document | None, operation: str, environ: Environ) -> Any:
        if rule is None:
            return None
        action: Document = rule["action"]
        service, _, name = operation.partition(":")
        if action["kind"] == "throttle":
            return _throttled(service, name, action["retry_after"])
        if action["kind"] == "error":
            return _broken(service, name, action["status"])
        if action["kind"] == "fail":
            if service not in ("amc", "lwa"):
                return wire.error(service, action["code"], action["reason"], 400).send
            environ[FAIL] = {"code": action["code"], "reason": action["reason"]}
        return None

    def _limited(self, operation: str, account: str | None) -> Any:
        service, _, name = operation.partition(":")
        wait = self._limits.refuses(account, self._amc_rate) if service == "amc" and account else 0
        return _throttled(service, name, wait) if wait else None

    def _record(
        self,
        request: Request,
        operation: str,
        account: str | None,
        asked: bytes | None,
        answer: _Answer,
        rule: Document | None,
        cut: bool,
        era: int,
    ) -> None:
        body: Any = {"size": request.content_length}
        if asked is not None:
            body = capture.safe_body(operation, request.content_type or "", asked, answer=False)
        self.capture.record(
            {
                "at": self.clock.now().isoformat(),
                "operation": operation,
                "account": account,
                "method": request.method,
                "path": raw_path(request),
                "query": capture.safe_query(request.query_string.decode("latin-1")),
                "request_headers": capture.safe_headers(request.headers.items()),
                "request_body": body,
                "status": None if cut else answer.code,
                "response_headers": {} if cut else capture.safe_headers(answer.headers),
                "response_body": None if cut else answer.safe(operation),
                "rule": rule["id"] if rule else None,
                "cut": cut,
            },
            era,
        )

    # What it says about itself

    def _about(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return Response(status=405, headers={"Allow": "GET, HEAD"})
        if request.path == "/openapi.json":
            return Response(json.dumps(description.document()), content_type="application/json")
        if request.path == "/watch.js":
            return page.script("watch.js")
        if request.path.startswith("/learn"):
            return self._learn(request)
        now, ahead = self.clock.now(), int(self.clock.offset)
        return page.render(
            "world.html",
            now=now.strftime("%Y-%m-%d %H:%M:%S UTC"),
            ahead=f"{ahead // 86400} d {ahead % 86400 // 3600} h {ahead % 3600 // 60} min" if ahead else "",
            exchanges=self.capture.count,
            holds=self.holds.all(),
            rules=self.rules.all(),
            world=page.world_of(self.amc),
        )

    @staticmethod
    def _learn(request: Request) -> Response:
        host = request.host if _HOST.fullmatch(request.host) else "127.0.0.1"
        address = f"{request.scheme}://{host}"
        if request.path == "/learn.sh":
            return Response(learn.script(address), content_type="text/plain; charset=utf-8")
        code = request.args.get("code", "")
        return page.render(
            "learn.html",
            steps=learn.steps(address),
            sign_in=learn.sign_in(address),
            code=bool(_CODE.fullmatch(code)),
            exchange=learn.exchange(address, code),
            error=request.args.get("error_description", ""),
        )


class _Answer:
    """An application's answer, held back until it is known whether it may go out."""

    def __init__(self) -> None:
        self.status = "500 Internal Server Error"
        self.headers: list[tuple[str, str]] = []
        self.body: Iterable[bytes] = []
        self._whole = True

    @property
    def code(self) -> int:
        return int(self.status.partition(" ")[0])

    def take(self, app: Any, environ: Environ) -> None:
        """Run `app`. A body of up to 1 MiB is read here; a larger one stays where it is until it is sent."""

        def start(status: str, headers: list[tuple[str, str]], _: Any = None) -> None:
            self.status, self.headers = status, list(headers)

        body = app(environ, start)
        size = next((value for name, value in self.headers if name.lower() == "content-length"), None)
        if size is not None and int(size) > 1 << 20 and environ["REQUEST_METHOD"] != "HEAD":
            self.body, self._whole = body, False
            return
        try:
            self.body = [b"".join(body)]
        finally:
            if hasattr(body, "close"):
                body.close()

    def safe(self, operation: str) -> Any:
        """The body as it may be kept."""
        headers = {name.lower(): value for name, value in self.headers}
        if not self._whole:
            return {"size": int(headers["content-length"])}
        body = b"".join(self.body)
        self.body = [body]
        return capture.safe_body(operation, headers.get("content-type", ""), body, answer=True)


def _spooled(environ: Environ) -> IO[bytes]:
    """The request's body, read to its end, so that the connection is ready for what comes next."""
    length = environ.get("CONTENT_LENGTH")
    chunked = environ.get("wsgi.input_terminated")
    if not chunked and length in (None, "", "0"):
        return io.BytesIO()
    source = environ["wsgi.input"]
    spool = tempfile.SpooledTemporaryFile(max_size=SPOOL)  # noqa: SIM115 - closed by the caller
    left = None if chunked else int(length or 0)
    while left is None or left > 0:
        piece = source.read(min(left or 1 << 16, 1 << 16))
        if not piece:
            break
        spool.write(piece)
        left = None if left is None else left - len(piece)
    if chunked:
        environ["CONTENT_LENGTH"] = str(spool.tell())
        environ.pop("HTTP_TRANSFER_ENCODING", None)
    spool.seek(0)
    return spool


def _body(environ: Environ) -> bytes | None:
    """The request's body if it is at most 1 MiB, left readable; None if it is larger."""
    stream = environ["wsgi.input"]
    stream.seek(0, io.SEEK_END)
    size = stream.tell()
    stream.seek(0)
    if size > 1 << 20:
        return None
    body: bytes = stream.read()
    stream.seek(0)
    return body


def _throttled(service: str, name: str, retry_after: int) -> Any:
    if service == "amc":
        return refusal(
            ApiError(429, "Too many requests. The request was rate-limited. Retry later.", retry_after), _media(name)
        )
    if service == "lwa":
        body = {"error": "ThrottlingException", "error_description": "Too many requests"}
        return _login_error(429, body, retry_after)
    code, status = {"s3": ("SlowDown", 503), "iam": ("Throttling", 400), "sts": ("Throttling", 400)}.get(
        service, ("ThrottlingException", 400 if service in wire.JSON_TARGET else 429)
    )
    answer = wire.error(service, code, "Rate exceeded", status)
    answer.headers["Retry-After"] = str(retry_after)
    return answer.send


def _broken(service: str, name: str, status: int) -> Any:
    if service == "amc":
        return refusal(ApiError(status, "Internal server error. Retry later."), _media(name))
    if service == "lwa":
        return _login_error(status, {"error": "server_error", "error_description": "The server met an error"}, None)
    codes = {
        "s3": "InternalError",
        "iam": "ServiceFailure",
        "sts": "InternalFailure",
        "glue": "InternalServiceException",
    }
    code = "ServiceUnavailable" if status == 503 else codes.get(service, "InternalServerException")
    return wire.error(service, code, "An internal error occurred.", status).send


def _login_error(status: int, body: Document, retry_after: int | None) -> Response:
    response = Response(json.dumps(body), status=status, content_type="application/json")
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    return response


def _media(name: str) -> str:
    found = [operation.media for operation in description.operations() if operation.id == name]
    return found[0] if found else description.INSTANCES_MEDIA


class _Gateway(wsgi.Gateway_10):
    """Hands the connection on, and closes it without an answer when told to."""

    def get_environ(self) -> Environ:  # type: ignore[override]  # cheroot's stubs say that there is nothing in it
        environ: Environ = super().get_environ()  # type: ignore[no-untyped-call]
        environ[SOCKET] = self.req.conn.socket
        environ["RAW_URI"] = environ["REQUEST_URI"]
        # As WSGI has it: every percent-escape undone, slashes too.
        environ["PATH_INFO"] = unquote_to_bytes(environ["RAW_URI"].partition("?")[0]).decode("latin-1")
        return environ

    def respond(self) -> None:
        try:
            super().respond()
        except misbehave.ConnectionCut:
            self.req.close_connection = True
            self.req.sent_headers = True
            self.req.chunked_write = False
            self.req.conn.socket.shutdown(socket.SHUT_RDWR)


class Server(wsgi.Server):
    """A threaded HTTP/1.1 server that keeps connections open."""

    def __init__(self, host: str, port: int, app: Simulator) -> None:
        super().__init__((host, port), app, numthreads=THREADS, request_queue_size=128, timeout=60, shutdown_timeout=2)
        self.gateway = _Gateway

    def error_log(self, msg: str = "", level: int = 20, traceback: bool = False) -> None:
        """What goes wrong while serving, into the program's log."""
        log.log(level, "%s", msg, exc_info=traceback)
