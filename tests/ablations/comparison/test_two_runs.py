"""Two runs held against each other: numbers by the study's own comparison, what differs by hand."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ablations.comparison.layout import FORMATS
from ablations.comparison.pairing import Side
from ablations.comparison.study_comparison import compare_study
from ablations.comparison.two_runs import compare_runs
from ablations.study.study import Study
from tests.ablations.synthetic import synthetic_results


def some_variants(results, keep, shift=0.0):
    """The same study with some of its variants, predictions moved by a number of pixels."""
    split = results.splits["test"]
    variants = tuple(
        replace(split.variants[i], predictions=split.variants[i].predictions + np.float32(shift))
        for i in keep
    )
    names = {variant.name for variant in variants}
    study: Study = replace(
        results.study, variants=tuple(v for v in results.study.variants if v.name in names)
    )
    return replace(
        results,
        study=study,
        cells=results.cells[results.cells["variant"].isin(names)],
        splits={"test": replace(split, variants=variants)},
    )


@pytest.fixture(scope="module")
def results():
    return synthetic_results(4, 5, 200, failures={(1, 2): "diverged"})


def sides(one, other, *variants):
    variants = variants or (None, None)
    return Side("before", one, variants[0]), Side("after", other, variants[1])


def test_a_variant_against_another_is_what_the_comparison_of_one_study_says(results):
    """The same images and independent seeds: whether the two lie in one study or in two makes no difference."""
    a, b = (variant.name for variant in results.splits["test"].variants[:2])
    inside = compare_study(results, against=b).table.set_index("variant").loc[a]
    one, other = some_variants(results, [0]), some_variants(results, [1])
    (row,) = compare_runs(*sides(one, other, a, b)).table.to_dict("records")
    assert (row["one"], row["other"]) == (a, b)
    assert (row["n_ok_other"], row["n_seeds_other"]) == (4, 5)
    for name in ("ratio", "ratio_low", "ratio_high", "difference", "p", "p_different"):
        assert row[name] == pytest.approx(inside[name], rel=1e-12), name
    values = [
        (variant.predictions - results.splits["test"].params) ** 2
        for variant in one.splits["test"].variants
    ]
    assert row["value_one"] == pytest.approx(np.mean(values), rel=1e-6)


def test_swapping_the_sides_turns_ratios_and_verdicts_round(results):
    moved = some_variants(results, range(4), shift=3.0)
    one, other = (
        compare_runs(*sides(results, moved)).table,
        compare_runs(*sides(moved, results)).table,
    )
    np.testing.assert_allclose(one["ratio"] * other["ratio"], 1)
    np.testing.assert_allclose(one["ratio_low"] * other["ratio_high"], 1)
    np.testing.assert_allclose(one["p_holm"], other["p_holm"])
    turned = {"better": "worse", "worse": "better"}
    assert [turned.get(v, v) for v in one["verdict"]] == list(other["verdict"])
    assert "better" in set(one["verdict"])


def test_runs_that_are_the_same_to_the_last_bit_are_called_so(results):
    again = some_variants(results, [0, 2])
    found = compare_runs(*sides(again, results))
    assert list(found.table["verdict"]) == ["identical"] * 2
    assert list(found.table["same_seeds"]) == [5, 5]
    assert found.unmatched[0] == ()
    assert found.unmatched[1] == tuple(results.splits["test"].variants[i].name for i in (1, 3))
    assert "Only in after: " in found.to_text()
    assert all(
        "the same to the last bit" in found.sentence(row) for row in found.table.to_dict("records")
    )
    # a failed cell predicts nothing that could be the same
    (row,) = compare_runs(*sides(some_variants(results, [1]), results)).table.to_dict("records")
    assert (row["same_seeds"], row["verdict"] == "identical") == (4, False)
    assert (
        "4 seeds predict the same in both"
        in compare_runs(*sides(some_variants(results, [1]), results)).to_text()
    )


def test_verdicts_are_adjusted_for_all_pairs(results):
    moved = some_variants(results, range(4), shift=1.0)
    table = compare_runs(*sides(moved, results)).table
    order = np.argsort(table["p"].to_numpy())
    holm = np.maximum.accumulate(np.minimum(table["p"].to_numpy()[order] * np.arange(4, 0, -1), 1))
    np.testing.assert_allclose(table["p_holm"].to_numpy()[order], holm)


def test_what_differs_between_the_runs_is_told(results):
    other = replace(
        results,
        provenance={
            **results.provenance,
            "git_commit": "f" * 40,
            "versions": {"torch": "2.14.0", "numpy": "2.4.6"},
        },
        cells=results.cells.assign(device="cuda:0", seconds=360.0),
    )
    found = {d.what: (d.one, d.other) for d in compare_runs(*sides(results, other)).differences}
    hours = found.pop("hours of training")
    assert found == {
        "commit": ("0123456789ab", "f" * 12),
        "torch": ("2.13.0", "2.14.0"),
        "device": ("cpu", "cuda:0"),
    }
    assert hours[1] == "2"
    a, b = (variant.name for variant in results.splits["test"].variants[:2])
    inside = {
        d.what: (d.one, d.other) for d in compare_runs(*sides(results, results, a, b)).differences
    }
    assert inside["width"] == ("48", "8")


@pytest.mark.parametrize("output", FORMATS)
def test_every_format_holds_every_pair(results, output):
    moved = some_variants(results, [0, 3], shift=1.0)
    found = compare_runs(*sides(moved, results))
    text = found.to_text(output)
    for name in found.table["one"]:
        assert name.replace("_", r"\_") in text.replace("_", r"\_")
    if output == "json":
        document = json.loads(text)
        assert [row["ratio"] for row in document["table"]] == pytest.approx(
            list(found.table["ratio"])
        )
    with pytest.raises(ValueError, match="not one of"):
        found.to_text("html")


def test_few_seeds_have_points_and_no_verdict():
    few = synthetic_results(2, 2, 50)
    table = compare_runs(*sides(few, some_variants(few, [0, 1], shift=1.0))).table
    assert set(table["verdict"]) == {"too few seeds"}
    assert table["ratio_low"].isna().all()


def test_mistakes_name_what_there_is(results):
    one, other = some_variants(results, [0]), some_variants(results, [3])
    with pytest.raises(ValueError, match=r"no variant in common.*before:conv2.* after:conv2"):
        compare_runs(*sides(one, other))
    with pytest.raises(ValueError, match=r"before: variant 'conv' is not one of conv2"):
        compare_runs(*sides(one, other, "conv", None))
    with pytest.raises(ValueError, match=r"split 'tset' is not one of test; did you mean 'test'"):
        compare_runs(*sides(one, one), split="tset")
    with pytest.raises(ValueError, match="margin is a ratio above 1"):
        compare_runs(*sides(one, one), margin=0.5)
    split = one.splits["test"]
    shifted = replace(one, splits={"test": replace(split, params=split.params + 1)})
    with pytest.raises(ValueError, match="other images"):
        compare_runs(*sides(one, shifted))
    renamed = replace(one, splits={"elsewhere": split})
    with pytest.raises(ValueError, match="evaluated on test, after on elsewhere"):
        compare_runs(*sides(one, renamed))


def test_the_largest_split_of_both_is_compared():
    both = synthetic_results(1, 3, 40, splits=("test", "test_large"))
    large = synthetic_results(1, 3, 60, splits=("test_large",)).splits["test_large"]
    more = replace(both, splits={"test": both.splits["test"], "test_large": large})
    assert compare_runs(*sides(more, more)).split == "test_large"
    assert compare_runs(*sides(more, more), split="test").n_images == 40
    assert pd.notna(compare_runs(*sides(more, more)).table["ratio"]).all()
