"""Cells in packs: who shares one, the same outcomes as alone, and what goes wrong."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.cuda._utils import _get_device_index
from typer.testing import CliRunner

from ablations.cli.main import app
from ablations.cli.run import parse_pack
from ablations.driver import Options
from ablations.execution import jobs as jobs_module
from ablations.execution import pack_seeds
from ablations.execution import workers as workers_module
from ablations.execution.cells import prepare, train_cell
from ablations.execution.events import Apart, Finished, Progress
from ablations.execution.jobs import ModuleShape, jobs_of, packed_form
from ablations.execution.packs import train_cells
from ablations.execution.workers import run_cells
from ablations.study.reader import parse_study
from linefit.engines import set_precision
from linefit.images import fresh_images
from linefit.packs import RecordingError, UnpackableError
from linefit.packs.shape import Shape
from linefit.packs.sizes import SHARE_OF_MEMORY
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


def test_jobs_keep_every_cell_once_and_those_of_a_seed_together():
    by_rate = sorted(CELLS, key=lambda cell: cell.protocol.learning_rate)
    jobs = jobs_of(by_rate, ["cpu"], 1, 4)
    assert [len(job) for job in jobs] == [4, 2]
    assert sorted(cell.key for job in jobs for cell in job) == sorted(c.key for c in CELLS)
    assert [{cell.seed for cell in job} for job in jobs] == [{0, 1}, {2}]
    for job in jobs:  # the optimiser is launched once for a rate
        rates = [cell.protocol.learning_rate for cell in job]
        assert rates == sorted(rates)


def test_every_worker_has_a_job():
    assert sizes(CELLS, workers=2) == [3, 3]
    assert sizes(CELLS, workers=6) == [1] * 6


def test_cells_stay_alone_on_a_cpu_unless_asked_for():
    assert sizes(CELLS, pack=None) == [1] * 6
    assert sizes(CELLS, pack=1) == [1] * 6


@pytest.mark.parametrize(
    "levels",
    [{"weights": "best"}, {"weights": "average"}, {"pooling": "nonsense"}, {"head": "nonsense"}],
    ids=str,
)
def test_what_packs_do_not_know_trains_alone(levels):
    cells = [with_levels(cell, **levels) for cell in CELLS]
    assert sizes([*cells, *CELLS]) == [1] * 6 + [4, 2]


MODULES = [
    {"architecture": "strided", "schedule": "cosine"},
    {"pooling": "softpool"},
    {"engine": "dense"},
    {"loss": "l1", "optimiser": "adamw", "weight_decay": 0.1},
    {"head": "categorical", "loss": "cross_entropy"},
    {"pooling": "softpool", "training_set": "fresh"},
    {"architecture": "strided", "training_set": "per_seed"},
]


@pytest.mark.parametrize("levels", MODULES, ids=str)
def test_other_nets_share_packs_of_modules(levels):
    cells = [with_levels(cell, **levels) for cell in CELLS]
    assert isinstance(packed_form(cells[0]), ModuleShape)
    jobs = jobs_of([*cells, *CELLS], ["cpu"], 1, 4)
    assert [len(job) for job in jobs] == [4, 2, 4, 2]
    outcomes = train_cells(jobs[0][:2], "cpu", lambda epoch: None)
    for cell, outcome in zip(jobs[0], outcomes, strict=False):
        expected = train_cell(cell, "cpu", lambda epoch: None)
        assert outcome.engine in ("delta pack", "dense pack")
        assert_same_outcome(replace(outcome, message=""), expected)


def test_images_of_each_seed_are_drawn_once_and_are_those_of_single_cells(monkeypatch):
    """Of four cells two have one seed; two epochs, with a rate that rises and falls."""
    drawn = []

    def counted(size, stream, *, first):
        drawn.append((stream, first))
        return fresh_images(size, stream, first=first)

    monkeypatch.setattr(pack_seeds, "fresh_images", counted)
    for training_set, epochs in (("per_seed", [0]), ("fresh", [0, 0, 96])):
        settings = {"training_set": training_set, "schedule": "cosine", "warmup": 0.2}
        cells = [with_levels(cell, **settings) for cell in CELLS[:4]]
        assert isinstance(packed_form(cells[0]), Shape)
        drawn.clear()
        outcomes = train_cells(cells, "cpu", lambda epoch: None)
        assert sorted(drawn) == sorted(
            (seed, n) for seed in {c.seed for c in cells} for n in epochs
        )
        for cell, outcome in zip(cells, outcomes, strict=True):
            assert outcome.engine == "pack"
            assert_same_outcome(outcome, train_cell(cell, "cpu", lambda epoch: None))


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
    def fail(*arguments, **more):
        raise error

    monkeypatch.setattr(pack_seeds, "train_pack", fail)
    outcomes = train_cells(CELLS[:2], "cpu", lambda epoch: None)
    assert [outcome.status for outcome in outcomes] == [status] * 2
    assert str(error) in outcomes[1].message


def test_a_pack_over_its_time_ends_as_its_cells_do():
    cells = [with_levels(cell, epochs=100_000) for cell in CELLS[:2]]
    finished = by_key(run_cells(cells, device="cpu", workers=1, pack=2, timeout=2.0))
    assert [finished[cell.key].status for cell in cells] == ["timeout"] * 2
    assert "the limit is 2 s" in finished[cells[0].key].message


def test_a_device_lost_in_training_costs_the_cells_in_flight(monkeypatch, tmp_path):
    """The first of two devices fails under its first pack and is gone; the other one trains all that is left."""
    monkeypatch.setenv("LOST_DEVICE", str(tmp_path / "lost"))
    monkeypatch.setattr(workers_module, "_work", sick_workers.lose_the_first_device_in_training)
    events = list(run_cells(CELLS, device="first,second", workers=2, pack=2))
    finished = by_key(events)
    assert finished.keys() == {cell.key for cell in CELLS}
    lost = [outcome for outcome in finished.values() if outcome.status == "error"]
    assert len(lost) == 2
    assert all("unspecified launch failure" in outcome.message for outcome in lost)
    others = [outcome for outcome in finished.values() if outcome.status != "error"]
    assert {(outcome.status, outcome.device) for outcome in others} == {("ok", "second")}


NET = """
from torch import nn
from torch.nn import functional as F

