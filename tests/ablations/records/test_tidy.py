"""Tables of errors from anywhere: what is right comes through whole, what is wrong is told all at once."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablations.records.tidy import Columns, error_table, parse_columns, read_table
from ablations.study.study import StudyError


def tidy(n_seeds=3, n_items=6, seed=0):
    """Two variants with seeds and a baseline, rows shuffled."""
    rng = np.random.default_rng(seed)
    rows = [
        (variant, k, item, rng.exponential())
        for variant in ("plain", "deep")
        for k in range(n_seeds)
        for item in range(n_items)
    ]
    rows += [("simple", None, item, rng.exponential()) for item in range(n_items)]
    frame = pd.DataFrame(rows, columns=["variant", "seed", "item", "error"])
    frame["depth"] = frame["variant"].map({"plain": 1, "deep": 5, "simple": 0})
    return frame.sample(frac=1, random_state=seed, ignore_index=True)


@given(st.integers(1, 4), st.integers(2, 7), st.integers(0, 99))
def test_every_error_is_where_it_belongs(n_seeds, n_items, seed):
    frame = tidy(n_seeds, n_items, seed)
    table = error_table(frame, factors=["depth"])
    assert set(table.variants) == {"plain", "deep"}
    assert set(table.baselines) == {"simple"}
    assert table.n_items == n_items
    assert table.levels["depth"].to_dict() == {"plain": 1, "deep": 5}
    for row in frame.itertuples():
        if row.variant == "simple":
            assert table.baselines["simple"][row.item] == row.error
        else:
            assert table.variants[row.variant][int(row.seed), row.item] == row.error


def test_columns_may_have_other_names_and_seeds_may_be_missing():
    frame = tidy().rename(columns={"variant": "model", "item": "image", "error": "loss"})
    named = parse_columns("variant=model, item=image, error=loss")
    assert named == Columns("model", "seed", "image", "loss")
    assert error_table(frame, named).variants.keys() == {"plain", "deep"}
    alone = tidy()[lambda rows: rows["variant"] == "simple"].drop(columns="seed")
    table = error_table(alone)
    assert (list(table.variants), list(table.baselines)) == ([], ["simple"])


def test_a_run_without_errors_has_failed():
    frame = tidy()
    frame.loc[(frame["variant"] == "deep") & (frame["seed"] == 1), "error"] = np.nan
    assert np.isnan(error_table(frame).variants["deep"]).all(axis=1).tolist() == [
        False,
        True,
        False,
    ]


def test_runs_on_other_items_are_refused_or_compared_on_those_that_all_hold():
    frame = tidy()
    frame = frame[~((frame["variant"] == "deep") & (frame["seed"] == 2) & (frame["item"] > 3))]
    with pytest.raises(
        StudyError, match=r"all 6 items: deep, seed 2(\.0)?, holds 4, and 1 of 7 runs lack some"
    ):
        error_table(frame)
    assert error_table(frame, common_items=True).n_items == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="item"), "item: 'item' is not legal; expected a column of the"),
        (lambda f: f.assign(error=-1.0), "'-1.0' is not legal; expected finite numbers"),
        (lambda f: f.assign(error="x"), "'x' is not legal"),
        (lambda f: f.assign(error=np.inf), "'inf' is not legal"),
        (lambda f: pd.concat([f, f.iloc[:2]]), "each variant, seed and item once"),
        (lambda f: f.assign(depth=range(len(f))), "column depth: expected one level a variant"),
        (lambda f: f.assign(seed=f["seed"].where(f["item"] > 2)), "seeds in all rows of deep"),
        (
            lambda f: f.assign(error=f["error"].where(f["item"] > 2)),
            "errors of all items, or of none",
        ),
        (lambda f: f[f["item"] == 0], "at least 2 items"),
        (lambda f: f[:0], "a table with rows"),
    ],
)
def test_mistakes_are_named(change, message):
    with pytest.raises(StudyError, match=message):
        error_table(change(tidy()), factors=["depth"], source="runs.csv")


def test_all_mistakes_are_told_at_once():
    with pytest.raises(StudyError) as caught:
        error_table(tidy(), Columns("model", "run", "item", "loss"), factors=["width"])
    assert [p.key for p in caught.value.problems] == ["variant", "error", "seed", "factor width"]


@pytest.mark.parametrize("text", ["variant", "model=variant", "item=a,item=b", "=x"])
def test_columns_that_are_not_legal(text):
    with pytest.raises(StudyError, match="NAME=COLUMN with each of variant, seed, item, error"):
        parse_columns(text)


def test_files(tmp_path):
    frame = tidy()
    frame.to_csv(tmp_path / "runs.csv", index=False)
    frame.to_parquet(tmp_path / "runs.parquet", index=False)
    one, other = (error_table(read_table(tmp_path / f"runs.{kind}")) for kind in ("csv", "parquet"))
    for name, errors in one.variants.items():
        np.testing.assert_allclose(errors, other.variants[name])
    (tmp_path / "runs.xlsx").touch()
    with pytest.raises(ValueError, match=r"is not one of \*\.csv, \*\.parquet"):
        read_table(tmp_path / "runs.xlsx")
    (tmp_path / "bad.parquet").write_text("no parquet")
    with pytest.raises(ValueError, match=r"bad\.parquet: cannot be read"):
        read_table(tmp_path / "bad.parquet")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(ValueError, match=r"empty\.csv: cannot be read"):
        read_table(tmp_path / "empty.csv")
