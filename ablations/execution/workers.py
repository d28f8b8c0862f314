"""Worker processes that train cells, and the stream of what they report.

The driver iterates over `run_cells` and does all writing; a worker that hangs, is killed or runs out of memory
costs its cell and nothing else.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing as mp
import os
import signal
import sys
import time
import types
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import connection as mpc
from typing import Any

from ablations.study.outcome import Outcome
from ablations.study.study import Cell

STARTED = (
    0  # epochs done when a worker begins with a cell: the time of its own start does not count
)
POLL_SECONDS = 0.5  # how late a time-out may be noticed


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
    try:
        for cell in queue:
            pool.append(_Worker(device, threads))
            pool[-1].give(cell)
            if len(pool) == workers:
                break
        while any(worker.cell for worker in pool):
            ready = mpc.wait(
                [worker.connection for worker in pool if worker.cell], timeout=POLL_SECONDS
            )
            for i, worker in enumerate(pool):
                if worker.cell is None:
                    continue
                event = worker.event(timeout, readable=worker.connection in ready)
                if event is None:
                    continue
                if isinstance(event, Finished):
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


class _Worker:
    """The driver's end of one worker process."""

    def __init__(self, device: str, threads: int) -> None:
        self.device, self.threads = device, threads
        # A fresh interpreter: a forked one would inherit the thread pools and the CUDA context of the driver.
        context = mp.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, device, threads), daemon=True)
        with _no_main_module():
            self.process.start()
        theirs.close()  # or the end of the worker would not be the end of the pipe
        self.cell: Cell | None = None
        self.started = math.inf  # until the worker says that it has begun
        self.alive = True

    def give(self, cell: Cell | None) -> None:
        self.cell, self.started = cell, math.inf
        if cell is not None:
            # If the process is dead already, `event` finds the end of the pipe and says so.
            with contextlib.suppress(ConnectionError):
                self.connection.send(cell)

    def event(self, timeout: float | None, *, readable: bool) -> Progress | Finished | None:
        """What the worker has to report, None if nothing."""
        assert self.cell is not None
        cell, seconds = self.cell, max(time.monotonic() - self.started, 0.0)
        # Before the message is read: a cell of short epochs always has one.
        if timeout is not None and seconds > timeout:
            self.kill()
            note = f"stopped after {seconds:.0f} s, the limit is {timeout:g} s"
            return Finished(cell, Outcome("timeout", note, **self._facts(seconds)))
        if readable:
            try:
                message: int | Outcome = self.connection.recv()
            except (EOFError, ConnectionError):
                return Finished(cell, self._died(seconds))
            if isinstance(message, Outcome):
                return Finished(cell, message)
            if message == STARTED:
                self.started = time.monotonic()
            return Progress(cell, message)
        return None

    def _died(self, seconds: float) -> Outcome:
        self.process.join()
        code = self.process.exitcode
        self.kill()
        if code == -signal.SIGKILL:
            note = "the worker was killed (SIGKILL): most likely the system ran out of memory"
            return Outcome("oom", note, **self._facts(seconds))
        return Outcome("error", f"the worker ended with exit code {code}", **self._facts(seconds))

    def _facts(self, seconds: float) -> dict[str, Any]:
        return {"seconds": seconds, "device": self.device, "threads": self.threads}

    def kill(self) -> None:
        self.alive = False
        self.process.kill()
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


def _work(connection: mpc.Connection, device: str, threads: int) -> None:
    """The worker's main loop: a cell in, numbers of epochs and at last an outcome out."""
    # Ctrl-C reaches the whole process group; the driver alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    from ablations.execution.cells import train_cell

    torch.set_num_threads(threads)
    try:
        while True:
            cell = connection.recv()
            connection.send(STARTED)
            connection.send(train_cell(cell, device, connection.send))
    except (EOFError, ConnectionError):
        return  # the driver is gone
