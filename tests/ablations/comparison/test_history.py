"""What a run moved is what two comparisons say, and its added seeds are tested as independent ones on shared images."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ablations.comparison.history import moved
from ablations.comparison.metrics import variant_errors
from ablations.comparison.study_comparison import compare_study
from ablations.statistics import adjust, compare_estimators
from tests.ablations.synthetic import synthetic_results

K = 6  # seeds before


@pytest.fixture(scope="module")
def results():
    """Four variants of twelve seeds: the last run added half of the first two's, and all of the fourth's."""
    return synthetic_results(4, 2 * K, 80, epochs=1)


@pytest.fixture(scope="module")
def added(results):
    names = [variant.name for variant in results.study.variants]
    cells = results.cells
    late = cells["variant"].isin(names[:2]) & (cells["seed"] >= K)
    return set(cells.loc[late | (cells["variant"] == names[3]), "key"])


def without(results, added):
    """The results without some cells, put together anew."""
    cells = results.cells[~results.cells["key"].isin(added)]
    kept = set(zip(cells["variant"], cells["seed"], strict=True))
    split = results.splits["test"]
    variants = []
    for variant in split.variants:
        at = [i for i, seed in enumerate(variant.seeds) if (variant.name, seed) in kept]
        if at:
            variants.append(
                replace(
                    variant,
                    seeds=variant.seeds[at],
                    status=tuple(variant.status[i] for i in at),
                    predictions=variant.predictions[at],
                )
            )
    return replace(results, cells=cells, splits={"test": replace(split, variants=tuple(variants))})


def test_both_states_are_the_study_s_own_comparison(results, added):
    found = moved(results, added)
    states = {"now": results, "before": without(results, added)}
    for state, of_then in states.items():
        table = compare_study(of_then).table.set_index("variant")
        for row in found.table.to_dict("records"):
            if row["variant"] not in table.index:
                assert row["seeds_before"] == 0
                assert np.isnan(row["before"])
                continue
            expected = table.loc[row["variant"]]
            assert row[f"seeds_{state}"] == expected["n_seeds"]
            assert row[f"verdict_{state}"] == expected["verdict"]
            limits = [row[state], row[f"{state}_low"], row[f"{state}_high"]]
            np.testing.assert_allclose(limits, expected[["mse", "low", "high"]].astype(float))


def test_only_what_the_run_trained_is_there_and_new_variants_are_not_tested(results, added):
    table = moved(results, added).table.set_index("variant")
    names = [variant.name for variant in results.study.variants]
    assert set(table.index) == {names[0], names[1], names[3]}
    assert table.loc[names[3], ["ratio", "p", "p_holm"]].isna().all()
    assert table["p"].notna().sum() == 2


def test_added_seeds_are_tested_against_the_earlier_ones(results, added):
    found = moved(results, added)
    split = results.splits["test"]
    table = found.table.set_index("variant")
    p = []
    for variant in split.variants[:2]:
        errors = variant_errors(split, variant)
        expected = compare_estimators(errors[K:], errors[:K])
        row = table.loc[variant.name]
        assert row["ratio"] == pytest.approx(errors[K:].mean() / errors[:K].mean())
        assert (row["ratio_low"], row["ratio_high"]) == pytest.approx(
            (expected.ratio.low, expected.ratio.high)
        )
        assert row["p"] == pytest.approx(expected.p)
        p.append(expected.p)
    names = [variant.name for variant in split.variants[:2]]
    np.testing.assert_allclose(table.loc[names, "p_holm"], adjust(p, "holm"))


def test_a_run_whose_code_errs_more_is_found_out(results, added):
    split = results.splits["test"]
    worse = split.variants[0]
    lines = worse.predictions.copy()
    lines[K:] = split.params + 8 * (lines[K:] - split.params)
    changed = replace(split, variants=(replace(worse, predictions=lines), *split.variants[1:]))
    found = moved(replace(results, splits={"test": changed}), added)
    assert f"added seeds of {worse.name} differ from the earlier ones" in " ".join(found.notes())
    assert "Of no variant can the added seeds be told" in " ".join(moved(results, added).notes())


def test_it_is_said_in_every_format(results, added):
    found = moved(results, added)
    text = found.to_text()
    assert "6 -> 12" in text
    assert "0 -> 12" in text
    assert f"added {6 + 6 + 12} cells of 3 variants, 1 of them new" in text
    assert max(map(len, found.to_text(width=80).splitlines()[2:6])) <= 80
    assert found.reference == "least squares"
    frame = pd.read_csv(pd.io.common.StringIO(found.to_text("csv")))
    pd.testing.assert_frame_equal(
        frame.fillna({"verdict_before": ""}), found.table, check_dtype=False
    )
    assert len(json.loads(found.to_text("json"))["table"]) == 3
    assert found.to_text("markdown").count("\n| ") == 5


def test_a_run_that_replaced_everything_before_it_is_all_new(results):
    found = moved(results, set(results.cells["key"]))
    assert (found.table["seeds_before"] == 0).all()
    assert found.table["p_holm"].isna().all()
