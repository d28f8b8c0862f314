"""Workers on a Ray cluster: one actor a slot, each with a worker process of its own beside it.

The actor holds the slot's share of a machine and passes messages on. That the training is in a process of the usual
kind keeps all that goes wrong what it is without Ray: the exit code of a worker that died, its data sets, made once,
and its threads, which are set inside it (Ray's `num_cpus` only counts them).
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from multiprocessing import connection as mpc
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError

from ablations.execution.events import Finished, Job, MachineLost, Message, Progress
from ablations.execution.options import Options
from ablations.execution.provenance import provenance
from ablations.execution.supervision import supervise
from ablations.execution.workers import LocalWorker, cells_as_jobs
from ablations.study.study import ENGINE_VERSION, Cell

CONNECT_SECONDS = 10.0


def run_cells_on_ray(
    cells: Sequence[Cell], options: Options
) -> Generator[Progress | Finished, None, None]:
    """Train cells in order on the cluster at `options.ray_address`; see `supervise` for what is yielded.

    Joins the cluster, or the one that this process has joined already, which it then does not leave. Raises
    ConnectionError where there is no cluster, or none with room for a worker.
    """
    joined = not ray.is_initialized()
    if joined:
        _join(options.ray_address)
    try:
        device, workers = options.resolved_device(), options.resolved_workers()
        backend = RayBackend(device.partition(":")[0], options.threads, workers)
        # How many cells fit into a GPU is only known where it is.
        jobs = cells_as_jobs(cells, ["cpu"], workers, options.pack or 1)
        yield from supervise(jobs, backend, workers, options.timeout)
    finally:
        if joined:
            ray.shutdown()


def _join(address: str | None) -> None:
    if address is not None and address.rpartition(":")[2].isdecimal():
        host, _, port = address.rpartition(":")
        try:  # which Ray itself would do for minutes
            socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise ConnectionError(f"no Ray cluster answers at {address} ({error})") from error
    # Where Ray has to start on this machine first: nobody was asked, and workers are as nice as they are without it.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")
    ray.init(address, include_dashboard=False, log_to_driver=False, logging_level="warning")


def resources(
    device: str, threads: int, workers: int, nodes: Sequence[Mapping[str, float]]
) -> dict[str, float]:
    """What an actor asks for: its cores, and its share of a GPU where there are more workers than GPUs.

    `nodes` is what each machine has. Raises ConnectionError if none has room for one worker.
    """
    wanted = {"num_cpus": float(threads)}
    gpus = sum(node.get("GPU", 0.0) for node in nodes)
    if device == "cuda":
        wanted["num_gpus"] = 1 / math.ceil(workers / gpus) if gpus else 1.0
    for node in nodes:
        if node.get("CPU", 0.0) >= threads and node.get("GPU", 0.0) >= wanted.get("num_gpus", 0.0):
            return wanted
    found = "; ".join(f"{n.get('CPU', 0):g} cores, {n.get('GPU', 0):g} GPUs" for n in nodes)
    raise ConnectionError(
        f"no machine of the Ray cluster has room for a worker: {wanted} ({found})"
    )


class RayBackend:
    """Actors of `threads` cores, and for CUDA of a share of a GPU so that all `workers` find one."""

    def __init__(self, device: str, threads: int, workers: int) -> None:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self.device, self.threads = device, threads
        self.resources = resources(device, threads, workers, nodes)

    def start(self, slot: int) -> RayWorker:  # noqa: ARG002
        return RayWorker(self.device, self.threads, self.resources)

    def wait(self, workers: Sequence[RayWorker], seconds: float) -> None:
        streams = [worker.stream for worker in workers]
        if streams:
            ray.wait(streams, timeout=seconds)
        else:
            time.sleep(seconds)


class RayWorker:
    """The driver's end of one actor."""

    def __init__(self, device: str, threads: int, wanted: Mapping[str, float]) -> None:
        self.device, self.threads, self.wanted = device, threads, wanted
        self.provenance: Mapping[str, Any] | None = None
        self.stream: Any = None  # of messages of the job in flight
        self._start()

    def _start(self) -> None:
        self.actor = Actor.options(**self.wanted).remote(self.device, self.threads)
        self.greeting = self.actor.greet.remote()

    def ready(self) -> bool:
        if self.provenance is None and ray.wait([self.greeting], timeout=0)[0]:
            try:
                version, self.provenance = ray.get(self.greeting)
            except RayActorError as error:
                if getattr(error, "actor_init_failed", False):
                    raise ConnectionError(f"a Ray actor cannot start: {error}") from error
                self._start()  # its machine went away before it came
                return False
            except RayError as error:
                raise ConnectionError(f"a Ray actor cannot start: {error}") from error
            if version != ENGINE_VERSION:
                raise ConnectionError(
                    f"the Ray cluster has engine version {version} of this package, and here it is {ENGINE_VERSION}"
                )
        return self.provenance is not None

    def give(self, job: Job) -> None:
        self.stream = self.actor.train.options(num_returns="streaming").remote(job)

    def message(self) -> Message | None:
        if not ray.wait([self.stream], timeout=0)[0]:
            return None
        try:
            message: Message = ray.get(next(self.stream))
        except (
            RayError
        ) as error:  # of the actor, its machine or the way to it: never of the training
            return MachineLost(f"lost with its machine: {str(error).splitlines()[0]}")
        return message

    def kill(self) -> None:
        ray.kill(self.actor)


class _Actor:
    """A slot's share of a machine, with the worker process that trains there and ends with it."""

    def __init__(self, device: str, threads: int) -> None:
        self.worker = LocalWorker(device, threads)

    def greet(self) -> tuple[int, dict[str, Any]]:
        """What says whether this machine would train the same, and what it is."""
        return ENGINE_VERSION, provenance()

    def train(self, job: Job) -> Iterator[Message]:
        """Messages about a job as they come."""
        self.worker.give(job)
        message: Message | None = None
        while message is None or isinstance(message, int):
            message = self.worker.message()
            # The connection says nothing of a message that came together with the last one.
            if message is None:
                mpc.wait([self.worker.connection])
            else:
                yield message


# Ray's own retries would start a job anew without a word: what is tried again is for `supervise` to say.
Actor: Any = ray.remote(max_restarts=0, max_task_retries=0)(_Actor)
