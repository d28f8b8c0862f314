"""What happens to jobs, whoever trains them: time-outs, retries, statuses. A back end only starts workers and listens.

A worker that hangs, is stopped, is killed or runs out of memory costs its job and nothing else; one that is lost with
its machine does not even cost that.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter, deque
from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Any
from typing import Protocol as Interface

from ablations.execution.events import (
    STARTED,
    Apart,
    DeviceLost,
    Died,
    Finished,
    Job,
    MachineLost,
    Message,
    Progress,
)
from ablations.study.outcome import Outcome

POLL_SECONDS = 0.5  # how late a time-out may be noticed
START_SECONDS = 120.0  # in which a worker has to begin with a job, where jobs have a time-out
PLACEMENT_SECONDS = 600.0  # in which some worker has to find a place, as on a cluster that grows
MOST_LOSSES = 3  # of machines during one job, which then seems to be what brings them down


class Worker(Interface):
    """One process that trains a job at a time, wherever it is."""

    device: str
    threads: int
    provenance: Mapping[str, Any] | None  # of its machine; None: this one

    def ready(self) -> bool:
        """Whether it has a place to work at. Raises ConnectionError if it can never have one."""

    def give(self, job: Job) -> None:
        """Hand it a job, without waiting."""

    def message(self) -> Message | None:
        """The next of what it has to say, None for nothing yet. The last message of a job is no number."""

    def kill(self) -> None:
        """End it, whatever it is at."""


class Backend(Interface):
    """What starts workers."""

    def start(self, slot: int) -> Worker:
        """A new worker for a slot."""

    def wait(self, workers: Sequence[Any], seconds: float) -> None:
        """Return as soon as one of these workers may have something to say, and after `seconds` in any case."""


def supervise(
    jobs: Iterable[Job], backend: Backend, slots: int, timeout: float | None
) -> Generator[Progress | Finished, None, None]:
    """Have jobs trained in order by a worker in each slot, one job at a time, and yield what happens.

    `timeout` is in seconds a job. A pack that runs out of memory is split in two, one that cannot train together into
    its cells. A device that can no longer be used costs its slot, and others take over; a lost machine costs nothing
    but time. Closing the iterator, or an exception in its consumer, ends the workers; jobs in flight are then lost and
    nothing else. Raises ConnectionError where no worker finds a place.
    """
    waiting = deque(jobs)
    pool = [_Slot(backend, number) for number in range(min(slots, len(waiting)))]
    losses: Counter[str] = Counter()  # by the key of a job's first cell
    reasons: dict[str, str] = {}  # why a cell is trained alone, by its key
    clock, idle = _Clock(), 0.0
    try:
        while waiting or any(slot.job for slot in pool):
            for slot in pool:
                slot.take(waiting)
            busy = [slot for slot in pool if slot.job]
            backend.wait([slot.worker for slot in busy], POLL_SECONDS)
            elapsed = clock.tick()
            idle = 0.0 if busy else idle + elapsed
            if idle > PLACEMENT_SECONDS:
                raise ConnectionError(
                    f"no worker found a place within {PLACEMENT_SECONDS:g} s; finished cells are safe"
                )
            for slot in busy:
                slot.seconds += elapsed
                while isinstance(event := slot.event(timeout), int):
                    for cell in slot.job:
                        yield Progress(cell, event)
                if event is None:
                    continue
                job, slot.job = slot.job, ()
                if isinstance(event, DeviceLost) and len(pool) > 1:
                    waiting.appendleft(job)
                    slot.end()
                    pool.remove(slot)
                    continue
                if isinstance(event, Apart):
                    if event.spoilt:
                        slot.end()
                    reasons |= {cell.key: event.reason for cell in job}
                    waiting.extendleft((cell,) for cell in reversed(job))
                    continue
                if isinstance(event, MachineLost):
                    slot.end()
                    losses[job[0].key] += 1
                    if losses[job[0].key] < MOST_LOSSES:
                        waiting.appendleft(job)
                        continue
                outcomes, provenance = slot.outcomes(job, event), slot.provenance
                # A CUDA context is of no use after some errors, and memory may not all come back.
                if {outcome.status for outcome in outcomes} & {"oom", "error"}:
                    slot.end()
                if len(job) > 1 and outcomes[0].status == "oom":
                    half = len(job) // 2
                    waiting.extendleft([job[half:], job[:half]])
                    continue
                slot.take(waiting)
                for cell, outcome in zip(job, outcomes, strict=True):
                    yield Finished(cell, _with_reason(outcome, reasons.get(cell.key)), provenance)
    finally:
        for slot in pool:
            slot.end()


def _with_reason(outcome: Outcome, reason: str | None) -> Outcome:
    """The outcome of a cell that was trained alone for a reason."""
    if reason is None or outcome.status != "ok":
        return outcome
    words = [f"trains alone: {reason}", *([outcome.message] if outcome.message else [])]
    return dataclasses.replace(outcome, message="; ".join(words))


class _Slot:
    """A place for one worker after the other."""

    def __init__(self, backend: Backend, number: int) -> None:
        self.backend, self.number = backend, number
        self.worker: Worker | None = backend.start(number)
        self.job: Job = ()
        self.begun = False  # whether the worker has said that it has begun with the job
        self.seconds = 0.0  # since then, or else since it was given the job
        self.device, self.threads = self.worker.device, self.worker.threads
        self.provenance = self.worker.provenance

    def take(self, waiting: deque[Job]) -> None:
        """If idle, take the next job, with a new worker if there is none."""
        if self.job or not waiting:
            return
        if self.worker is None:
            self.worker = self.backend.start(self.number)
        if self.worker.ready():
            self.job, self.begun, self.seconds = waiting.popleft(), False, 0.0
            self.provenance = self.worker.provenance
            self.worker.give(self.job)

    def event(self, timeout: float | None) -> Message | None:
        """The worker's next message, or that its time is over."""
        assert self.worker is not None
        # Before a message is read: a cell of short epochs always has one.
        if timeout is not None and self.seconds > (timeout if self.begun else START_SECONDS):
            self.end()
            did = f"stopped after {self.seconds:.0f} s, the limit is {timeout:g} s"
            return Died(
                "timeout",
                did if self.begun else f"the worker did not begin within {START_SECONDS:g} s",
            )
        message = self.worker.message()
        if message == STARTED:
            self.begun, self.seconds = True, 0.0
        return message

    def outcomes(
        self, job: Job, end: list[Outcome] | Died | DeviceLost | MachineLost
    ) -> list[Outcome]:
        """What became of each cell of the job."""
        if isinstance(end, list):
            return end
        died = end if isinstance(end, Died) else Died("error", end.reason)
        seconds = self.seconds if self.begun else 0.0
        facts = {"seconds": seconds, "device": self.device, "threads": self.threads}
        return [Outcome(died.status, died.note, **facts)] * len(job)  # type: ignore[arg-type]

    def end(self) -> None:
        """End the worker; the slot stays."""
        if self.worker is not None:
            self.worker.kill()
        self.worker = None


class _Clock:
    """Time in which this process runs. That of a suspended job does not pass for its cells either."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def tick(self) -> float:
        """Seconds since the last tick; two polls at most, as a longer pause is none of the workers' doing."""
        now = time.monotonic()
        elapsed, self.last = now - self.last, now
        return min(elapsed, 2 * POLL_SECONDS)
