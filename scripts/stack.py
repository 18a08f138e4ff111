"""The whole portal on one machine: Redis, the local Amazon, web, workers and clock, as child processes.

`make run` keeps one under var/; `make demo`, the benchmarks and the browser tests start one in a temporary folder:

    with Stack(folder) as stack:
        httpx.get(f"{stack.url}/healthz")
        stack.manage("status")

All that a stack knows lies in its folder: local.env (its settings, made once), the databases, log/*.log and pids.json.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
# The portal's own AWS account in a local stack; the local Amazon takes an account's number as its access key.
PORTAL_AWS_ACCOUNT = "999988887777"
READY_SECONDS = 90.0
STOP_SECONDS = 12.0
_NAME = re.compile(r"^#? ?([A-Z][A-Z0-9_]*)=", re.MULTILINE)


class StackError(Exception):
    """The stack cannot start or go on; the text says in a few lines what to do."""


def settings_for(amazon: str) -> dict[str, str]:
    """The portal's settings for the local Amazon at that address."""
    from simulator.people import CLIENT_ID, CLIENT_SECRET, PEOPLE

    return {
        "LOGIN_CLIENT_ID": CLIENT_ID,
        "LOGIN_CLIENT_SECRET": CLIENT_SECRET,
        "LOGIN_AUTHORIZE_URL": f"{amazon}/ap/oa",
        "LOGIN_TOKEN_URL": f"{amazon}/auth/o2/token",
        "LOGIN_PROFILE_URL": f"{amazon}/user/profile",
        "AMC_URL": amazon,
        "AWS_ENDPOINT_URL": amazon,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ACCESS_KEY_ID": PORTAL_AWS_ACCOUNT,
        "AWS_SECRET_ACCESS_KEY": "local",
        "PORTAL_AWS_PRINCIPAL": f"arn:aws:iam::{PORTAL_AWS_ACCOUNT}:root",
        "FIRST_ADMINS": next(person.email for person in PEOPLE if person.id == "admin"),
    }


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def port_is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:`port`."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def holder_of(port: int) -> str:
    """Who listens on `port`, such as "python3 (process 123)"; "another program" if the system does not tell."""
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and tuple(connection.laddr)[1:2] == (port,) and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    return "another program"


def read_env(path: Path) -> dict[str, str]:
    """The NAME=value lines of a file, quoted as for a shell. Raises StackError naming a line that is not one."""
    values: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.removeprefix("export ").partition("=")
        try:
            parts = shlex.split(value, comments=True)
        except ValueError:
            parts = ["", ""]
        if not equals or not name.strip().isidentifier() or len(parts) > 1:
            raise StackError(
                f"{path}, line {number}: NAME=value is expected, with quotes around a value that has blanks"
            )
        values[name.strip()] = parts[0] if parts else ""
    return values


def write_env(path: Path, values: Mapping[str, str]) -> None:
    """Write NAME=value lines that only the owner can read, whole or not at all."""
    text = "# Settings of this local stack, made once. Change what you like: a value that stands here is kept.\n"
    text += "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())
    new = path.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(text, encoding="utf-8")
    new.replace(path)


def known_settings() -> set[str]:
    """Every setting that .env.example explains: a shell's own value of one must not leak into a local stack."""
    return set(_NAME.findall((ROOT / ".env.example").read_text(encoding="utf-8")))


def answers(url: str) -> bool:
    """Whether GET `url` is answered with a status below 500."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - its own http:// addresses  # nosec B310
            return int(answer.status) < 500
    except urllib.error.HTTPError as error:
        return error.code < 500
    except OSError:
        return False


def redis_ping(port: int) -> bool:
    """Whether a Redis on 127.0.0.1:`port` answers PING."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        connection.sendall(b"PING\r\n")
        return connection.recv(16).startswith(b"+PONG")
    return False


def redis_server() -> str:
    """The redis-server program: the one that came with the environment, else the system's. Raises StackError."""
    beside = Path(sys.executable).parent / "redis-server"
    found = str(beside) if beside.exists() else shutil.which("redis-server")
    if not found:
        raise StackError("There is no redis-server: run `make install` again, or install Redis.")
    return found


