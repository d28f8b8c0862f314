"""Worker processes of this machine.

`run_cells` trains cells in them and yields what they report; the driver iterates over it and does all writing.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing as mp
import os
import signal
import sys
import types
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from multiprocessing import connection as mpc
from multiprocessing import util
from typing import Any

from ablations.execution.events import (
    STARTED,
    DeviceLost,
    Died,
    Finished,
    Job,
    Message,
    Progress,
)
from ablations.execution.messages import DisconnectedError, Inbox, send
from ablations.execution.supervision import supervise
from ablations.study.study import Cell

PR_SET_PDEATHSIG = 1  # of Linux's prctl


def run_cells(
    cells: Iterable[Cell],
    *,
    device: str,
    workers: int,
    threads: int = 1,
    timeout: float | None = None,
    pack: int | None = 1,
) -> Generator[Progress | Finished, None, None]:
    """Train cells in `workers` processes of `threads` threads each, in order; see `supervise` for what is yielded.

    `device` may be several, separated by commas, over which workers are spread. `timeout` is in seconds a cell, or a
    pack of cells; `pack` is for `jobs_of`.
    """
    devices = device.split(",")
    jobs = cells_as_jobs(cells, devices, workers, pack)
    return supervise(jobs, LocalBackend(devices, threads), workers, timeout)


def cells_as_jobs(
    cells: Iterable[Cell], devices: Sequence[str], workers: int, pack: int | None
) -> list[Job]:
    """`jobs_of`, and without torch where each cell is alone."""
    if pack == 1:
        return [(cell,) for cell in cells]
    from ablations.execution.jobs import (
        jobs_of,  # it needs torch, which a driver of single cells does not
    )

    return jobs_of(cells, devices, workers, pack)


class LocalBackend:
    """Worker processes of `threads` threads, spread over the devices of this machine."""

    def __init__(self, devices: Sequence[str], threads: int) -> None:
        self.devices, self.threads = devices, threads

    def start(self, slot: int) -> LocalWorker:
        return LocalWorker(self.devices[slot % len(self.devices)], self.threads)

    def wait(self, workers: Sequence[LocalWorker], seconds: float) -> None:
        mpc.wait([worker.connection for worker in workers], timeout=seconds)


class LocalWorker:
    """This process' end of one worker process."""

    provenance: Mapping[str, Any] | None = None  # it is on this machine

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

    def ready(self) -> bool:
        return True

    def give(self, job: Job) -> None:
        # If the process is dead already, `message` finds the end of the pipe and says so.
        with contextlib.suppress(OSError):
            send(self.connection, job)

    def message(self) -> Message | None:
        try:
            message: Message | None = self.inbox.next()
        except DisconnectedError:
            return self._death()
        return message

    def _death(self) -> Died:
        self.process.join(timeout=1)
        code = self.process.exitcode
        self.kill()
        if code == -signal.SIGKILL:
            note = "the worker was killed (SIGKILL): most likely the system ran out of memory"
            return Died("oom", note)
        end = "closed its connection" if code is None else f"ended with exit code {code}"
        if code is not None and code < 0:
            end = f"was killed by {signal.Signals(-code).name}"
        return Died("error", f"the worker {end}")

    def kill(self) -> None:
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
    # These reach the whole process group, the last at the end of a job's time; the driver alone decides what they mean.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2):
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
