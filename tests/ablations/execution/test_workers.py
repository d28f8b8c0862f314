"""Workers train cells, and a cell that fails costs itself alone."""

import errno
import multiprocessing as mp
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch

from ablations.driver import Options
from ablations.execution import cells as cells_module
from ablations.execution import messages as messages_module
from ablations.execution import supervision
from ablations.execution import workers as workers_module
from ablations.execution.cells import train_cell
from ablations.execution.events import STARTED, Finished, Progress
from ablations.execution.messages import DisconnectedError, Inbox, send
from ablations.execution.workers import run_cells
from ablations.study.reader import parse_study
from linefit.fused import instruction_set
from linefit.training import cell_seeds
from tests.ablations.execution import sick_workers
from tests.ablations.tiny import TEXT, write_tiny

CELLS = parse_study(TEXT, name="tiny", source="tiny.toml").cells()


def with_levels(cell, **levels):
    return replace(cell, variant=replace(cell.variant, levels={**cell.variant.levels, **levels}))


def by_key(events):
    return {event.cell.key: event.outcome for event in events if isinstance(event, Finished)}


def nothing(epoch):
    return None


def worker_pid():
    (pid,) = (
        child.pid
        for child in psutil.Process().children()
        if "spawn_main" in " ".join(child.cmdline())
    )
    return pid


def test_the_same_cell_has_the_same_bits_here_and_in_any_worker():
    torch.set_num_threads(1)
    events = list(run_cells(CELLS[:4], device="cpu", workers=2))
    finished = by_key(events)
    assert finished.keys() == {cell.key for cell in CELLS[:4]}
    here = train_cell(CELLS[0], "cpu", nothing)
    there = finished[CELLS[0].key]
    assert here.status == there.status == "ok"
    assert here.steps == 2 * 3
    assert here.engine == ("delta" if instruction_set() is None else "fused")
    np.testing.assert_array_equal(here.train_loss, there.train_loss)
    np.testing.assert_array_equal(here.val_mse, there.val_mse)
    np.testing.assert_array_equal(here.predictions["test"], there.predictions["test"])
    assert here.predictions["test"].shape == (500, 2)
    epochs = [e.epoch for e in events if isinstance(e, Progress) and e.cell.key == CELLS[0].key]
    assert epochs == [0, 1, 2]


@pytest.mark.parametrize("part", ["initialisation", "order of images"])
def test_a_seed_decides_initialisation_and_order_each_by_itself(monkeypatch, part):
    """Of the two seeds that a cell's seed gives, one alone is exchanged for that of another cell."""

    def loss():
        return train_cell(CELLS[0], "cpu", nothing).train_loss

    own, other = cell_seeds(CELLS[0].seed), cell_seeds(CELLS[2].seed)
    exchanged = (other[0], own[1]) if part == "initialisation" else (own[0], other[1])
    before = loss()
    monkeypatch.setattr(cells_module, "cell_seeds", lambda seed: own)
    np.testing.assert_array_equal(loss(), before)
    monkeypatch.setattr(cells_module, "cell_seeds", lambda seed: exchanged)
    assert not np.array_equal(loss(), before)


def test_a_diverged_cell_is_an_outcome_and_the_others_go_on():
    cells = [with_levels(CELLS[0], learning_rate=1e30), CELLS[1]]
    finished = by_key(run_cells(cells, device="cpu", workers=1))
    diverged = finished[cells[0].key]
    assert diverged.status == "diverged"
    assert "not finite" in diverged.message
    assert diverged.predictions == {}
    assert finished[cells[1].key].status == "ok"


def test_an_exception_is_an_outcome_with_its_traceback():
    outcome = train_cell(with_levels(CELLS[0], pooling="nonsense"), "cpu", nothing)
    assert outcome.status == "error"
    assert "pooling 'nonsense' is not one of none, flatten" in outcome.message
    assert "Traceback" in outcome.message


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("no"),
        torch.OutOfMemoryError("no"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_an_exhausted_memory_is_told_apart(monkeypatch, error):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(cells_module, "_train_cell", fail)
    assert train_cell(CELLS[0], "cpu", nothing).status == "oom"


def test_an_exhausted_memory_is_told_apart_behind_the_error_that_it_led_to(monkeypatch):
    """As when a step is recorded: the end of the recording fails too."""

    def fail(*arguments):
        try:
            raise torch.OutOfMemoryError("too much")
        finally:
            raise RuntimeError("CUDA error: operation failed due to a previous error")

    monkeypatch.setattr(cells_module, "_train_cell", fail)
    outcome = train_cell(CELLS[0], "cpu", nothing)
    assert (outcome.status, outcome.message) == ("oom", "OutOfMemoryError: too much")


def test_a_cell_over_its_time_is_stopped_and_the_next_one_trained():
    cells = [with_levels(CELLS[0], epochs=100_000), CELLS[1]]
    finished = by_key(run_cells(cells, device="cpu", workers=1, timeout=6.0))
    assert finished[cells[0].key].status == "timeout"
    assert finished[cells[0].key].seconds >= 6
    assert "the limit is 6 s" in finished[cells[0].key].message
    assert finished[cells[1].key].status == "ok"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, "oom"), (signal.SIGSEGV, "error")])
def test_a_worker_that_dies_costs_its_cell_alone(number, status):
    cells = [with_levels(CELLS[0], epochs=100_000), CELLS[1]]
    finished = {}
    killed = False
    for event in run_cells(cells, device="cpu", workers=1):
        if isinstance(event, Finished):
            finished[event.cell.key] = event.outcome
        elif not killed:
            killed = True
            os.kill(worker_pid(), number)
    assert finished[cells[0].key].status == status
    assert finished[cells[1].key].status == "ok"


