"""Effects of levels are contrasts of log means: checked against plain NumPy, the comparison of two, and simulation."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from ablations.statistics import compare_estimators, crossed_mean
from ablations.statistics.crossed import crossed_uncertainty
from ablations.statistics.effects import LogMeans, balanced, level_effects, pair_means

LEVELS = pd.DataFrame(
    list(product(("a", "b", "c"), (1, 2))), columns=["first", "second"], index=list("uvwxyz")
)


def draw(rng, n_images=40, n_seeds=4, effects=None):
    """Errors `(K, M)` of each variant with effects of seeds and of images, which all share."""
    images = rng.lognormal(0, 0.8, n_images)
    scale = effects or dict.fromkeys(LEVELS.index, 1.0)
    return {
        name: scale[name]
        * rng.lognormal(0, 0.3, (n_seeds, 1))
        * images
        * rng.gamma(2, 0.5, (n_seeds, n_images))
        for name in LEVELS.index
    }


def test_the_ratio_of_two_variants_is_that_of_their_comparison():
    errors = draw(np.random.default_rng(0))
    weights = np.array([1.0, -1, 0, 0, 0, 0])
    found, expected = LogMeans(errors).ratio(weights), compare_estimators(errors["u"], errors["v"])
    for part in ("value", "low", "high", "se", "df"):
        assert getattr(found, part) == pytest.approx(getattr(expected.ratio, part))


def test_the_mean_of_one_variant_is_its_crossed_mean():
    errors = draw(np.random.default_rng(1))
    found, expected = LogMeans(errors).ratio(np.eye(6)[2]), crossed_mean(errors["w"])
    assert (found.value, found.low, found.high) == pytest.approx(
        (expected.mean, expected.low, expected.high)
    )


def test_effects_are_geometric_means_over_that_of_the_grid():
    errors = draw(np.random.default_rng(2))
    table = level_effects(LEVELS, LogMeans(errors)).set_index(["factor", "level"])
    whole = np.exp(np.mean([np.log(e.mean()) for e in errors.values()]))
    for (factor, level), row in table.iterrows():
        own = [np.log(errors[name].mean()) for name in LEVELS.index[LEVELS[factor] == level]]
        assert row["ratio"] == pytest.approx(np.exp(np.mean(own)) / whole)
        assert row["variants"] == len(own)
    for _, rows in table.groupby("factor"):
        assert np.log(rows["ratio"]).sum() == pytest.approx(0)


def test_intervals_are_those_of_the_crossed_analysis_of_the_weighted_influences():
    errors = draw(np.random.default_rng(3))
    weights = np.array([0.5, 0.5, 0, 0, 0, 0]) - 1 / 6
    sides = [w * e / e.mean() for w, e in zip(weights, errors.values(), strict=True)]
    expected = crossed_uncertainty(sides, np.sum([side.mean(axis=0) for side in sides], axis=0))
    row = level_effects(LEVELS, LogMeans(errors)).iloc[0]
    assert np.log(row["high"] / row["ratio"]) == pytest.approx(expected.half_width(0.95))
    assert np.log(row["ratio"] / row["low"]) == pytest.approx(expected.half_width(0.95))


def test_pairs_of_two_factors_that_are_all_are_the_variants_themselves():
    errors = draw(np.random.default_rng(4))
    table = pair_means(LEVELS, LogMeans(errors), ("first", "second"))
    logs = np.array([np.log(e.mean()) for e in errors.values()])
    np.testing.assert_allclose(np.log(table["ratio"]), logs - logs.mean())
    assert (table["variants"] == 1).all()


def test_fewer_than_three_seeds_have_no_interval():
    table = level_effects(LEVELS, LogMeans(draw(np.random.default_rng(5), n_seeds=2)))
    assert table["ratio"].notna().all()
    assert table[["low", "high"]].isna().all(axis=None)


def test_a_grid_with_holes_is_refused():
    errors = draw(np.random.default_rng(6))
    some = LEVELS.iloc[:-1]
    assert balanced(LEVELS)
    assert not balanced(some)
    means = LogMeans({name: errors[name] for name in some.index})
    with pytest.raises(ValueError, match="every combination"):
        level_effects(some, means)
    with pytest.raises(ValueError, match="every combination"):
        pair_means(some, means, ("first", "second"))


@pytest.mark.statistics
def test_intervals_hold_the_true_ratio():
    """Of 400 draws of 3 x 2 variants with 5 seeds, whose first factor's levels differ by known factors."""
    rng = np.random.default_rng(7)
    truth = {"a": 0.5, "b": 1.0, "c": 2.0}
    effects = {name: truth[row["first"]] for name, row in LEVELS.iterrows()}
    held = []
    for _ in range(400):
        table = level_effects(LEVELS, LogMeans(draw(rng, 100, 5, effects)))
        rows = table[table["factor"] == "first"]
        at = rows["level"].map(truth)
        held += list((rows["low"] <= at) & (at <= rows["high"]))
    assert 0.92 <= np.mean(held) <= 0.99