class Dropped(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.linear = nn.Linear(dim * dim, 2)

    def forward(self, images):
        return F.dropout(self.linear(images.flatten(1)), 0.5, self.training)
"""


def test_a_net_that_cannot_be_recorded_is_trained_alone_with_a_word(tmp_path):
    (tmp_path / "nets.py").write_text(NET)
    levels = {"coordinates": "none", "pooling": "none", "width": 1}
    own = {"architecture": f"{tmp_path}/nets.py:Dropped", **levels}
    cells = [with_levels(cell, **own) for cell in CELLS[:3]]
    assert sizes(cells) == [3]
    finished = by_key(run_cells([*cells, CELLS[3]], device="cpu", workers=1, pack=3))
    for cell in cells:
        outcome, expected = finished[cell.key], train_cell(cell, "cpu", lambda epoch: None)
        assert outcome.message.startswith("trains alone: a step draws random numbers")
        np.testing.assert_array_equal(outcome.val_mse, expected.val_mse)
    assert finished[CELLS[3].key].message == ""


def test_a_failed_recording_ends_the_worker_and_trains_cells_alone(monkeypatch):
    monkeypatch.setattr(workers_module, "_work", sick_workers.fail_to_record_more_than_one_cell)
    finished = by_key(run_cells(CELLS[:3], device="cpu", workers=1, pack=3))
    assert {(o.status, o.message) for o in finished.values()} == {
        ("ok", "trains alone: no; another process")
    }


@pytest.mark.parametrize(
    ("error", "spoilt"), [(UnpackableError("no"), False), (RecordingError("no"), True)]
)
def test_cells_that_cannot_train_together_are_told_apart(monkeypatch, error, spoilt):
    def fail(*arguments, **more):
        raise error

    monkeypatch.setattr(pack_seeds, "train_pack", fail)
    apart = train_cells(CELLS[:2], "cpu", lambda epoch: None)
    assert isinstance(apart, Apart)
    assert apart.spoilt == spoilt
    assert apart.reason.endswith("no")


@pytest.mark.parametrize(("workers", "expected"), [(1, 12), (2, 6), (4, 3)])
def test_workers_that_share_a_gpu_share_its_memory(monkeypatch, workers, expected):
    """48 cells, of which 12 fit."""
    cells = [replace(CELLS[0], seed=seed) for seed in range(48)]
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=1200)
    )
    monkeypatch.setattr(jobs_module, "cell_bytes", lambda *arguments: 100 * SHARE_OF_MEMORY)
    assert len(jobs_of(cells, ["cuda"], workers, None)[0]) == expected


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


@pytest.mark.parametrize(("text", "pack"), [("auto", None), ("1", 1), ("16", 16)])
def test_pack_sizes_on_the_command_line(text, pack):
    assert parse_pack(text) == pack


@pytest.mark.parametrize("text", ["0", "-1", "all", "1.5", ""])
def test_other_pack_sizes_are_refused(text):
    with pytest.raises(ValueError, match="is not auto or a number of cells from 1"):
        parse_pack(text)


@pytest.mark.parametrize(
    ("pack", "engines"), [("auto", {"fused", "delta"}), ("1", {"fused", "delta"}), ("2", {"pack"})]
)
def test_the_command_line_packs_as_it_is_told(tmp_path, pack, engines):
    """On a CPU `auto` packs nothing. Whichever of its engines trains a cell alone, it is one of them."""
    study = tmp_path / "tiny.toml"
    study.write_text(STUDY.replace("seeds = 3", "seeds = 1"))
    options = ["--pack", pack, "--device", "cpu", "--workers", "1", "--results", str(tmp_path)]
    done = CliRunner().invoke(app, ["run", str(study), *options])
    assert done.exit_code == 0, done.output
    cells = pd.read_csv(tmp_path / "tiny" / "cells.csv")
    assert len(cells) == 2
    assert set(cells["engine_used"]) <= engines


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


@pytest.mark.parametrize(
    ("device", "made_current"), [("cpu", []), ("cuda", []), ("cuda:1", ["cuda:1"])]
)
def test_a_worker_makes_its_gpu_the_current_one(device, made_current, monkeypatch):
    """What torch takes for one: a device with its number."""
    found = []

    def set_device(device):
        _get_device_index(device)  # raises for a device without
        found.append(str(device))

    monkeypatch.setattr(torch.cuda, "set_device", set_device)
    prepare(CELLS[0].protocol, torch.device(device))
    assert found == made_current
