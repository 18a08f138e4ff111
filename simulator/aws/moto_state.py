"""moto's backends for S3, IAM, Glue, Athena and Lake Formation: asked over moto's own handlers, read, and kept on disk.

moto keeps everything in memory. Here object bodies live in files from the start, and the rest is pickled after each
change: kilobytes, so a killed process loses nothing that was answered.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import shutil
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar, cast

import moto.s3.models
from moto.athena.models import athena_backends
from moto.athena.responses import AthenaResponse
from moto.core.base_backend import AccountSpecificBackend
from moto.core.request import Request
from moto.glue.models import glue_backends
from moto.glue.responses import GlueResponse
from moto.iam.models import iam_backends
from moto.iam.responses import IamResponse
from moto.lakeformation.models import lakeformation_backends
from moto.lakeformation.responses import LakeFormationResponse
from moto.s3.exceptions import S3ClientError
from moto.s3.models import FakeKey, FakeMultipart, s3_backends
from moto.s3.responses import S3Response

# moto's classes are replaced below, and its backends handled alike whatever the service.
moto_s3: Any = moto.s3.models
_BACKENDS: dict[str, Any] = {
    "s3": s3_backends,
    "iam": iam_backends,
    "glue": glue_backends,
    "athena": athena_backends,
    "lakeformation": lakeformation_backends,
}
_RESPONSES = {
    "iam": IamResponse,
    "glue": GlueResponse,
    "athena": AthenaResponse,
    "lakeformation": LakeFormationResponse,
}
_BLOCK = 1 << 20


class _Bodies:
    """Where object bodies lie. One directory for the process, since moto's state is the process's."""

    directory = Path(tempfile.gettempdir())
    # Bodies that are gone from moto's state but maybe not from the saved one: deleted after the next save.
    doomed: list[Path] = []

    @classmethod
    def new(cls) -> Path:
        return cls.directory / uuid.uuid4().hex


class FileBody(bytes):
    """Stands for bytes that lie in the file `path` already and are never held in memory. `md5` is their hex digest."""

    path: Path
    size: int
    md5: str | None = None

    def __len__(self) -> int:
        return self.size


class _Responder(S3Response):
    """moto's S3 handlers, given a body that is a file."""

    incoming: FileBody | None = None

    def setup_class(self, request: Any, full_url: str | None = None, headers: Any = None, *_: Any) -> None:
        super().setup_class(request, full_url, headers)
        if self.incoming is not None:
            self.body = self.incoming


class FileKey(FakeKey):
    """An S3 object whose body is a file. moto's handlers see the interface that they know."""

    path: Path

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._value_buffer.close()

    @property
    def value(self) -> bytes:
        return self.path.read_bytes()

    @value.setter
    def value(self, new_value: bytes | str) -> None:
        self.path = _Bodies.new()
        if isinstance(new_value, FileBody):
            new_value.path.rename(self.path)
            self.contentsize = new_value.size
            self._etag = self._etag or new_value.md5
        else:
            data = new_value.encode() if isinstance(new_value, str) else new_value
            self.path.write_bytes(data)
            self.contentsize = len(data)

    @property
    def etag(self) -> str:
        if self._etag is None:
            digest = hashlib.md5(usedforsecurity=False)
            with self.path.open("rb") as body:
                while block := body.read(_BLOCK):
                    digest.update(block)
            self._etag = digest.hexdigest()
        return f'"{self._etag}"'

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        state.pop("_value_buffer", None)
        del state["lock"]
        state["path"] = self.path.name
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.path = _Bodies.directory / state["path"]
        self.lock = threading.Lock()

    def dispose(self, garbage: bool = False) -> None:
        if not garbage and not self.disposed:
            _Bodies.doomed.append(self.path)
            if self.multipart:
                self.multipart.dispose()
            self.disposed = True


