"""What happens to jobs, with workers that do as they are told."""

from collections import deque

import pytest

from ablations.execution import supervision
from ablations.execution.events import (
    STARTED,
    DeviceLost,
    Died,
    Finished,
    MachineLost,
    Progress,
)
from ablations.execution.supervision import MOST_LOSSES, supervise
from ablations.study.outcome import Outcome
from ablations.study.reader import parse_study
from tests.ablations.tiny import TEXT

CELLS = parse_study(TEXT, name="tiny", source="tiny.toml").cells()
OK = Outcome("ok")


class Scripted:
    """A worker that says of each job what its script says next; without a script that the job went well."""

    device, threads, provenance = "cpu", 1, None

    def __init__(self, script, ready=True):
        self.script, self.is_ready = script, ready
        self.job, self.killed, self.jobs = (), False, []

    def ready(self):
        return self.is_ready

    def give(self, job):
        assert not self.job
        assert not self.killed
        self.job = job
        self.jobs.append(job)

    def message(self):
        message = self.script.popleft() if self.script else [OK] * len(self.job)
        if not isinstance(message, int):
            self.job = ()
        return message

    def kill(self):
        self.killed = True


class Backend:
    """Starts workers with the scripts in turn, and remembers them."""

    def __init__(self, *scripts, ready=lambda i: True):
        self.scripts, self.is_ready, self.workers = deque(scripts), ready, []

    def start(self, slot):
        script = deque(self.scripts.popleft() if self.scripts else [])
        self.workers.append(Scripted(script, self.is_ready(len(self.workers))))
        return self.workers[-1]

    def wait(self, workers, seconds):
        assert all(worker.job for worker in workers)


def run(backend, jobs, slots=1):
    return list(supervise(jobs, backend, slots, None))


def finished(events):
    return [(event.cell, event.outcome.status) for event in events if isinstance(event, Finished)]


def alone(cells):
    return [(cell,) for cell in cells]


def test_epochs_are_reported_for_every_cell_of_a_job():
    events = run(Backend([STARTED, 1, [OK, OK]]), [tuple(CELLS[:2])])
    told = [(e.cell, e.epoch) for e in events if isinstance(e, Progress)]
    assert told == [(cell, epoch) for epoch in (0, 1) for cell in CELLS[:2]]


def test_a_job_whose_machine_went_is_done_by_another_worker_before_all_others():
    backend = Backend([STARTED, 1, MachineLost("gone")])
    assert finished(run(backend, alone(CELLS[:3]))) == [(cell, "ok") for cell in CELLS[:3]]
    first, second = backend.workers
    assert first.killed
    assert second.jobs == alone(CELLS[:3])


def test_a_job_that_brings_machines_down_is_given_up():
    backend = Backend(*[[MachineLost("gone")]] * MOST_LOSSES)
    events = run(backend, alone(CELLS[:2]))
    assert finished(events) == [(CELLS[0], "error"), (CELLS[1], "ok")]
    assert "gone" in next(e.outcome.message for e in events if isinstance(e, Finished))
    assert len(backend.workers) == MOST_LOSSES + 1


def test_losses_are_counted_by_job():
    """Each job loses a machine once less often than it may; together they lose more."""
    losses = [[MachineLost("gone")] * 1] * (MOST_LOSSES - 1)
    backend = Backend(*losses, [[OK], MachineLost("gone")], *losses[1:])
    assert finished(run(backend, alone(CELLS[:2]))) == [(cell, "ok") for cell in CELLS[:2]]


def test_a_device_that_is_lost_costs_its_slot_and_the_last_one_its_jobs():
    backend = Backend([DeviceLost("no GPU")], [])
    assert {status for _, status in finished(run(backend, alone(CELLS[:4]), 2))} == {"ok"}
    assert len(backend.workers) == 2
    backend = Backend([DeviceLost("no GPU")], [DeviceLost("no GPU")])
    assert finished(run(backend, alone(CELLS[:1]))) == [(CELLS[0], "error")]


def test_a_worker_that_died_is_replaced_and_one_whose_cell_diverged_is_not():
    backend = Backend([Died("oom", "killed")], [[Outcome("diverged")]])
    statuses = [status for _, status in finished(run(backend, alone(CELLS[:3])))]
    assert statuses == ["oom", "diverged", "ok"]
    assert len(backend.workers) == 2


def test_no_job_is_given_to_a_worker_without_a_place():
    backend = Backend(ready=lambda i: i != 0)
    assert len(finished(run(backend, alone(CELLS), 2))) == len(CELLS)
    assert not backend.workers[0].jobs
    assert all(worker.killed for worker in backend.workers)


def test_that_no_worker_finds_a_place_is_told_in_the_end(monkeypatch):
    now = 0.0

    def later():
        nonlocal now
        now += 1.0
        return now

    monkeypatch.setattr(supervision.time, "monotonic", later)
    backend = Backend(ready=lambda i: False)
    with pytest.raises(ConnectionError, match="no worker found a place within 600 s"):
        run(backend, alone(CELLS), 2)
    assert all(worker.killed for worker in backend.workers)