def test_the_cell_after_an_error_has_a_process_of_its_own():
    cells = [CELLS[0], with_levels(CELLS[1], pooling="nonsense"), CELLS[2]]
    pids, finished = {}, {}
    for event in run_cells(cells, device="cpu", workers=1):
        if isinstance(event, Finished):
            finished[event.cell.key] = event.outcome.status
        else:
            pids[event.cell.key] = worker_pid()
    assert [finished[cell.key] for cell in cells] == ["ok", "error", "ok"]
    first, failed, last = (pids[cell.key] for cell in cells)
    assert first == failed != last


def test_options_that_start_no_worker_are_refused():
    for option in ({"workers": 0}, {"threads": 0}, {"timeout": -1.0}):
        with pytest.raises(ValueError, match=next(iter(option))):
            Options(**option)


def test_a_worker_that_is_stopped_is_replaced_when_its_time_is_over():
    cells = [with_levels(CELLS[0], epochs=100_000), CELLS[1]]
    finished = {}
    stopped = False
    for event in run_cells(cells, device="cpu", workers=1, timeout=8.0):
        if isinstance(event, Finished):
            finished[event.cell.key] = event.outcome.status
        elif event.cell is cells[0] and event.epoch > 0 and not stopped:
            stopped = True
            os.kill(worker_pid(), signal.SIGSTOP)
    assert [finished[cell.key] for cell in cells] == ["timeout", "ok"]


def test_a_worker_that_hangs_before_its_first_cell_is_stopped(monkeypatch):
    monkeypatch.setattr(supervision, "START_SECONDS", 2.0)
    monkeypatch.setattr(workers_module, "_work", sick_workers.hang)
    (event,) = run_cells(CELLS[:1], device="cpu", workers=1, timeout=100.0)
    assert event.outcome.status == "timeout"
    assert "did not begin within 2 s" in event.outcome.message


def test_a_worker_that_hangs_in_the_middle_of_a_message_is_stopped(monkeypatch):
    monkeypatch.setattr(workers_module, "_work", sick_workers.send_half_a_message)
    *_, last = run_cells(CELLS[:1], device="cpu", workers=1, timeout=1.0)
    assert last.outcome.status == "timeout"
    assert "the limit is 1 s" in last.outcome.message


def test_a_worker_that_dies_in_the_middle_of_a_message_costs_its_cell_alone(monkeypatch):
    monkeypatch.setattr(workers_module, "_work", sick_workers.send_half_a_message_and_die)
    events = list(run_cells(CELLS[:2], device="cpu", workers=1))
    finished = [event for event in events if isinstance(event, Finished)]
    assert [event.cell for event in finished] == CELLS[:2]
    for event in finished:
        assert event.outcome.status == "error"
        assert "ended with exit code 3" in event.outcome.message


def test_a_broken_connection_costs_its_cell_alone(monkeypatch):
    def broken(descriptor, size):
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as patch:
        events = run_cells(CELLS[:2], device="cpu", workers=1)
        next(events)
        patch.setattr(messages_module.os, "read", broken)
        event = next(events)
    assert (event.cell, event.outcome.status) == (CELLS[0], "error")
    assert "closed its connection" in event.outcome.message
    assert [e.outcome.status for e in events if isinstance(e, Finished)] == ["ok"]


def test_the_time_of_a_suspended_job_does_not_pass(monkeypatch):
    now = 100.0
    monkeypatch.setattr(supervision.time, "monotonic", lambda: now)
    clock = supervision._Clock()
    now += 0.25
    assert clock.tick() == 0.25
    now += 3600  # nothing was running
    assert clock.tick() <= 2 * supervision.POLL_SECONDS
    now += 0.25
    assert clock.tick() == 0.25


def test_a_message_arrives_whole_or_not_yet():
    ours, theirs = mp.Pipe()
    inbox = Inbox(ours)
    sent = [b"x" * 3_000_000, STARTED, {"epoch": 1}]
    thread = threading.Thread(target=lambda: [send(theirs, message) for message in sent])
    thread.start()
    received = []
    while len(received) < len(sent):
        message = inbox.next()
        if message is not None:
            received.append(message)
    thread.join()
    assert received == sent
    assert inbox.next() is None
    theirs.close()
    with pytest.raises(DisconnectedError):
        inbox.next()


def test_no_worker_outlives_its_driver(tmp_path):
    study = write_tiny(tmp_path, TEXT.replace("epochs = 2", "epochs = 100000"))
    script = f"""
import psutil
from ablations.execution.workers import run_cells
from ablations.study.reader import load_study
for event in run_cells(load_study({str(study)!r}).cells(), device="cpu", workers=2):
    print(*(c.pid for c in psutil.Process().children(recursive=True)), flush=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as driver:
        children = []
        while len(children) < 3:  # two workers and multiprocessing's resource tracker
            children = [psutil.Process(int(pid)) for pid in driver.stdout.readline().split()]
        driver.kill()
        driver.wait()
    time.sleep(1)
    # Nobody may have collected them yet.
    assert not [c for c in children if c.is_running() and c.status() != psutil.STATUS_ZOMBIE]


def test_closing_the_stream_ends_the_workers():
    events = run_cells([with_levels(CELLS[0], epochs=100_000)], device="cpu", workers=1)
    next(events)
    workers = [c for c in psutil.Process().children() if "spawn_main" in " ".join(c.cmdline())]
    assert workers
    events.close()
    assert not any(worker.is_running() for worker in workers)


def test_a_worker_needs_neither_tables_nor_a_database():
    script = (
        "import sys, ablations.execution.workers, ablations.execution.cells\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "torch" in loaded
    assert not loaded & {"pandas", "sqlite3", "matplotlib", "statsmodels", "typer"}
