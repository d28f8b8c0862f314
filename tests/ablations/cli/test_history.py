"""`history` tells the runs of a study and what the last one moved; `list` and `compare` point to it."""

import json
from io import StringIO

import numpy as np
import pandas as pd
import pytest

from ablations.records.database import database_path
from ablations.records.store import Record, Store
from ablations.study.outcome import Outcome
from ablations.study.reader import load_study
from linefit.splits import evaluation_images
from tests.ablations.cli.test_main import invoke
from tests.ablations.tiny import TEXT, write_tiny

RUNS = (("2026-01-01 10:00:00", "a" * 40, range(4)), ("2026-02-01 10:00:00", "b" * 40, range(4, 8)))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two made-up runs a month apart: four seeds of both variants, then four more."""
    folder = tmp_path_factory.mktemp("history")
    study = load_study(write_tiny(folder, TEXT.replace("seeds = 3", "seeds = 8")))
    (folder / "results" / "tiny").mkdir(parents=True)
    (folder / "results" / "tiny" / "study.toml").write_text(study.text)
    truth, rng = evaluation_images("test").params, np.random.default_rng(0)
    with Store.write(database_path(folder / "results", "tiny")) as store:
        for finished, commit, seeds in RUNS:
            for cell in study.cells(seeds):
                size = rng.lognormal(0, 0.1)
                noise = size * rng.standard_normal(truth.shape)
                outcome = Outcome(
                    "ok",
                    parameters=9,
                    steps=6,
                    seconds=30.0,
                    engine="delta",
                    train_loss=np.ones(2),
                    val_mse=np.ones(2),
                    predictions={"test": (truth + noise).astype(np.float32)},
                )
                facts = {"git_commit": commit, "git_dirty": False, "cpu": "a cpu", "cores": 2}
                record = Record(cell.key, cell.configuration, outcome, facts, finished)
                store.put_record(record)
    return folder / "results"


def history(results, *arguments):
    return invoke("history", "tiny", "--results", results, *arguments)


def test_runs_are_told_with_commit_seeds_and_time(results):
    done = history(results)
    assert done.exit_code == 0, done.output
    first, second = done.stdout.splitlines()[1:3]
    assert "2026-01-01 10:00  aaaaaaaaaaaa" in first
    assert "8      2, 2 new" not in first  # all of the first run's variants are new
    assert "0-3" in first
    assert "4-7" in second
    assert "a cpu, 2 cores" in second
    assert "The last run added 8 cells of 2 variants, 0 of them new" in done.stdout


def test_the_numbers_are_the_same_in_every_format(results):
    document = json.loads(history(results, "--format", "json").stdout)
    frame = pd.read_csv(StringIO(history(results, "--format", "csv").stdout))
    assert [run["cells"] for run in document["runs"]] == list(frame["cells"]) == [8, 8]
    assert list(frame["wall_seconds"]) == [240, 240]
    assert list(frame["new_variants"]) == [2, 0]
    change = pd.read_csv(StringIO(history(results, "--since-last", "--format", "csv").stdout))
    expected = pd.DataFrame(document["since_last"]["table"])
    pd.testing.assert_frame_equal(change, expected)
    assert list(change["seeds_before"]) == [4, 4]
    assert change["p"].between(0, 1).all()
    assert "| run |" in history(results, "--format", "markdown").stdout


def test_list_counts_runs_and_compare_points_to_them(results):
    rows = json.loads(invoke("list", "--format", "json", "--results", results).stdout)
    assert {row["study"]: row["runs"] for row in rows}["tiny"] == 2
    compared = invoke("compare", "tiny", "--results", results, "--split", "test")
    assert compared.exit_code == 0, compared.output
    assert "What the last of 2 runs moved: python -m ablations history tiny" in compared.stderr


def test_shipped_results_are_one_run(tmp_path):
    done = invoke("history", "quick")
    assert done.exit_code == 0, done.output
    assert "Since the last run" not in done.stdout
    assert invoke("history", "quick", "--since-last").exit_code == 2
    nothing = invoke("history", "quick", "--results", tmp_path)
    assert nothing.exit_code == 2
    assert "nothing of it has been trained" in nothing.stderr
