"""The crossed bootstrap: its statistics against naive versions, its spread against the formulas."""

import numpy as np
import pytest
from scipy import stats

from ablations.statistics import (
    TooFewSeedsError,
    crossed_bootstrap,
    crossed_mean,
    interquartile_mean,
    mean,
    median,
    probability_nearer,
)
from ablations.statistics.bootstrap import draw_counts, expanded_tail, share_below


def repeat(errors, seed_counts, image_counts):
    """A resample written out: rows and columns repeated as often as they were drawn."""
    return np.repeat(np.repeat(errors, seed_counts, axis=0), image_counts, axis=1)


@pytest.mark.parametrize("shape", [(3, 7), (4, 25), (5, 40)])
@pytest.mark.parametrize(
    ("statistic", "naive"),
    [
        (mean, np.mean),
        (median, np.median),
        (interquartile_mean, lambda x: stats.trim_mean(x, 0.25, axis=None)),
    ],
)
def test_statistics_of_counts_are_those_of_the_resample_written_out(shape, statistic, naive):
    rng = np.random.default_rng(0)
    errors = rng.chisquare(1, shape)
    seed_counts, image_counts = (draw_counts(n, 20, rng) for n in shape)
    expected = [naive(repeat(errors, s, i)) for s, i in zip(seed_counts, image_counts, strict=True)]
    np.testing.assert_allclose(statistic(errors, seed_counts, image_counts), expected)


def test_shares_below_thresholds_are_those_of_the_resample_written_out():
    """An error that equals a threshold is not below it."""
    rng = np.random.default_rng(0)
    errors = rng.integers(0, 6, (4, 25)).astype(float)
    thresholds = np.array([0.0, 1.0, 2.5, 4.0, 9.0])
    seed_counts, image_counts = (draw_counts(n, 20, rng) for n in errors.shape)
    expected = [
        [(repeat(errors, s, i) < t).mean() for t in thresholds]
        for s, i in zip(seed_counts, image_counts, strict=True)
    ]
    found = share_below(thresholds)(errors, seed_counts, image_counts)
    np.testing.assert_allclose(found, expected)


def test_every_resample_draws_as_many_as_there_are():
    counts = draw_counts(7, 500, np.random.default_rng(0))
    assert counts.shape == (500, 7)
    assert (counts.sum(axis=1) == 7).all()
    np.testing.assert_allclose(counts.mean(axis=0), 1, atol=0.15)


def test_value_is_the_statistic_of_the_data():
    errors = np.random.default_rng(0).chisquare(1, (4, 50))
    rng = np.random.default_rng(1)
    assert crossed_bootstrap({"a": errors}, median, 50, rng)["a"].value == np.median(errors)


def test_bootstrap_of_the_mean_agrees_with_the_formula():
    """Where cells add little noise the percentile limits are near the linear crossed interval."""
    rng = np.random.default_rng(4)
    errors = (
        10 + rng.normal(0, 0.05, (10, 1)) + rng.normal(0, 1, 400) + rng.normal(0, 0.2, (10, 400))
    )
    resampled = crossed_bootstrap({"a": errors}, mean, 20_000, rng)["a"]
    formula = crossed_mean(errors, scale="linear")
    half_width = formula.high - formula.mean
    assert resampled.low == pytest.approx(formula.low, abs=0.07 * half_width)
    assert resampled.high == pytest.approx(formula.high, abs=0.07 * half_width)


def test_variants_share_the_images_drawn():
    """Two variants with the same seeds' means everywhere move together, image by image."""
    images = np.random.default_rng(0).chisquare(1, 30)
    errors = {"a": np.tile(images, (3, 1)), "b": np.tile(2 * images, (4, 1))}
    result = crossed_bootstrap(errors, mean, 300, np.random.default_rng(1))
    assert result["b"].low == pytest.approx(2 * result["a"].low, rel=0.02)
    assert result["b"].high == pytest.approx(2 * result["a"].high, rel=0.02)


def test_expanded_tail_makes_the_bootstrap_of_a_normal_mean_the_t_interval():
    """A resampled mean has variance (n-1)/n s^2/n: at the expanded tail its quantile is that of t."""
    n = 8
    quantile = stats.norm.ppf(expanded_tail(n - 1, 0.95)) * np.sqrt((n - 1) / n)
    assert quantile == pytest.approx(stats.t.ppf(0.025, n - 1))


def test_probability_nearer_is_the_average_mann_whitney_with_the_spread_of_a_bootstrap():
    rng = np.random.default_rng(2)
    a, b = np.round(rng.chisquare(1, (5, 60)), 1), np.round(1.3 * rng.chisquare(1, (4, 60)), 1)
    per_image = [
        stats.mannwhitneyu(b[:, i], a[:, i]).statistic / 20 for i in range(60)
    ]  # U counts the pairs in which b is larger, ties half
    formula = probability_nearer(a, b)
    assert formula.value == pytest.approx(np.mean(per_image))
    wins = (a[:, None] < b) + 0.5 * (a[:, None] == b)
    resampled = [
        wins[np.ix_(*(rng.integers(0, n, n) for n in wins.shape))].mean() for _ in range(2000)
    ]
    low, high = np.quantile(resampled, [0.025, 0.975])
    assert low < formula.value < high
    # a bootstrap of crossed factors adds the cells' noise of each: it errs on the wide side
    assert 0.8 < (high - low) / (formula.high - formula.low) < 2


def test_the_same_generator_gives_the_same_interval():
    errors = {"a": np.random.default_rng(0).chisquare(1, (4, 50))}
    one, other = (
        crossed_bootstrap(errors, median, 300, np.random.default_rng(9)) for _ in range(2)
    )
    assert one["a"].low == other["a"].low


def test_bad_input_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(TooFewSeedsError):
        crossed_bootstrap({"a": np.ones((2, 5))}, mean, 10, rng)
    with pytest.raises(ValueError, match=r"same images, got \[5, 6\]"):
        crossed_bootstrap({"a": np.ones((3, 5)), "b": np.ones((3, 6))}, mean, 10, rng)
    with pytest.raises(ValueError, match="errors of 'a' holds 15 values"):
        crossed_bootstrap({"a": np.full((3, 5), np.nan)}, mean, 10, rng)
    with pytest.raises(ValueError, match="n_boot must be at least 2"):
        crossed_bootstrap({"a": np.ones((3, 5))}, mean, 1, rng)
