"""Runs batches through several threads in order, with progress and a way to stop."""

from __future__ import annotations

import collections
import ctypes
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import pyarrow as pa

from onboarding.identity.errors import Cancelled, Unreadable

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
