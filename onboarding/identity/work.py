"""Runs batches through several threads in order, with progress and a way to stop; and a folder for what they spill."""

from __future__ import annotations

import collections
import contextlib
import ctypes
import errno
import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from onboarding.identity.errors import Cancelled, Unreadable, number, reason

Result = TypeVar("Result")

DEFAULT_MEMORY = 512 << 20
SMALLEST_BATCH = 1 << 18
BATCHES_PER_MEMORY = 256
"""A batch of CSV bytes and all that is made of it, for each thread and those waiting, fit this often into memory."""
AHEAD = 6
"""How many batches more than threads may be under way: enough to go on with while a row group is being written."""


@dataclass(frozen=True)
class Progress:
    """How far a job is: its ``stage`` (``keys``, ``check``, ``collapse``, ``prepare`` or ``publish``), ``done`` of
    ``total`` input bytes in that stage, and ``rows`` read in it."""

    stage: str
    done: int
    total: int
    rows: int

    def as_dict(self) -> dict[str, Any]:
        return dict(self.__dict__)


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8


@cache
def return_memory_early() -> None:
    """Makes this process give large buffers back to the system as soon as they are free, once and for all.

    Arrow's and glibc's usual allocators keep what is freed, per thread, which here is several times what is in use.
    Where the C library has no ``mallopt``, only Arrow's is changed.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, 2 << 20)
        mallopt(M_TRIM_THRESHOLD, 8 << 20)  # less would be asked for again with the next batch
        mallopt(M_ARENA_MAX, 2)


def give_back() -> None:
    """Gives the system what this process has freed between what it still holds."""
    pa.default_memory_pool().release_unused()


Report = Callable[[Progress], None]
Stop = Callable[[], bool]


def unreported(progress: Progress) -> None:
    """Reports to nobody."""


def never() -> bool:
    """Never asks to stop."""
    return False


def default_jobs() -> int:
    """As many threads as this process may use processors, at most four."""
    return min(4, len(os.sched_getaffinity(0)))


def batch_size(memory: int) -> int:
    """How many bytes of CSV a batch spans so that the whole job stays within ``memory`` bytes."""
    return max(SMALLEST_BATCH, memory // BATCHES_PER_MEMORY)


class Pool:
    """Threads that work on batches; results come back in the batches' order."""

    def __init__(self, jobs: int, stop: Stop = never) -> None:
        return_memory_early()
        self._jobs, self._stop = max(1, jobs), stop
        self._threads = ThreadPoolExecutor(self._jobs, thread_name_prefix="identity")

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *exception: object) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)

    def ordered(self, tasks: Iterable[Callable[[], Result]]) -> Iterator[Result]:
        """The results of the tasks, in order; at most ``AHEAD`` more tasks than threads are under way at once.

        Raises Cancelled once ``stop`` says so, and whatever a task raises.
        """
        waiting: collections.deque[Future[Result]] = collections.deque()
        source = iter(tasks)
        failure: Unreadable | None = None
        while True:
            self.check()
            try:
                task = next(source)
            except StopIteration:
                break
            except Unreadable as error:
                # What was read before the damage still counts.
                failure = error
                break
            waiting.append(self._threads.submit(task))
            if len(waiting) > self._jobs + AHEAD:
                yield waiting.popleft().result()
        while waiting:
            self.check()
            yield waiting.popleft().result()
        if failure is not None:
            raise failure

    def check(self) -> None:
        """Raises Cancelled when the caller asked to stop."""
        if self._stop():
            raise Cancelled("stopped on request; nothing was published")


PREFIX = "identity-"
LOCK = "in-use"
_OURS = re.compile(rf"{PREFIX}[a-z0-9_]{{8}}")
_CONTENT = re.compile(r"(keys|rows|collapsed)-\d+")
_DAY = 86_400


@contextmanager
def workspace() -> Iterator[Path]:
    """A temporary folder for what does not fit into memory, gone afterwards; nobody else may look into it.

    While its process lives it holds a lock in it. The folders of processes that were killed, which hold clear values,
    are removed here by whoever comes next.
    """
    _remove_left()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = -1
    try:
        # Under its name there is no moment at which nobody holds it.
        lock = os.open(folder / f"{LOCK}-soon", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        (folder / f"{LOCK}-soon").rename(folder / LOCK)
        yield folder
    finally:
        try:
            _remove(folder)
        except BaseException:  # a signal
            _remove(folder)
            raise
        finally:
            if lock >= 0:
                os.close(lock)


@contextmanager
def spilling() -> Iterator[None]:
    """Says of a failure to write there that it was the temporary folder, by the system's words alone."""
    try:
        yield
    except OSError as error:
        raise OSError(number(error) or errno.EIO, reason(error), tempfile.gettempdir()) from None


def _remove(folder: Path) -> None:
    """Removes a folder of ours, its lock last: one that is left half way is still known for what it is."""
    with contextlib.suppress(FileNotFoundError):
        for entry in list(folder.iterdir()):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            elif entry.name != LOCK:
                entry.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _remove_left() -> None:
    """Removes the folders of processes of this user that are no more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # another may be at it too
            about = folder.lstat()
            if _OURS.fullmatch(folder.name) and stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid():
                _remove_if_left(folder, about.st_mtime)


def _remove_if_left(folder: Path, changed: float) -> None:
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        # Made by an earlier version, or just now: only time tells whether it is in use, only its content whose it is.
        known = all(_CONTENT.fullmatch(entry.name) or entry.name == f"{LOCK}-soon" for entry in folder.iterdir())
        if known and changed < time.time() - _DAY:
            _remove(folder)
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(folder)
    finally:
        os.close(lock)
