"""Medians over seeds x images: against NumPy, the crossed bootstrap, and simulated coverage."""

import numpy as np
import pytest

from ablations.statistics import (
    TooFewSeedsError,
    compare_medians,
    crossed_bootstrap,
    crossed_median,
    median,
    median_interval,
)


def draw(rng, n_seeds, n_images, shift=0.0):
    """Log-normal errors with effects of seeds, of images and of cells, `(K, M)`; their median is exp(shift)."""
    log = shift + rng.normal(0, 0.3, (n_seeds, 1)) + rng.normal(0, 1, n_images)
    return np.exp(log + rng.normal(0, 1, (n_seeds, n_images)))


def test_value_and_difference_are_those_of_numpy():
    rng = np.random.default_rng(0)
    a, b = draw(rng, 4, 101), draw(rng, 5, 101)
    assert crossed_median(a).value == np.median(a)
    comparison = compare_medians(a, b)
    assert comparison.ratio.value == np.median(a) / np.median(b)
    assert comparison.difference.value == np.median(a) - np.median(b)
    assert (comparison.n_seeds, comparison.n_images) == ((4, 5), 101)


def test_the_interval_is_near_that_of_the_bootstrap():
    rng = np.random.default_rng(1)
    errors = draw(rng, 8, 400)
    mine = median_interval(errors)
    other = crossed_bootstrap({"it": errors}, median, 1000, rng)["it"]
    assert mine.mean == other.value
    # the crossed bootstrap counts the noise of cells more than once, so it is a little wider
    width = np.log(mine.high / mine.low) / np.log(other.high / other.low)
    assert 0.7 < width < 1.2


def test_an_estimator_is_as_good_as_itself_and_units_do_not_matter():
    errors = draw(np.random.default_rng(2), 5, 300)
    itself = compare_medians(errors, errors)
    assert (itself.ratio.value, itself.difference.value) == (1, 0)
    assert itself.p == 1
    yardstick = np.exp(np.random.default_rng(3).normal(size=300))
    one, scaled = (compare_medians(c * errors, c * yardstick) for c in (1.0, 7.0))
    assert one.ratio.high == pytest.approx(scaled.ratio.high)
    assert one.p == pytest.approx(scaled.p)


def test_a_yardstick_has_an_interval_over_images_near_the_binomial_one():
    errors = np.exp(np.random.default_rng(4).normal(size=1000))
    interval = median_interval(errors)
    ordered = np.sort(errors)
    # the order statistics whose ranks a binomial(1000, 1/2) holds with 95%: 469 and 531
    assert ordered[464] < interval.low < ordered[474]
    assert ordered[525] < interval.high < ordered[535]


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.ones((3, 5)), np.ones(6), "the same images, got 5 and 6"),
        (np.ones((3, 5)), np.zeros(5), "median error is 0"),
        (np.full((3, 5), np.nan), np.ones(5), "NaN or infinite"),
    ],
)
def test_bad_input_is_named(a, b, message):
    with pytest.raises(ValueError, match=message):
        compare_medians(a, b)


def test_two_seeds_have_no_interval():
    with pytest.raises(TooFewSeedsError):
        compare_medians(np.ones((2, 5)), np.ones(5))


@pytest.mark.statistics
def test_coverage_of_medians_and_their_ratios():
    rng = np.random.default_rng(5)
    runs, hits, ratio_hits = 1000, 0, 0
    for _ in range(runs):
        image = rng.normal(0, 1, 300)
        a, b = (
            np.exp(rng.normal(0, 0.3, (5, 1)) + image + rng.normal(0, 1, (5, 300)))
            for _ in range(2)
        )
        interval = median_interval(a)
        hits += interval.low < 1 < interval.high
        ratio = compare_medians(a, b).ratio
        ratio_hits += ratio.low < 1 < ratio.high
    assert 0.92 < hits / runs < 0.985
    assert 0.92 < ratio_hits / runs < 0.985
