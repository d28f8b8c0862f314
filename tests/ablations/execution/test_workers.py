"""Workers train cells, and a cell that fails costs itself alone."""

import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch

from ablations.driver import Options
from ablations.execution import cells as cells_module
from ablations.execution.cells import train_cell
from ablations.execution.workers import Finished, Progress, run_cells
from ablations.study.reader import parse_study
from tests.ablations.tiny import TEXT

CELLS = parse_study(TEXT, name="tiny", source="tiny.toml").cells()


def with_levels(cell, **levels):
    return replace(cell, variant=replace(cell.variant, levels={**cell.variant.levels, **levels}))


def by_key(events):
    return {event.cell.key: event.outcome for event in events if isinstance(event, Finished)}


def nothing(epoch):
    return None


def test_the_same_cell_has_the_same_bits_here_and_in_any_worker():
    torch.set_num_threads(1)
    events = list(run_cells(CELLS[:4], device="cpu", workers=2))
    finished = by_key(events)
    assert finished.keys() == {cell.key for cell in CELLS[:4]}
    here = train_cell(CELLS[0], "cpu", nothing)
    there = finished[CELLS[0].key]
    assert here.status == there.status == "ok"
    assert here.steps == 2 * 3
    assert here.engine == "delta"
    np.testing.assert_array_equal(here.train_loss, there.train_loss)
    np.testing.assert_array_equal(here.val_mse, there.val_mse)
    np.testing.assert_array_equal(here.predictions["test"], there.predictions["test"])
    assert here.predictions["test"].shape == (500, 2)
    epochs = [e.epoch for e in events if isinstance(e, Progress) and e.cell.key == CELLS[0].key]
    assert epochs == [0, 1, 2]


def test_seeds_differ_in_initialisation_and_order():
    one, other = (train_cell(cell, "cpu", nothing) for cell in (CELLS[0], CELLS[2]))
    assert CELLS[0].variant == CELLS[2].variant
    assert not np.array_equal(one.train_loss, other.train_loss)


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
    ],
)
def test_an_exhausted_memory_is_told_apart(monkeypatch, error):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(cells_module, "_train_cell", fail)
    assert train_cell(CELLS[0], "cpu", nothing).status == "oom"


def test_a_cell_over_its_time_is_stopped_and_the_next_one_trained():
    cells = [with_levels(CELLS[0], epochs=100_000), CELLS[1]]
    finished = by_key(run_cells(cells, device="cpu", workers=1, timeout=6.0))
    assert finished[cells[0].key].status == "timeout"
    assert finished[cells[0].key].seconds >= 6
    assert "the limit is 6 s" in finished[cells[0].key].message
    assert finished[cells[1].key].status == "ok"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, "oom"), (signal.SIGTERM, "error")])
def test_a_worker_that_dies_costs_its_cell_alone(number, status):
    cells = [with_levels(CELLS[0], epochs=100_000), CELLS[1]]
    finished = {}
    killed = False
    for event in run_cells(cells, device="cpu", workers=1):
        if isinstance(event, Finished):
            finished[event.cell.key] = event.outcome
        elif not killed:
            killed = True
            for child in psutil.Process().children():
                if "spawn_main" in " ".join(child.cmdline()):
                    os.kill(child.pid, number)
    assert finished[cells[0].key].status == status
    assert finished[cells[1].key].status == "ok"


def test_the_cell_after_an_error_has_a_process_of_its_own():
    cells = [CELLS[0], with_levels(CELLS[1], pooling="nonsense"), CELLS[2]]
    pids, finished = {}, {}
    for event in run_cells(cells, device="cpu", workers=1):
        if isinstance(event, Finished):
            finished[event.cell.key] = event.outcome.status
        else:
            (pids[event.cell.key],) = (
                c.pid for c in psutil.Process().children() if "spawn_main" in " ".join(c.cmdline())
            )
    assert [finished[cell.key] for cell in cells] == ["ok", "error", "ok"]
    first, failed, last = (pids[cell.key] for cell in cells)
    assert first == failed != last


def test_options_that_start_no_worker_are_refused():
    for option in ({"workers": 0}, {"threads": 0}, {"timeout": -1.0}):
        with pytest.raises(ValueError, match=next(iter(option))):
            Options(**option)


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
