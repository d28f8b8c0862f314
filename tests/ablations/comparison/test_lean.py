"""Exports without the predictions of large splits: what they say, and that it is what the predictions say."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ablations.comparison.errors import error_table
from ablations.comparison.lean import lean
from ablations.comparison.study_comparison import compare_study
from ablations.notebook import Results
from ablations.records import exports
from ablations.records.checking import problems
from ablations.records.database import StoreError, database_path
from ablations.records.folder import PREDICTIONS_FILE
from ablations.records.loading import load_results
from ablations.records.results import megabytes
from ablations.records.store import Store
from ablations.records.yardsticks import store_yardsticks
from ablations.report.outputs import compare_all, write_exports, write_outputs
from ablations.study.outcome import Outcome
from ablations.study.reader import parse_study
from linefit.images import lab_split
from tests.ablations.tiny import TEXT

LARGE = "test_large_20000"
STUDY = parse_study(
    TEXT.replace('["test"]', f'["test", "{LARGE}"]').replace("seeds = 3", "seeds = 5"),
    name="tiny",
    source="tiny.toml",
)
BETWEEN = 0.1  # MB: more than the predictions on test, less than those on the large split


def outcome(cell, truths):
    rng = np.random.default_rng([cell.seed, cell.variant.name == "none"])
    spread = rng.lognormal(0, 0.3)
    predictions = {
        split: (truth + rng.normal(0, spread, truth.shape)).astype(np.float32)
        for split, truth in truths.items()
    }
    losses = {"train_loss": rng.random(2), "val_mse": rng.random(2)}
    return Outcome("ok", parameters=300, steps=6, engine="delta", predictions=predictions, **losses)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """A folder of results with a database and no exports; one cell diverged."""
    folder = tmp_path_factory.mktemp("results")
    truths = {split: lab_split(split).params for split in STUDY.splits}
    with Store.write(database_path(folder, "tiny")) as store:
        for i, cell in enumerate(STUDY.cells()):
            diverged = Outcome("diverged", train_loss=np.full(1, np.nan), val_mse=np.ones(1))
            store.put(cell, diverged if i == 3 else outcome(cell, truths), {"git_commit": "abc"})
        store_yardsticks(STUDY, store)
    (folder / "tiny" / "study.toml").write_text(STUDY.text)
    return folder


@pytest.fixture(scope="module")
def full(database):
    return load_results("tiny", database)


@pytest.fixture(scope="module")
def made(full):
    return compare_all(full)


@pytest.fixture(scope="module")
def clone(full, tmp_path_factory):
    """What a clone holds: all outputs, no database."""
    folder = tmp_path_factory.mktemp("clone")
    write_outputs(full, folder / "tiny", "the command", max_predictions=BETWEEN)
    return folder


def test_largest_splits_go_first_and_only_where_predictions_take_too_much_room(full, made):
    small, large = (megabytes(9, n) for n in full.sizes.values())
    assert small < BETWEEN < large
    for limit, kept in (
        (small + large, ["test", LARGE]),
        (small + large - 1e-6, ["test"]),
        (small, ["test"]),
        (small - 1e-6, []),
    ):
        found = lean(full, limit, made)
        assert list(found.splits) == kept
        assert set(found.left_out) == {"test", LARGE} - set(kept)
        assert found.sizes == full.sizes


@pytest.mark.parametrize("format", ["table", "csv", "json", "markdown", "latex"])
@pytest.mark.parametrize("split", [None, "test", LARGE])
def test_a_clone_shows_what_the_database_shows(made, clone, split, format):
    left = load_results("tiny", clone)
    there, here = made[split or LARGE], compare_study(left, split=split)
    assert bool(here.note) == (split != "test")
    assert here.to_text(format) == replace(there, note=here.note).to_text(format)
    assert here.methods == there.methods
    assert [here.sentence(v) for v in here.table["variant"]] == [
        there.sentence(v) for v in there.table["variant"]
    ]
    assert split == "test" or format in ("csv", "json") or here.note in here.to_text(format)


def test_files_say_what_is_missing_how_large_it_is_and_how_it_is_made(clone):
    folder = clone / "tiny"
    note = (
        "The predictions of 9 nets on the 20,000 images of test_large_20000 (1.44 MB) are not among the exports; "
        "make them again with: "
    )
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["left_out"] == {LARGE: f"{note}`python -m ablations.run tiny.toml`"}
    assert note in (folder / "summary.md").read_text()
    assert note in (folder / "report.html").read_text()
    splits = set(pd.read_parquet(folder / PREDICTIONS_FILE)["split"])
    assert splits == set(pd.read_parquet(folder / "images.parquet")["split"]) == {"test"}


def test_errors_of_cells_are_those_of_their_predictions(full, clone):
    errors = exports.read_table(clone / "tiny" / "errors.csv")
    pd.testing.assert_frame_equal(errors.astype({"seed": "Int64"}), error_table(full))
    variants = errors[errors["kind"] == "variant"]
    assert len(variants) == 2 * 2 * 5
    for row in variants[variants["status"] == "ok"].to_dict("records"):
        split = full.splits[row["split"]]
        (variant,) = (v for v in split.variants if v.name == row["estimator"])
        off = variant.predictions[list(variant.seeds).index(row["seed"])].astype(float)
        squares = (off - split.params.astype(float)) ** 2
        floor = (off - split.yardsticks["posterior_mean"]) ** 2
        assert row["mse"] == pytest.approx(squares.mean())
        assert row["slope_mse"] == pytest.approx(squares[:, 0].mean())
        assert row["median_squared_error"] == pytest.approx(np.median(squares.mean(axis=1)))
        assert row["regret"] == pytest.approx(floor.mean())
    (failed,) = variants[(variants["status"] != "ok") & (variants["split"] == LARGE)].to_dict(
        "records"
    )
    assert np.isnan(failed["mse"])
    assert failed["mse_score"] > 50  # the constant predictor's


def test_the_mean_over_cells_is_the_tables(clone):
    errors = exports.read_table(clone / "tiny" / "errors.csv")
    for split in STUDY.splits:
        table = exports.read_table(clone / "tiny" / f"compare_{split}.csv").set_index("variant")
        means = errors[errors["split"] == split].groupby("estimator").mean(numeric_only=True)
        for column in ("mse", "slope_mse", "intercept_mse"):
            expected = table[column].reindex(means.index)
            np.testing.assert_allclose(means[f"{column}_score"], expected, rtol=1e-12)


def test_another_comparison_is_refused_with_the_command_that_makes_it_possible(clone):
    left = load_results("tiny", clone)
    command = r"make them again with: `python -m ablations\.run tiny\.toml`"
    for other in ({"metric": "slope"}, {"against": "none"}, {"margin": 2.0}, {"confidence": 0.9}):
        with pytest.raises(ValueError, match=f"metric mse, against least_squares.*{command}"):
            compare_study(left, **other)
    with pytest.raises(ValueError, match="against 'nobody' is not one of"):
        compare_study(left, against="nobody")
    comparison = compare_study(left)
    for needs_all in (comparison.pairs, lambda: comparison.fail_unless("variant<=2*least_squares")):
        with pytest.raises(ValueError, match=command):
            needs_all()
    with pytest.raises(ValueError, match=command):
        left.split(LARGE)
    assert compare_study(left, split="test", against="none").against == "none"


def test_results_of_a_clone_are_frames_and_are_written_again(clone, full, tmp_path):
    left = Results.of(load_results("tiny", clone))
    pd.testing.assert_frame_equal(left.to_frame(), Results.of(full).to_frame())
    assert f"{LARGE} (20,000 images)" in repr(left)
    before = {path: path.read_bytes() for path in (clone / "tiny").rglob("*") if path.is_file()}
    write_outputs(left, clone / "tiny", "the command")
    after = {path: path.read_bytes() for path in before}
    page = clone / "tiny" / "report.html"
    # Nets against one another take both nets' errors image by image, which are left out.
    pairs = rb'<div class="scroll" [^>]*"Variants against one another on test_large.*?</div>\n\n'
    assert re.subn(pairs, b"", before.pop(page), flags=re.S) == (after.pop(page), 1)
    assert after == before
    write_exports(left, tmp_path / "tiny")
    (tmp_path / "tiny" / "study.toml").write_text(STUDY.text)
    again = load_results("tiny", tmp_path)
    assert compare_study(again).to_text() == compare_study(left).to_text()


def test_nothing_at_all_may_be_left(full, made, tmp_path):
    write_exports(full, tmp_path / "tiny", 0, made)
    left = load_results("tiny", tmp_path)
    assert (list(left.splits), left.sizes) == ([], full.sizes)
    assert compare_study(left, split="test").n_images == 500
    assert len(pd.read_parquet(tmp_path / "tiny" / PREDICTIONS_FILE)) == 0
    write_outputs(left, tmp_path / "tiny", "the command")
    assert "learning_curves" in (tmp_path / "tiny" / "report.html").read_text()


def test_predictions_that_are_nowhere_else_are_kept(full, made, database, tmp_path):
    write_exports(full, tmp_path / "tiny")
    before = (tmp_path / "tiny" / PREDICTIONS_FILE).read_bytes()
    with pytest.raises(StoreError, match=f"predictions on {LARGE} are nowhere else"):
        write_exports(load_results("tiny", tmp_path), tmp_path / "tiny", BETWEEN, made)
    assert (tmp_path / "tiny" / PREDICTIONS_FILE).read_bytes() == before
    assert not (tmp_path / "tiny" / exports.LEFT_OUT_FILE).exists()
    # beside the database they are safe, and come back from it
    for limit, splits in ((BETWEEN, ["test"]), (1e9, ["test", LARGE])):
        write_exports(full, database / "tiny", limit, made)
        assert list(exports.read(STUDY, database / "tiny").splits) == splits


def test_check_holds_kept_errors_against_the_database(full, made, database):
    write_exports(full, database / "tiny", BETWEEN, made)
    assert list(problems("tiny", database)) == []
    path = database / "tiny" / exports.ERRORS_FILE
    errors = exports.read_table(path)
    one = (errors["split"] == LARGE) & (errors["estimator"] == "none") & (errors["seed"] == 2)
    errors.loc[one, "mse"] *= 1.001
    errors.to_csv(path, index=False)
    (problem,) = problems("tiny", database)
    assert problem.startswith(f"none seed 2: its exported MSE on {LARGE} is not that of the stored")
    write_exports(full, database / "tiny")