class FileMultipart(FakeMultipart):
    """A multipart upload whose parts are files, joined file by file."""

    def complete(self, body: Iterator[tuple[int, str]]) -> tuple[bytes, str, None]:
        parts = []
        digest = hashlib.md5(usedforsecurity=False)
        entries = list(body)
        if not entries:
            raise moto_s3.MalformedXML
        numbers = [number for number, _ in entries]
        if numbers != sorted(set(numbers)):
            raise _InvalidPartOrder()
        for position, (number, etag) in enumerate(entries):
            part = cast(FileKey | None, self.parts.get(number))
            if part is None or part.etag.strip('"') != etag.strip('"'):
                raise moto_s3.InvalidPart()
            if position < len(entries) - 1 and part.contentsize < moto_s3.S3_UPLOAD_PART_MIN_SIZE:
                raise moto_s3.EntityTooSmall()
            digest.update(bytes.fromhex(part.etag.strip('"')))
            parts.append(part)
        joined = FileBody()
        joined.path = _Bodies.new()
        with joined.path.open("wb") as whole:
            for part in parts:
                with part.path.open("rb") as piece:
                    shutil.copyfileobj(piece, whole, _BLOCK)
        joined.size = joined.path.stat().st_size
        self.dispose()
        self.parts = {}
        self.partlist = []
        return joined, f"{digest.hexdigest()}-{len(parts)}", None


class _InvalidPartOrder(S3ClientError):
    code = "InvalidPartOrder"

    def __init__(self) -> None:
        super().__init__("The list of parts was not in ascending order. Parts must be ordered by part number.")


def _install() -> None:
    moto_s3.FakeKey = FileKey
    moto_s3.FakeMultipart = FileMultipart


# moto's backends are the process's; whichever world is asked puts its own content in first.
_process_lock = threading.RLock()
_P = ParamSpec("_P")
_R = TypeVar("_R")


def _own(method: Callable[Concatenate[MotoState, _P], _R]) -> Callable[Concatenate[MotoState, _P], _R]:
    """Run a method of MotoState with its own content in moto's backends."""

    @functools.wraps(method)
    def wrapped(state: MotoState, /, *arguments: _P.args, **named: _P.kwargs) -> _R:
        with _process_lock:
            state.activate()
            return method(state, *arguments, **named)

    return wrapped


@dataclass(frozen=True)
class MotoCopy:
    """moto's part of a world as it was, and the folder with the bodies of its objects."""

    state: bytes
    bodies: Path


