"""Worker processes that train cells, and the stream of what they report.

The driver iterates over `run_cells` and does all writing; a worker that hangs, is stopped, is killed or runs out of
memory costs its cell and nothing else.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing as mp
import os
import signal
import sys
import time
import types
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import connection as mpc
from multiprocessing import util
from typing import Any

from ablations.execution.messages import DisconnectedError, Inbox, send
from ablations.study.outcome import Outcome
from ablations.study.study import Cell

STARTED = (
    0  # epochs done when a worker begins with a cell: the time of its own start does not count
)
POLL_SECONDS = 0.5  # how late a time-out may be noticed
START_SECONDS = 120.0  # in which a worker has to begin with a cell, where cells have a time-out
PR_SET_PDEATHSIG = 1  # of Linux's prctl


@dataclass(frozen=True)
class Progress:
    """A cell has finished so many epochs."""

    cell: Cell
    epoch: int


@dataclass(frozen=True)
class Finished:
    """A cell has come to its end, good or bad."""

    cell: Cell
    outcome: Outcome


def available_cores() -> int:
    """Cores that this process may use, which in a container is fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_cells(
    cells: Iterable[Cell],
    *,
    device: str,
    workers: int,
    threads: int = 1,
    timeout: float | None = None,
) -> Generator[Progress | Finished, None, None]:
    """Train cells in `workers` processes of `threads` threads each, in order, and yield what happens.

    `timeout` is in seconds a cell. Closing the iterator, or an exception in its consumer, ends the workers; cells
    in flight are then lost and nothing else.
    """
    queue = iter(list(cells))
    pool: list[_Worker] = []
    clock = _Clock()
    try:
        for cell in queue:
            pool.append(_Worker(device, threads))
            pool[-1].give(cell)
            if len(pool) == workers:
                break
        while busy := [worker for worker in pool if worker.cell]:
            mpc.wait([worker.connection for worker in busy], timeout=POLL_SECONDS)
            elapsed = clock.tick()
            for i, worker in enumerate(pool):
                if worker.cell is None:
                    continue
                worker.seconds += elapsed
                while isinstance(event := worker.event(timeout), Progress):
                    yield event
                if event is None:
                    continue
                following = next(queue, None)
                # A CUDA context is of no use after some errors, and memory may not all come back.
                if event.outcome.status in ("oom", "error"):
                    worker.kill()
                if following is not None and not worker.alive:
                    pool[i] = worker = _Worker(device, threads)
                worker.give(following)
                yield event
    finally:
        for worker in pool:
            worker.kill()


class _Clock:
    """Time in which this process runs. That of a suspended job does not pass for its cells either."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def tick(self) -> float:
        """Seconds since the last tick; two polls at most, as a longer pause is none of the workers' doing."""
        now = time.monotonic()
        elapsed, self.last = now - self.last, now
        return min(elapsed, 2 * POLL_SECONDS)


class _Worker:
    """The driver's end of one worker process."""

    def __init__(self, device: str, threads: int) -> None:
        self.device, self.threads = device, threads
        # A fresh interpreter: a forked one would inherit the thread pools and the CUDA context of the driver.
        context = mp.get_context("spawn")
        self.connection, theirs = context.Pipe()
        arguments = (theirs, device, threads, os.getpid())
        self.process = context.Process(target=_work, args=arguments, daemon=True)
        with _no_main_module():
            self.process.start()
        theirs.close()  # or the end of the worker would not be the end of the pipe
        # At the end of this process too, however it comes: a worker itself ends for no signal but this.
        self.finalizer = util.Finalize(self, self.process.kill, exitpriority=10)
        self.inbox = Inbox(self.connection)
        self.cell: Cell | None = None
        self.begun = False  # whether the worker has said that it has begun with the cell
        self.seconds = 0.0  # since then, or else since it was given the cell
        self.alive = True

    def give(self, cell: Cell | None) -> None:
        self.cell, self.begun, self.seconds = cell, False, 0.0
        if cell is not None:
            # If the process is dead already, `event` finds the end of the pipe and says so.
            with contextlib.suppress(OSError):
                send(self.connection, cell)

    def event(self, timeout: float | None) -> Progress | Finished | None:
        """What the worker has to report, None if nothing."""
        assert self.cell is not None
        # Before a message is read: a cell of short epochs always has one.
        if timeout is not None and self.seconds > (timeout if self.begun else START_SECONDS):
            self.kill()
            did = f"stopped after {self.seconds:.0f} s, the limit is {timeout:g} s"
            note = did if self.begun else f"the worker did not begin within {START_SECONDS:g} s"
            return Finished(self.cell, Outcome("timeout", note, **self._facts()))
        try:
            message: int | Outcome | None = self.inbox.next()
        except DisconnectedError:
            return Finished(self.cell, self._died())
        if message is None:
            return None
        if isinstance(message, Outcome):
            return Finished(self.cell, message)
        if message == STARTED:
            self.begun, self.seconds = True, 0.0
        return Progress(self.cell, message)

    def _died(self) -> Outcome:
        self.process.join(timeout=1)
        code = self.process.exitcode
        self.kill()
        if code == -signal.SIGKILL:
            note = "the worker was killed (SIGKILL): most likely the system ran out of memory"
            return Outcome("oom", note, **self._facts())
        end = "closed its connection" if code is None else f"ended with exit code {code}"
        if code is not None and code < 0:
            end = f"was killed by {signal.Signals(-code).name}"
        return Outcome("error", f"the worker {end}", **self._facts())

    def _facts(self) -> dict[str, Any]:
        seconds = self.seconds if self.begun else 0.0
        return {"seconds": seconds, "device": self.device, "threads": self.threads}

    def kill(self) -> None:
        self.alive = False
        self.finalizer()
        self.process.join()
        self.connection.close()


@contextlib.contextmanager
def _no_main_module() -> Iterator[None]:
    """Workers need nothing of the script that runs a study, and importing it would run the study again in each."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _work(connection: mpc.Connection, device: str, threads: int, driver: int) -> None:
    """The worker's main loop: a cell in, numbers of epochs and at last an outcome out."""
    _die_with(driver)
    # These reach the whole process group; the driver alone decides what they mean.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    import torch

    from ablations.execution.cells import train_cell

    torch.set_num_threads(threads)
    inbox = Inbox(connection)
    try:
        while True:
            mpc.wait([connection])
            cell = inbox.next()
            if cell is not None:
                send(connection, STARTED)
                send(connection, train_cell(cell, device, lambda epoch: send(connection, epoch)))
    except (DisconnectedError, OSError):
        return  # the driver is gone


def _die_with(driver: int) -> None:
    """Let the system kill this process as soon as its driver is gone, in the middle of whatever it computes.

    Elsewhere than on Linux it lives until it next reports an epoch.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != driver:  # gone before that
            os._exit(1)
