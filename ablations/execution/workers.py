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
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
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
Job = tuple[
    Cell, ...
]  # what a worker is given at a time: a cell, or a pack that it trains together
POLL_SECONDS = 0.5  # how late a time-out may be noticed
START_SECONDS = 120.0  # in which a worker has to begin with a cell, where cells have a time-out
PR_SET_PDEATHSIG = 1  # of Linux's prctl


@dataclass(frozen=True)
class DeviceLost:
    """A worker cannot use its device."""

    reason: str


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
    pack: int | None = 1,
) -> Generator[Progress | Finished, None, None]:
    """Train cells in `workers` processes of `threads` threads each, in order, and yield what happens.

    `device` may be several, separated by commas, over which workers are spread. `timeout` is in seconds a cell, or a
    pack of cells; `pack` is for `jobs_of`. A pack that runs out of memory is split in two. A device that can no longer
    be used costs the cells in flight on it, and others take over. Closing the iterator, or an exception in its
    consumer, ends the workers; cells in flight are then lost and nothing else.
    """
    devices = device.split(",")
    jobs = deque(_jobs(cells, devices, workers, pack))
    count = min(workers, len(jobs))
    pool = [_Worker(devices[i % len(devices)], threads) for i in range(count)]
    clock = _Clock()
    try:
        while jobs or any(worker.job for worker in pool):
            for i, worker in enumerate(pool):
                pool[i] = _with_work(worker, jobs)
            mpc.wait([worker.connection for worker in pool if worker.job], timeout=POLL_SECONDS)
            elapsed = clock.tick()
            for worker in [worker for worker in pool if worker.job]:
                worker.seconds += elapsed
                while isinstance(event := worker.event(timeout), int):
                    for cell in worker.job:
                        yield Progress(cell, event)
                if event is None:
                    continue
                if isinstance(event, DeviceLost) and len(pool) > 1:
                    jobs.appendleft(worker.job)
                    worker.kill()
                    pool.remove(worker)
                    continue
                job, outcomes = worker.job, worker.outcomes(event)
                worker.job = ()
                # A CUDA context is of no use after some errors, and memory may not all come back.
                if {outcome.status for outcome in outcomes} & {"oom", "error"}:
                    worker.kill()
                if len(job) > 1 and outcomes[0].status == "oom":
                    half = len(job) // 2
                    jobs.extendleft([job[half:], job[:half]])
                    continue
                pool[pool.index(worker)] = _with_work(worker, jobs)
                yield from map(Finished, job, outcomes)
    finally:
        for worker in pool:
            worker.kill()


def _jobs(
    cells: Iterable[Cell], devices: Sequence[str], workers: int, pack: int | None
) -> list[Job]:
    if pack == 1:
        return [(cell,) for cell in cells]
    from ablations.execution.jobs import (
        jobs_of,  # it needs torch, which a driver of single cells does not
    )

    return jobs_of(cells, devices, workers, pack)


def _with_work(worker: _Worker, jobs: deque[Job]) -> _Worker:
    """An idle worker with the next job, in a new process if its own has ended."""
    if worker.job or not jobs:
        return worker
    if not worker.alive:
        worker = _Worker(worker.device, worker.threads)
    worker.give(jobs.popleft())
    return worker


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
        self.job: Job = ()
        self.begun = False  # whether the worker has said that it has begun with the job
        self.seconds = 0.0  # since then, or else since it was given the job
        self.alive = True

    def give(self, job: Job) -> None:
        self.job, self.begun, self.seconds = job, False, 0.0
        # If the process is dead already, `event` finds the end of the pipe and says so.
        with contextlib.suppress(OSError):
            send(self.connection, job)

    def event(self, timeout: float | None) -> int | list[Outcome] | DeviceLost | None:
        """Epochs done, or what became of each cell of the job, or None if there is nothing to report."""
        # Before a message is read: a cell of short epochs always has one.
        if timeout is not None and self.seconds > (timeout if self.begun else START_SECONDS):
            self.kill()
            did = f"stopped after {self.seconds:.0f} s, the limit is {timeout:g} s"
            note = did if self.begun else f"the worker did not begin within {START_SECONDS:g} s"
            return self._all(Outcome("timeout", note, **self._facts()))
        try:
            message: int | list[Outcome] | DeviceLost | None = self.inbox.next()
        except DisconnectedError:
            return self._all(self._died())
        if message == STARTED:
            self.begun, self.seconds = True, 0.0
        return message

    def outcomes(self, end: list[Outcome] | DeviceLost) -> list[Outcome]:
        """What became of each cell of the job."""
        if isinstance(end, DeviceLost):
            return self._all(Outcome("error", end.reason, **self._facts()))
        return end

    def _all(self, outcome: Outcome) -> list[Outcome]:
        return [outcome] * len(self.job)

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
    """The worker's main loop: a job in, numbers of epochs and at last its cells' outcomes out."""
    _die_with(driver)
    # These reach the whole process group; the driver alone decides what they mean.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    import torch

    from ablations.execution.packs import train_cells

    torch.set_num_threads(threads)
    inbox = Inbox(connection)
    try:
        try:
            torch.zeros(1, device=device)
        except Exception as error:  # torch raises whatever it finds fit
            send(connection, DeviceLost(f"{device} cannot be used: {error}"))
            return
        while True:
            mpc.wait([connection])
            job = inbox.next()
            if job is not None:
                send(connection, STARTED)
                send(connection, train_cells(job, device, lambda epoch: send(connection, epoch)))
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