@dataclass
class Service:
    """One child process of a stack, and how to see that it answers."""

    name: str
    command: list[str]
    ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    reader: threading.Thread | None = None
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=15))
    deaths: int = 0
    started: float = 0.0
    again_at: float = 0.0

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.poll() is None


class Stack:
    """Starts and stops the processes. A port that is not given is chosen, kept in local.env, and chosen anew if taken.

    `folder` holds all its state; `workers` and `clocks` are numbers of processes; `simulator=False` leaves out the
    local Amazon; `database_url` and `environment` override what local.env says; `pace` is the local Amazon's
    (fast, demo, real); `on_line(service, line)` gets each line that a process writes.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        database_url: str | None = None,
        web: bool = True,
        workers: int = 2,
        clocks: int = 1,
        simulator: bool = True,
        pace: str = "fast",
        environment: Mapping[str, str] | None = None,
        on_line: Callable[[str, str], None] | None = None,
    ) -> None:
        self.folder = folder.resolve()
        self._port, self._web, self._workers, self._clocks = port, web, workers, clocks
        self._simulator, self._pace = simulator, pace
        self._overrides = dict(environment or {})
        if database_url:
            self._overrides["DATABASE_URL"] = database_url
        self._on_line = on_line or (lambda name, line: None)
        self._lock: IO[str] | None = None
        self.services: dict[str, Service] = {}
        self.settings: dict[str, str] = {}

    # What it is

    @property
    def url(self) -> str:
        """The portal's address."""
        return self.settings["PORTAL_URL"]

    @property
    def simulator_url(self) -> str:
        """The local Amazon's address."""
        return self.settings["AWS_ENDPOINT_URL"]

    @property
    def redis_url(self) -> str:
        """The address of its Redis."""
        return self.settings["REDIS_URL"]

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which its processes run, without the shell's own values of the portal's settings."""
        known = known_settings()
        clean = {name: value for name, value in os.environ.items() if name.removesuffix("_FILE") not in known}
        if self._simulator:
            clean = {name: value for name, value in clean.items() if not name.startswith("AWS_")}
        # Each process would compile all of Django, boto3 and moto anew: more than half of what a stack costs.
        clean.pop("PYTHONDONTWRITEBYTECODE", None)
        # Named, since whoever starts a stack, such as a test, may run on settings of another module.
        own = {"PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "portal.settings"}
        return {**clean, **own, **self.settings}

    # Starting and stopping

    def __enter__(self) -> Stack:
        _end_by_exit()
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start everything and return once all of it answers. Raises StackError."""
        (self.folder / "log").mkdir(parents=True, exist_ok=True)
        self._claim()
        self._end_leftovers()
        self._settle()
        self._define()
        first = [service for service in self.services.values() if service.name in ("redis", "simulator")]
        for service in first:
            self._spawn(service)
        with ThreadPoolExecutor() as pool:
            # Both take seconds of a core each, the first time.
            for future in [pool.submit(self._database), pool.submit(self._static_files)]:
                future.result()
        self._await(first)
        rest = [service for service in self.services.values() if service not in first]
        for service in rest:
            self._spawn(service)
        self._await(rest)

    def stop(self) -> None:
        """End every process, politely first, and return when all are gone."""
        order = sorted(self.services.values(), key=lambda service: service.name in ("redis", "simulator"))
        for group in (
            [service for service in order if service.name not in ("redis", "simulator")],
            [service for service in order if service.name in ("redis", "simulator")],
        ):
            for service in group:
                _signal(service, signal.SIGTERM)
            deadline = time.monotonic() + STOP_SECONDS
            for service in group:
                if service.process is not None:
                    try:
                        service.process.wait(max(0.1, deadline - time.monotonic()))
                    except subprocess.TimeoutExpired:
                        _signal(service, signal.SIGKILL)
                        service.process.wait()
                    # Whatever it left behind in its process group, such as a worker's child, goes as well.
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.killpg(service.process.pid, signal.SIGKILL)
                if service.reader is not None:
                    service.reader.join(2)
        if self._lock is not None:
            (self.folder / "pids.json").unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to one process and its children, and wait until it is gone."""
        service = self.services[name]
        _signal(service, number)
        if service.process is not None:
            service.process.wait(STOP_SECONDS)

    def restart(self, name: str) -> None:
        """Start a process again that has ended, and wait until it answers."""
        self._spawn(self.services[name])
        self._await([self.services[name]])

    def manage(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `manage.py` in the stack's environment. Raises StackError with its words if it fails and `check`."""
        done = subprocess.run(
            [sys.executable, str(ROOT / "manage.py"), *arguments],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and done.returncode:
            raise StackError(f"manage.py {' '.join(arguments)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done

    def watch(self, until: threading.Event, notice: Callable[[str], None]) -> None:
        """Start again whatever dies, with growing pauses, until the event is set. `notice` gets a line for each."""
        while not until.wait(0.3):
            now = time.monotonic()
            for service in self.services.values():
                if service.alive:
                    if service.deaths and now - service.started > 60:
                        service.deaths = 0
                    continue
                if not service.again_at:
                    code = service.process.returncode if service.process else None
                    pause = min(30, 2**service.deaths)
                    service.deaths += 1
                    service.again_at = now + pause
                    if service.reader is not None:
                        service.reader.join(2)
                    last = "".join(f"\n    {line}" for line in list(service.tail)[-6:])
                    notice(f"{service.name} ended ({_how(code)}); it is started again in {pause} s.{last}")
                elif now >= service.again_at:
                    service.again_at = 0.0
                    self._spawn(service)

    # Parts

    def _claim(self) -> None:
        self._lock = (self.folder / "stack.lock").open("a+", encoding="utf-8")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.seek(0)
            pid = self._lock.read().strip()
            self._lock.close()
            self._lock = None
            raise StackError(
                f"The portal already runs from {self.folder} (process {pid}): stop that one first."
            ) from None
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()

    def _end_leftovers(self) -> None:
        """End the processes of an earlier run that was killed before it could end them itself."""
        import psutil

        path = self.folder / "pids.json"
        if not path.exists():
            return
        for entry in json.loads(path.read_text(encoding="utf-8")):
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                process = psutil.Process(entry["pid"])
                if abs(process.create_time() - entry["started"]) < 2:
                    os.killpg(entry["pid"], signal.SIGTERM)
                    try:
                        process.wait(STOP_SECONDS)
                    except psutil.TimeoutExpired:
                        os.killpg(entry["pid"], signal.SIGKILL)
        path.unlink()

    def _settle(self) -> None:
        """Read local.env, add what is missing, and choose other ports for inner services whose port is taken."""
        path = self.folder / "local.env"
        values = read_env(path) if path.exists() else {}
        values.setdefault("SECRET_KEY", secrets.token_urlsafe(50))
        values.setdefault("FIELD_KEYS", base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())
        values.setdefault("VAR_DIR", str(self.folder))
        values.setdefault("STATIC_ROOT", str(ROOT / "build" / "staticfiles"))
        values.setdefault("LOG_JSON", "false")
        port = self._port or int(values.get("PORT", "0")) or free_port()
        if self._web and not port_is_free(port):
            raise StackError(
                f"Port {port} is taken by {holder_of(port)}: stop it, or choose another port: make run PORT={port + 1}"
            )
        values["PORT"] = str(port)
        values["PORTAL_URL"] = f"http://localhost:{port}"
        values["ALLOWED_HOSTS"] = "localhost,127.0.0.1"
        values["REDIS_PORT"] = str(_keep_or_choose(values.get("REDIS_PORT")))
        values["REDIS_URL"] = f"redis://127.0.0.1:{values['REDIS_PORT']}/0"
        if self._simulator:
            values["SIMULATOR_PORT"] = str(_keep_or_choose(values.get("SIMULATOR_PORT")))
            given = settings_for(f"http://127.0.0.1:{values['SIMULATOR_PORT']}")
            values = {**given, **values, **{name: given[name] for name in given if name != "FIRST_ADMINS"}}
        write_env(path, values)
        self.settings = {**values, **self._overrides}

    def _define(self) -> None:
        python, settings = sys.executable, self.settings
        manage = [python, str(ROOT / "manage.py")]
        redis_port = int(settings["REDIS_PORT"])
        services = []
        if "REDIS_URL" not in self._overrides:
            # The queue is kept nowhere: the database says what is due, and the clock fills the queue again.
            command = [redis_server(), "--port", str(redis_port), "--bind", "127.0.0.1", "--save", ""]
            command += ["--appendonly", "no", "--dir", str(self.folder)]
            services.append(Service("redis", command, lambda: redis_ping(redis_port)))
        if self._simulator:
            port = settings["SIMULATOR_PORT"]
            command = [python, "-m", "simulator", "--port", port, "--data", str(self.folder / "simulator")]
            command += ["--pace", self._pace]
            services.append(Service("simulator", command, lambda: answers(f"{self.simulator_url}/_simulator/health")))
        if self._web:
            command = [python, "-m", "gunicorn", "portal.wsgi", "--config", str(ROOT / "gunicorn.conf.py")]
            where = {"BIND": f"127.0.0.1:{settings['PORT']}", "WEB_WORKERS": "2"}
            url = f"http://127.0.0.1:{settings['PORT']}/readyz"
            services.append(Service("web", command, lambda: answers(url), where))
        for number in range(1, self._workers + 1):
            name = f"worker-{number}"
            services.append(Service(name, [*manage, "rqworker", "default"], partial(self._is_a_worker, name)))
        if self._workers:
            # Work on identity files takes long: it has a worker of its own, so that no step waits behind it.
            command = [*manage, "rqworker", "identity"]
            services.append(Service("identity", command, partial(self._is_a_worker, "identity")))
        for number in range(1, self._clocks + 1):
            name = f"clock-{number}" if self._clocks > 1 else "clock"
            services.append(Service(name, [*manage, "clock"], partial(self._ticks, name)))
        self.services = {service.name: service for service in services}

    def _is_a_worker(self, name: str) -> bool:
        """Whether the process has put itself on the queue's list of workers."""
        import redis

        process = self.services[name].process
        with contextlib.suppress(redis.RedisError), redis.Redis.from_url(self.redis_url, socket_timeout=2) as client:
            pids = [client.hget(key, "pid") for key in client.smembers("rq:workers")]
            return process is not None and str(process.pid).encode() in pids
        return False

    def _ticks(self, name: str) -> bool:
        """Whether a clock has ticked: it has no address, but says so after its first tick."""
        return any("the clock ticks" in line for line in list(self.services[name].tail))

    def _spawn(self, service: Service) -> None:
        service.tail.clear()
        service.started = time.monotonic()
        # A group of its own: Ctrl-C reaches the supervisor alone, which then ends them in order.
        service.process = subprocess.Popen(
            service.command,
            env={**self.environment, **service.environment},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        service.reader = threading.Thread(target=self._read, args=(service, service.process), daemon=True)
        service.reader.start()
        self._note_pids()

    def _note_pids(self) -> None:
        import psutil

        entries = []
        for service in self.services.values():
            if service.process is not None:
                with contextlib.suppress(psutil.Error):
                    process = psutil.Process(service.process.pid)
                    entries.append({"name": service.name, "pid": process.pid, "started": process.create_time()})
        (self.folder / "pids.json").write_text(json.dumps(entries), encoding="utf-8")

    def _read(self, service: Service, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout, (self.folder / "log" / f"{service.name}.log").open("a", encoding="utf-8") as log:
            for raw in process.stdout:
                line = raw.decode("utf-8", "replace").rstrip()
                log.write(line + "\n")
                log.flush()
                if line:
                    service.tail.append(line)
                    self._on_line(service.name, line)

    def _await(self, services: list[Service]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        for service in services:
            while not service.ready():
                if not service.alive:
                    if service.reader is not None:
                        service.reader.join(2)
                    code = service.process.returncode if service.process else None
                    raise StackError(f"{service.name} did not start ({_how(code)}).{self._last_words(service)}")
                if time.monotonic() > deadline:
                    raise StackError(
                        f"{service.name} does not answer after {READY_SECONDS:.0f} s.{self._last_words(service)}"
                    )
                time.sleep(0.05)

    def _last_words(self, service: Service) -> str:
        lines = "".join(f"\n    {line}" for line in service.tail)
        return f" Its last lines:{lines}" if lines else f" See {self.folder / 'log' / (service.name + '.log')}."

    def _once(self, name: str, *arguments: str) -> None:
        done = self.manage(name, *arguments, check=False)
        words = done.stdout + done.stderr
        (self.folder / "log" / f"{name}.log").write_text(words, encoding="utf-8")
        if done.returncode:
            lines = words.strip().splitlines()
            if done.stderr and "Traceback" not in done.stderr:
                raise StackError(done.stderr.strip())
            last = "".join(f"\n    {line}" for line in lines[-8:])
            raise StackError(f"{name} failed; the last lines:{last}")

    def _database(self) -> None:
        path = self.folder / "portal.sqlite3"
        own = Path(self.settings["VAR_DIR"]) == self.folder and "DATABASE_URL" not in self.settings
        migrate = partial(self._once, "migrate", "--noinput")
        if own and not path.exists():
            begin_database(path, migrate)
        else:
            migrate()

    def _static_files(self) -> None:
        """Collect and compress the front-end files, if any of them changed since some stack did it last.

        All stacks of a checkout share them, and old ones are kept: their names hold their digests.
        """
        if not self._web:
            return
        digest = sha256()
        for folder in (ROOT / "static", ROOT / "build" / "static", ROOT / "onboarding" / "static"):
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    digest.update(f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}\n".encode())
        target = Path(self.settings["STATIC_ROOT"])
        target.mkdir(parents=True, exist_ok=True)
        stamp = target / ".collected"
        with (target / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            made = stamp.exists() and (target / "staticfiles.json").exists()
            if made and stamp.read_text(encoding="utf-8") == digest.hexdigest():
                return
            stamp.unlink(missing_ok=True)
            self._once("collectstatic", "--noinput")
            stamp.write_text(digest.hexdigest(), encoding="utf-8")


def begin_database(path: Path, migrate: Callable[[], object]) -> None:
    """Have `migrate` make an empty SQLite file of `path`, or copy what the same migrations made of one before.

    Migrating an empty database takes Django many seconds of a core; whoever begins with one in a checkout shares it.
    """
    folder = ROOT / "build" / "databases"
    folder.mkdir(parents=True, exist_ok=True)
    empty = folder / f"{_migrations()}.sqlite3"
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if empty.exists():
            shutil.copyfile(empty, path)
            return
        migrate()
        if path.exists():
            new = empty.with_suffix(".new")
            _copy_sqlite(path, new)
            new.replace(empty)


def _migrations() -> str:
    """A digest of all that makes an empty database what it is: the migrations, and the packages that have some."""
    digest = sha256()
    own = [*sorted((ROOT / "onboarding" / "migrations").glob("*.py")), ROOT / "onboarding" / "migrating.py"]
    for path in [*own, *sorted(ROOT.glob("requirements/*.txt"))]:
        digest.update(f"{path.name} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:32]


def _copy_sqlite(path: Path, to: Path) -> None:
    """Copy a database by SQLite's own means: part of it may still lie in the log beside its file."""
    with contextlib.closing(sqlite3.connect(path)) as source, contextlib.closing(sqlite3.connect(to)) as target:
        source.backup(target)


def _keep_or_choose(port: str | None) -> int:
    return int(port) if port and port_is_free(int(port)) else free_port()


def _end_by_exit() -> None:
    """Have SIGTERM, unless somebody handles it, end this process as an error does: with all that it has started."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def _signal(service: Service, number: signal.Signals) -> None:
    if service.process is not None and service.process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(service.process.pid, number)


def _how(code: int | None) -> str:
    if code is None:
        return "it was never started"
    if code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"
