"""The sample of a grid is extrapolated as it says, and a failed cell is no sample."""

import json

import pytest

from ablations.execution.events import Finished, Progress
from ablations.study.outcome import Outcome
from benchmarks import grid_sample


def trained(cells, *, status="ok", **_):
    for cell in cells:
        yield Progress(cell, 1)
        yield Finished(cell, Outcome(status, "too hot", seconds=0.5, engine="fused"))


def test_a_grid_takes_as_many_times_the_sample_as_it_has_more_cells():
    found = {"wall": 40.0, "cells": [{"training": 1.5}] * 50}
    told = grid_sample.summary(found, workers=2)
    assert told["minutes_for_1000_cells"] == pytest.approx(40 * 20 / 60)
    assert told["seconds_a_cell_and_worker"] == pytest.approx(1.6)
    assert told["not_training"] == pytest.approx(1 - 75 / 80)


def test_every_cell_is_in_the_file(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(grid_sample, "run_cells", trained)
    grid_sample.main(["--seeds", "2", "--epochs", "3", "--json", str(tmp_path / "new" / "f.json")])
    report = json.loads((tmp_path / "new" / "f.json").read_text())
    assert {(row["variant"], row["seed"]) for row in report["cells"]} == {
        (cell.variant.name, cell.seed) for cell in grid_sample.sample(2, 3, 48).cells()
    }
    assert len(report["cells"]) == report["summary"]["cells"] == 20
    assert "| 20 |" in capsys.readouterr().out


def test_a_failed_cell_ends_it(monkeypatch):
    monkeypatch.setattr(grid_sample, "run_cells", lambda c, **k: trained(c, status="error", **k))
    with pytest.raises(RuntimeError, match="too hot"):
        grid_sample.main([])


def test_options_that_mean_nothing_are_refused(capsys):
    with pytest.raises(SystemExit):
        grid_sample.main(["--workers", "0"])
    assert "--workers 0" in capsys.readouterr().err