class MotoState:
    """moto's part of the world, in `directory` (a temporary one when None). Several may live in one process."""

    _active: ClassVar[MotoState | None] = None

    def __init__(self, directory: Path | None) -> None:
        self._temporary = None if directory else tempfile.mkdtemp(prefix="simulator-aws-")
        self.directory = directory or Path(cast(str, self._temporary))
        self.directory.mkdir(parents=True, exist_ok=True)
        self._bodies = self.directory / "objects"
        self._bodies.mkdir(exist_ok=True)
        self._copies = self.directory / "copies"
        shutil.rmtree(self._copies, ignore_errors=True)
        self._doomed: list[Path] = []
        self._away: dict[str, dict[str, Any]] = {}
        self._file = self.directory / "moto.pickle"
        with _process_lock:
            _install()
            self.activate()
            if self._file.exists():
                self._load()
            self._sweep()

    def activate(self) -> None:
        """Put this world's content into moto's backends, and away what another world had there."""
        other = MotoState._active
        if other is self:
            return
        if other is not None:
            other._away = {name: dict(content) for name, content in _contents()}
        for name, content in _contents():
            content.clear()
            content.update(self._away.get(name, {}))
        self._away = {}
        _Bodies.directory, _Bodies.doomed = self._bodies, self._doomed
        MotoState._active = self

    @property
    def body_directory(self) -> Path:
        """Where all object bodies lie."""
        return self._bodies

    def new_body_path(self) -> Path:
        """Where the next object body is to be written."""
        return self._bodies / uuid.uuid4().hex

    @_own
    def ask(
        self, service: str, account: str, method: str, url: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """Have moto handle one request as `account` and return status, headers and body.

        A `FileBody` is taken over as an object's body without being read.
        """
        sent = {name: value for name, value in headers.items() if name.lower() != "x-moto-account-id"}
        sent["x-moto-account-id"] = account
        streamed = body if isinstance(body, FileBody) else None
        request = Request.from_primitives(method, url, sent, b"" if streamed is not None else body)
        full_url = request.raw_url
        if service == "s3":
            responder = _Responder()
            responder.incoming = streamed
            path = request.raw_path
            pieces = path.strip("/").split("/", 1)
            if len(pieces) == 2 or (len(pieces) == 1 and pieces[0] and path.count("/") > 1 and not path.endswith("/")):
                answer = responder.key_response(request, full_url, cast(Any, request.headers))
            else:
                answer = responder.bucket_response(request, full_url, request.headers)
        else:
            answer = _RESPONSES[service].dispatch(request, full_url, request.headers)
        status, answered, content = answer if len(answer) == 3 else (200, {}, answer)
        if isinstance(content, str):
            content = content.encode()
        return int(status), {str(name): str(value) for name, value in dict(answered).items()}, content

    # What exists

    @_own
    def bucket(self, name: str) -> Any | None:
        """moto's bucket of that name, whoever owns it."""
        entry = s3_backends.bucket_accounts.get(name)
        if entry is None:
            return None
        partition, account = entry
        return s3_backends[account][partition].buckets.get(name)

    @_own
    def object(self, bucket: str, key: str, version: str | None = None) -> FileKey | None:
        """The object, or None when there is none (or a delete marker)."""
        owner = self.bucket(bucket)
        if owner is None:
            return None
        found = s3_backends[owner.account_id]["aws"].get_object(bucket, key, version_id=version)
        return found if isinstance(found, FileKey) else None

    @_own
    def put_object(self, bucket: str, key: str, body: bytes) -> None:
        """Store an object as its bucket's owner. Raises KeyError for a bucket that isn't there."""
        owner = self.bucket(bucket)
        if owner is None:
            raise KeyError(bucket)
        s3_backends[owner.account_id]["aws"].put_object(bucket, key, body)

    @_own
    def objects(self, bucket: str, prefix: str) -> list[FileKey]:
        """Objects of `bucket` whose key begins with `prefix`, by key."""
        owner = self.bucket(bucket)
        if owner is None:
            return []
        found = [key for _, key in owner.keys.items() if isinstance(key, FileKey) and key.name.startswith(prefix)]
        return sorted(found, key=lambda key: str(key.name))

    @_own
    def role(self, arn: str) -> Any | None:
        """moto's IAM role with that ARN."""
        pieces = arn.split(":", 5)
        if len(pieces) < 6 or pieces[4] not in iam_backends:
            return None
        for role in iam_backends[pieces[4]]["aws"].roles.values():
            if role.arn == arn:
                return role
        return None

    @_own
    def role_named(self, account: str, name: str) -> Any | None:
        """moto's IAM role of that name in `account`."""
        if account not in iam_backends:
            return None
        return next((role for role in iam_backends[account]["aws"].roles.values() if role.name == name), None)

    @_own
    def role_documents(self, role: Any) -> list[str]:
        """Inline and attached permission policies of a role, as JSON."""
        documents = [str(document) for document in role.policies.values()]
        documents += [_document(policy) for policy in role.managed_policies.values()]
        return documents

    @_own
    def boundary(self, account: str, arn: str | None) -> str | None:
        """The document of a permissions boundary, None when there is none."""
        if not arn:
            return None
        policy = iam_backends[account]["aws"].managed_policies.get(arn)
        return _document(policy) if policy else "{}"

    @_own
    def has_policy(self, account: str, arn: str) -> bool:
        """Whether a managed policy exists, the account's own or one of AWS."""
        return arn in iam_backends[account]["aws"].managed_policies

    @_own
    def access_key_owner(self, key_id: str) -> tuple[str, Any] | None:
        """Account and IAM user of an access key made by iam:CreateAccessKey."""
        for account in list(iam_backends):
            for user in list(iam_backends[account]["aws"].users.values()):
                for key in user.access_keys:
                    if key.access_key_id == key_id and key.status == "Active":
                        return account, user
        return None

    @_own
    def user_documents(self, account: str, user: Any) -> list[str]:
        """Inline, attached and group policies of an IAM user, as JSON."""
        documents = [str(document) for document in user.policies.values()]
        documents += [_document(policy) for policy in user.managed_policies.values()]
        for group in iam_backends[account]["aws"].groups.values():
            if user in group.users:
                documents += [str(document) for document in group.policies.values()]
                documents += [_document(policy) for policy in group.managed_policies.values()]
        return documents

    @_own
    def glue_table(self, account: str, region: str, database: str, table: str) -> dict[str, Any] | None:
        """The table's definition as Glue returns it (Name, StorageDescriptor, Parameters, PartitionKeys…)."""
        if account not in glue_backends:
            return None
        found = glue_backends[account][region].databases.get(database)
        if found is None or table not in found.tables:
            return None
        return found.tables[table].as_dict()

    @_own
    def glue_tables(self, account: str) -> list[tuple[str, str, str]]:
        """Region, database and name of every Glue table of the account."""
        if account not in glue_backends:
            return []
        return [
            (region, database.name, table)
            for region, backend in glue_backends[account].items()
            for database in backend.databases.values()
            for table in database.tables
        ]

    @_own
    def glue(self, account: str, region: str) -> Any:
        """moto's Glue backend of an account and region."""
        return glue_backends[account][region]

    @_own
    def accounts(self) -> list[str]:
        """Accounts that moto has something for."""
        known: set[str] = set()
        for backends in _BACKENDS.values():
            known.update(str(account) for account in backends)
        return sorted(known)

    @_own
    def backend(self, service: str, account: str, region: str) -> Any:
        """moto's backend of a service; `region` is "aws" for S3 and IAM."""
        return _BACKENDS[service][account][region]

    # Keeping it

    @_own
    def save(self) -> None:
        """Write everything to disk. Call it with the world's lock held."""
        half = self._file.with_suffix(".new")
        with half.open("wb") as target:
            pickle.dump(_state(), target, protocol=pickle.HIGHEST_PROTOCOL)
        half.replace(self._file)
        for path in _Bodies.doomed:
            path.unlink(missing_ok=True)
        _Bodies.doomed.clear()
        # moto remembers every instance it ever made, for its dashboard.
        for tracked in (FileKey, FileMultipart):
            cast(Any, tracked).instances_tracked.clear()

    @_own
    def copy(self) -> MotoCopy:
        """Everything, to be put back by `put_back` for as long as the process lives."""
        bodies = self._copies / uuid.uuid4().hex
        bodies.mkdir(parents=True)
        for path in _Bodies.directory.iterdir():
            # A body is written once and never changed.
            os.link(path, bodies / path.name)
        return MotoCopy(pickle.dumps(_state(), protocol=pickle.HIGHEST_PROTOCOL), bodies)

    @_own
    def put_back(self, copy: MotoCopy) -> None:
        """Have everything as it was when `copy` was made."""
        self.reset()
        for path in copy.bodies.iterdir():
            os.link(path, _Bodies.directory / path.name)
        _take(pickle.loads(copy.state))  # noqa: S301  (our own, never out of this process)

    def _load(self) -> None:
        with self._file.open("rb") as source:
            _take(pickle.load(source))  # noqa: S301  (our own file, in the simulator's own directory)

    def _sweep(self) -> None:
        """Delete bodies that nothing refers to, left by a process that was killed."""
        known = set()
        for regions in s3_backends.values():
            for backend in regions.values():
                for bucket in backend.buckets.values():
                    for _, versions in bucket.keys.iterlists():
                        known.update(_names(versions))
                    for upload in bucket.multiparts.values():
                        known.update(_names(list(upload.parts.values())))
        for path in _Bodies.directory.iterdir():
            if path.name not in known:
                path.unlink()

    @_own
    def reset(self) -> None:
        """Forget everything, on disk too."""
        _clear()
        for path in _Bodies.directory.iterdir():
            path.unlink()
        self._file.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of everything, and of a temporary directory."""
        with _process_lock:
            self.activate()
            _clear()
            MotoState._active = None
        if self._temporary:
            shutil.rmtree(self._temporary, ignore_errors=True)


def _document(policy: Any) -> str:
    for version in policy.versions:
        if version.version_id == policy.default_version_id:
            return str(version.document)
    return "{}"


def _names(keys: list[Any]) -> set[str]:
    return {key.path.name for key in keys if isinstance(key, FileKey)}


def _contents() -> list[tuple[str, dict[str, Any]]]:
    return [*_BACKENDS.items(), ("bucket_accounts", cast(dict[str, Any], s3_backends.bucket_accounts))]


def _state() -> dict[str, Any]:
    """All that moto's backends hold."""
    state: dict[str, Any] = {}
    for service, backends in _BACKENDS.items():
        state[service] = {
            account: dict(regions.items()) for account, regions in backends.items() if any(True for _ in regions)
        }
    state["bucket_accounts"] = dict(s3_backends.bucket_accounts)
    return state


def _take(state: dict[str, Any]) -> None:
    """Put what `_state` gave into moto's backends, which are empty."""
    s3_backends.bucket_accounts.update(state.pop("bucket_accounts"))
    for service, accounts in state.items():
        for account, regions in accounts.items():
            for region, backend in regions.items():
                _BACKENDS[service][account][region] = backend


def _clear() -> None:
    for backends in _BACKENDS.values():
        for regions in list(backends.values()):
            if isinstance(regions, AccountSpecificBackend):
                for region in list(regions.keys()):
                    del regions[region]
        backends.clear()
    s3_backends.bucket_accounts.clear()
    _Bodies.doomed.clear()
