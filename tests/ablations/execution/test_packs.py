"""Cells in packs: who shares one, the same outcomes as alone, and what goes wrong."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ablations.driver import Options
from ablations.execution import packs as packs_module
from ablations.execution import workers as workers_module
from ablations.execution.cells import prepare, train_cell
from ablations.execution.events import Finished, Progress
from ablations.execution.jobs import jobs_of
from ablations.execution.packs import train_cells
from ablations.execution.workers import run_cells
from ablations.study.reader import parse_study
from linefit.engines import set_precision
from tests.ablations.execution import sick_workers
from tests.ablations.tiny import TEXT

STUDY = TEXT.replace('coordinates = ["none", "cartesian"]', 'coordinates = ["cartesian"]').replace(
    "width = 4", "width = 4\nlearning_rate = [1e-3, 3e-3]"
)
CELLS = parse_study(STUDY, name="tiny", source="tiny.toml").cells()  # 3 seeds of 2 learning rates


def with_levels(cell, **levels):
    return replace(cell, variant=replace(cell.variant, levels={**cell.variant.levels, **levels}))


def by_key(events):
    return {event.cell.key: event.outcome for event in events if isinstance(event, Finished)}


def sizes(cells, workers=1, pack=4):
    return [len(job) for job in jobs_of(cells, ["cpu"], workers, pack)]


def assert_same_outcome(found, expected):
    assert (found.status, found.message, found.steps) == (expected.status, "", expected.steps)
    assert found.parameters == expected.parameters
    np.testing.assert_allclose(found.train_loss, expected.train_loss, rtol=1e-6)
    np.testing.assert_allclose(found.val_mse, expected.val_mse, rtol=1e-6)
    np.testing.assert_allclose(
        found.predictions["test"], expected.predictions["test"], rtol=1e-4, atol=1e-4
    )


def test_jobs_keep_every_cell_once_and_in_order():
    jobs = jobs_of(CELLS, ["cpu"], 1, 4)
    assert [len(job) for job in jobs] == [4, 2]
    assert [cell.key for job in jobs for cell in job] == [cell.key for cell in CELLS]


def test_every_worker_has_a_job():
    assert sizes(CELLS, workers=2) == [3, 3]
    assert sizes(CELLS, workers=6) == [1] * 6


def test_cells_stay_alone_on_a_cpu_unless_asked_for():
    assert sizes(CELLS, pack=None) == [1] * 6
    assert sizes(CELLS, pack=1) == [1] * 6


@pytest.mark.parametrize(
    "levels",
    [
        {"engine": "dense"},
        {"loss": "l1"},
        {"optimiser": "adamw"},
        {"training_set": "fresh"},
        {"schedule": "cosine"},
        {"weights": "average"},
        {"architecture": "residual"},
        {"pooling": "softpool"},
        {"head": "linear"},
        {"coordinates": "learned"},
        {"placement": "every"},
        {"pooling": "nonsense"},
    ],
    ids=str,
)
def test_what_packs_do_not_know_trains_alone(levels):
    cells = [with_levels(cell, **levels) for cell in CELLS]
    assert sizes([*cells, *CELLS]) == [1] * 6 + [4, 2]


@pytest.mark.parametrize(
    "levels", [{"width": 5}, {"batch_size": 16}, {"train_size": 64}, {"epochs": 3}], ids=str
)
def test_cells_of_other_shapes_do_not_mix(levels):
    other = [with_levels(cell, **levels) for cell in CELLS[:2]]
    jobs = jobs_of([*CELLS[:2], *other], ["cpu"], 1, 4)
    assert [len(job) for job in jobs] == [2, 2]


def test_encodings_of_one_size_share_a_pack():
    other = [with_levels(cell, coordinates="cartesian_unit") for cell in CELLS[:2]]
    assert sizes([*CELLS[:2], *other]) == [4]


def test_outcomes_of_a_pack_are_those_of_single_cells():
    cells = [*CELLS[:3], with_levels(CELLS[3], learning_rate=1e30)]
    epochs = []
    *outcomes, diverged = train_cells(cells, "cpu", epochs.append)
    for cell, outcome in zip(cells, outcomes, strict=False):
        assert outcome.engine == "pack"
        assert_same_outcome(outcome, train_cell(cell, "cpu", epochs.append))
    assert epochs[:2] == [1, 2]
    assert diverged.status == "diverged"
    assert "not finite in epoch" in diverged.message
    assert diverged.predictions == {}


def test_workers_report_the_cells_of_packs_one_by_one():
    events = list(run_cells(CELLS, device="cpu", workers=2, pack=3))
    finished = by_key(events)
    assert finished.keys() == {cell.key for cell in CELLS}
    assert_same_outcome(finished[CELLS[5].key], train_cell(CELLS[5], "cpu", lambda epoch: None))
    for cell in CELLS:
        progress = [e.epoch for e in events if isinstance(e, Progress) and e.cell == cell]
        assert progress == [0, 1, 2]


def test_a_pack_without_memory_is_split(monkeypatch):
    monkeypatch.setattr(
        workers_module, "_work", sick_workers.run_out_of_memory_with_more_than_one_cell
    )
    finished = by_key(run_cells(CELLS[:5], device="cpu", workers=1, pack=5))
    assert finished.keys() == {cell.key for cell in CELLS[:5]}
    assert {(o.status, o.message) for o in finished.values()} == {("ok", "1 cells")}


@pytest.mark.parametrize(
    ("error", "status"),
    [(RuntimeError("CUDA error: unspecified"), "error"), (torch.OutOfMemoryError("no"), "oom")],
)
def test_what_fails_in_a_pack_is_told_of_each_cell(monkeypatch, error, status):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(packs_module, "train_pack", fail)
    outcomes = train_cells(CELLS[:2], "cpu", lambda epoch: None)
    assert [outcome.status for outcome in outcomes] == [status] * 2
    assert str(error) in outcomes[1].message


def test_a_pack_over_its_time_ends_as_its_cells_do():
    cells = [with_levels(cell, epochs=100_000) for cell in CELLS[:2]]
    finished = by_key(run_cells(cells, device="cpu", workers=1, pack=2, timeout=2.0))
    assert [finished[cell.key].status for cell in cells] == ["timeout"] * 2
    assert "the limit is 2 s" in finished[cells[0].key].message


@pytest.mark.skipif(torch.cuda.is_available(), reason="a device that is not there")
def test_a_lost_device_leaves_its_cells_to_the_others():
    finished = by_key(run_cells(CELLS[:4], device="cuda:0,cpu", workers=2))
    assert {outcome.status for outcome in finished.values()} == {"ok"}
    assert {outcome.device for outcome in finished.values()} == {"cpu"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="a device that is not there")
def test_cells_of_the_last_device_end_as_errors_when_it_is_lost():
    finished = by_key(run_cells(CELLS[:2], device="cuda:0", workers=1))
    assert [outcome.status for outcome in finished.values()] == ["error"] * 2
    assert "cuda:0 cannot be used" in finished[CELLS[0].key].message


def test_options_of_packs_and_devices():
    assert Options(device="cpu", pack=3).resolved_device() == "cpu"
    with pytest.raises(ValueError, match="pack 0"):
        Options(pack=0)
    with pytest.raises(ValueError, match="different GPUs"):
        Options(device="cpu,cpu").resolved_device()


def test_tf32_is_part_of_the_key_and_of_cuda_alone():
    cells = [with_levels(cell, tf32=True) for cell in CELLS[:2]]
    assert cells[0].key != CELLS[0].key == with_levels(CELLS[0], tf32=False).key
    assert sizes([*CELLS[:2], *cells]) == [2, 2]
    alone, (in_a_pack, _) = train_cells(cells[:1], "cpu", print), train_cells(cells, "cpu", print)
    for outcome in (*alone, in_a_pack):
        assert outcome.status == "error"
        assert "cpu has no such format" in outcome.message


@pytest.mark.parametrize(("tf32", "precision"), [(False, "ieee"), (True, "tf32")])
def test_convolutions_and_products_round_only_when_asked_to(tf32, precision):
    set_precision(tf32=tf32, device=torch.device("cuda"))
    found = [
        torch.backends.cudnn.conv.fp32_precision,
        torch.backends.cuda.matmul.fp32_precision,
    ]
    set_precision(tf32=False, device=torch.device("cuda"))
    assert found == [precision] * 2


@pytest.mark.parametrize(("device", "made_current"), [("cpu", []), ("cuda:1", ["cuda:1"])])
def test_a_worker_makes_its_gpu_the_current_one(device, made_current, monkeypatch):
    found = []
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: found.append(str(device)))
    prepare(CELLS[0].protocol, torch.device(device))
    assert found == made_current
