"""What is exported can be read back, and says the same as the database."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ablations.notebook import Results
from ablations.records import exports
from ablations.records.database import database_path
from ablations.records.folder import PREDICTIONS_FILE
from ablations.records.loading import load_results, merge_provenance, results_from_store
from ablations.records.store import Store
from ablations.study.outcome import Outcome
from ablations.study.reader import parse_study
from ablations.study.study import FACTORS, StudyError
from tests.ablations.synthetic import synthetic_results
from tests.ablations.tiny import TEXT

STUDY = parse_study(TEXT, name="tiny", source="tiny.toml")


def outcome(seed):
    rng = np.random.default_rng(seed)
    return Outcome(
        "ok",
        parameters=300,
        steps=6,
        seconds=1.25,
        engine="delta",
        peak_memory_mib=512.5,
        train_loss=rng.random(2),
        val_mse=rng.random(2),
        predictions={"test": rng.normal(size=(500, 2)).astype(np.float32)},
    )


@pytest.fixture
def results_dir(tmp_path):
    """A database with a diverged cell, a cell that is missing, and a message that CSV has to quote."""
    with Store.write(database_path(tmp_path, "tiny")) as store:
        for i, cell in enumerate(STUDY.cells()[:-1]):
            store.put(cell, outcome(i), {"git_commit": "abc", "git_dirty": False})
        diverged = Outcome(
            "diverged",
            'loss, "nan"\nin epoch 1',
            train_loss=np.array([np.nan]),
            val_mse=np.array([1.0]),
        )
        store.put(STUDY.cells()[1], diverged, {"git_commit": "def", "git_dirty": False})
        results = results_from_store(STUDY, store)
    exports.write(results, tmp_path / "tiny")
    return tmp_path


def assert_same(one, other):
    assert (one.study, one.provenance) == (other.study, other.provenance)
    pd.testing.assert_frame_equal(one.cells, other.cells)
    pd.testing.assert_frame_equal(one.curves, other.curves)
    assert one.splits.keys() == other.splits.keys()
    for name, split in one.splits.items():
        np.testing.assert_array_equal(split.params, other.splits[name].params)
        for mine, theirs in zip(split.variants, other.splits[name].variants, strict=True):
            assert (mine.name, mine.levels, mine.status) == (
                theirs.name,
                theirs.levels,
                theirs.status,
            )
            np.testing.assert_array_equal(mine.seeds, theirs.seeds)
            np.testing.assert_array_equal(mine.predictions, theirs.predictions)
        assert split.yardsticks.keys() == other.splits[name].yardsticks.keys()
        for yardstick, predictions in split.yardsticks.items():
            np.testing.assert_array_equal(predictions, other.splits[name].yardsticks[yardstick])


def test_exports_without_the_database_are_the_same_results(results_dir):
    from_database = load_results("tiny", results_dir)
    database_path(results_dir, "tiny").unlink()
    assert_same(load_results("tiny", results_dir), from_database)


def test_failed_cells_are_rows_of_nan_and_missing_cells_are_not_there(results_dir):
    results = load_results("tiny", results_dir)
    plain, coordinates = results.splits["test"].variants
    assert plain.status == ("ok", "ok", "ok")
    assert coordinates.status == ("diverged", "ok")
    assert np.isnan(coordinates.predictions[0]).all()
    assert np.isfinite(coordinates.predictions[1]).all()
    frame = Results.of(results).to_frame()
    assert frame["mse"].isna().tolist() == [False] * 3 + [True, False]


def test_the_tidy_rows_hold_what_the_arrays_hold(results_dir):
    results = load_results("tiny", results_dir)
    frame = pd.read_parquet(results_dir / "tiny" / PREDICTIONS_FILE)
    assert len(frame) == 500 * (4 + 3)
    rows = frame[(frame["estimator"] == "none") & (frame["seed"] == 2)].sort_values("image")
    np.testing.assert_array_equal(
        rows["slope"], results.splits["test"].variants[0].predictions[2, :, 0]
    )
    assert set(frame.loc[frame["kind"] == "yardstick", "estimator"]) == {
        "constant",
        "least_squares",
        "posterior_mean",
    }


def test_made_up_results_have_the_columns_and_types_of_real_ones(results_dir):
    real = load_results("tiny", results_dir)
    made_up = synthetic_results(2, 3, 20, failures={(0, 1): "oom"})
    pd.testing.assert_series_equal(
        real.cells.dtypes.drop(list(FACTORS)), made_up.cells.dtypes.drop(list(FACTORS))
    )
    pd.testing.assert_series_equal(real.curves.dtypes, made_up.curves.dtypes)


def test_tables_of_another_form_are_refused(results_dir):
    real = load_results("tiny", results_dir)
    with pytest.raises(ValueError, match=r"cells: columns \['seed'\] are missing"):
        replace(real, cells=real.cells.drop(columns="seed"))
    with pytest.raises(ValueError, match="curves: column 'epoch' has type float64, not int64"):
        replace(real, curves=real.curves.astype({"epoch": float}))


def test_provenances_that_differ_are_both_told(results_dir):
    assert load_results("tiny", results_dir).provenance == {
        "git_commit": ["abc", "def"],
        "git_dirty": False,
    }
    assert merge_provenance([]) == {}


def test_results_that_do_not_exist_are_told_with_the_command_that_makes_them(tmp_path):
    with pytest.raises(StudyError, match=r"python -m ablations\.run quick"):
        load_results("quick", tmp_path)
    with pytest.raises(StudyError, match="did you mean 'lab5'"):
        load_results("lab", tmp_path)
