"""Two estimators on the same images: exact zeros, symmetry, agreement of p, interval and verdict."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ablations.statistics import (
    TooFewSeedsError,
    compare_estimators,
    compare_to_baseline,
    compare_variants,
    crossed_mean,
)

seeds = st.integers(0, 2**32 - 1)


def draw_errors(seed, n_seeds=5, n_images=80, ratio=1.0):
    rng = np.random.default_rng(seed)
    difficulty = np.exp(rng.standard_normal(n_images))
    factors = np.exp(0.3 * rng.standard_normal((n_seeds, 1)))
    errors = ratio * factors * difficulty * rng.chisquare(2, (n_seeds, n_images))
    return errors, difficulty * rng.chisquare(2, n_images)


@given(seeds, st.integers(3, 7))
@settings(max_examples=50, deadline=None)
def test_a_baseline_against_itself_differs_by_exactly_zero(seed, n_seeds):
    _, baseline = draw_errors(seed)
    same = compare_to_baseline(np.tile(baseline, (n_seeds, 1)), baseline)
    assert (same.difference.value, same.difference.low, same.difference.high) == (0, 0, 0)
    assert (same.ratio.value, same.ratio.low, same.ratio.high) == (1, 1, 1)
    assert (same.p_difference, same.p_ratio, same.p_beats.value) == (1, 1, 0.5)
    assert same.equivalent
    assert same.non_inferior
    assert same.minimum_detectable_ratio == 1


@given(seeds, st.floats(0.3, 3.0))
@settings(max_examples=50, deadline=None)
def test_p_and_interval_agree(seed, ratio):
    errors, baseline = draw_errors(seed, ratio=ratio)
    for confidence in (0.9, 0.95):
        comparison = compare_to_baseline(errors, baseline, confidence=confidence)
        inside = comparison.ratio.low < 1 < comparison.ratio.high
        assert inside == (comparison.p_ratio > 1 - confidence)
        inside = comparison.difference.low < 0 < comparison.difference.high
        assert inside == (comparison.p_difference > 1 - confidence)


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_swapping_variants_inverts_the_ratio(seed):
    a, _ = draw_errors(seed, n_seeds=4)
    b, _ = draw_errors(seed + 1, n_seeds=6, ratio=1.5)
    one, other = compare_variants(a, b), compare_variants(b, a)
    assert one.ratio.value == pytest.approx(1 / other.ratio.value)
    assert one.ratio.low == pytest.approx(1 / other.ratio.high)
    assert one.difference.low == pytest.approx(-other.difference.high)
    assert one.p_ratio == pytest.approx(other.p_ratio)
    assert one.p_beats.low == pytest.approx(1 - other.p_beats.high)
    assert one.n_seeds == (4, 6)


@given(seeds, st.floats(1e-3, 1e3))
@settings(max_examples=30, deadline=None)
def test_units_do_not_change_a_ratio(seed, factor):
    errors, baseline = draw_errors(seed)
    one = compare_to_baseline(errors, baseline)
    other = compare_to_baseline(errors * factor, baseline * factor)
    np.testing.assert_allclose(
        [one.ratio.low, one.ratio.high, one.p_ratio, one.p_beats.low],
        [other.ratio.low, other.ratio.high, other.p_ratio, other.p_beats.low],
        rtol=1e-6,
    )
    assert other.difference.high == pytest.approx(factor * one.difference.high)


def test_two_yardsticks_are_a_paired_t_test_over_images():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(1, 2, 3000), rng.uniform(1, 2, 3000)
    comparison = compare_estimators(a, b)
    assert comparison.n_seeds == ()
    assert comparison.difference.se == pytest.approx(stats.sem(a - b))
    assert comparison.p_difference == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=2e-3)


def test_a_constant_baseline_leaves_the_interval_of_the_mean():
    errors, _ = draw_errors(3)
    mean = crossed_mean(errors)
    comparison = compare_to_baseline(errors, np.full(errors.shape[1], 2.0))
    np.testing.assert_allclose(
        [comparison.ratio.value, comparison.ratio.low, comparison.ratio.high],
        np.divide([mean.mean, mean.low, mean.high], 2.0),
        rtol=1e-9,
    )


def test_variants_over_many_images_approach_welch_on_their_seeds():
    """Where images do not matter the comparison is Welch's t test of the seeds' means."""
    rng = np.random.default_rng(1)
    a, b = rng.normal(5, 1, (5, 1)), rng.normal(6, 2, (8, 1))
    a, b = (np.abs(side) + 1e-6 * rng.random((len(side), 500)) for side in (a, b))
    welch = stats.ttest_ind(a.mean(axis=1), b.mean(axis=1), equal_var=False)
    comparison = compare_variants(a, b)
    assert comparison.p_difference == pytest.approx(welch.pvalue, rel=1e-3)
    assert comparison.difference.df == pytest.approx(welch.df, rel=1e-3)


def test_probability_of_beating_by_brute_force():
    a, baseline = draw_errors(11, n_seeds=4)
    b, _ = draw_errors(12, n_seeds=3)
    a, b, baseline = (np.round(x, 1) for x in (a, b, baseline))  # some ties
    score = {-1: 1.0, 0: 0.5, 1: 0.0}
    brute = np.mean(
        [score[np.sign(x - y)] for row in a for x, y in zip(row, baseline, strict=True)]
    )
    assert compare_to_baseline(a + 1e-12, baseline + 1e-12).p_beats.value == pytest.approx(brute)
    brute = np.mean(
        [score[np.sign(x - y)] for r in a for s in b for x, y in zip(r, s, strict=True)]
    )
    assert compare_variants(a, b).p_beats.value == pytest.approx(brute)


def test_probability_interval_where_no_comparison_goes_the_other_way():
    """Clopper-Pearson over the images: with none of 100 the upper limit is 1 - 0.025^(1/100)."""
    worse = compare_to_baseline(np.full((3, 100), 2.0), np.ones(100)).p_beats
    assert (worse.value, worse.low) == (0, 0)
    assert worse.high == pytest.approx(1 - 0.025 ** (1 / 100))


def test_equivalence_is_two_one_sided_tests_at_five_percent():
    errors, baseline = draw_errors(5, n_seeds=10, n_images=2000)
    outer = compare_to_baseline(errors, baseline).ratio
    inner = compare_to_baseline(errors, baseline, confidence=0.9).ratio
    needed = max(inner.high, 1 / inner.low)
    assert inner.high < outer.high
    assert compare_to_baseline(errors, baseline, margin=needed * 1.001).equivalent
    assert not compare_to_baseline(errors, baseline, margin=needed * 0.999).equivalent
    assert compare_to_baseline(errors, baseline, margin=max(outer.high, 1) * 1.001).non_inferior


def test_what_cannot_be_compared_is_refused():
    errors, baseline = draw_errors(2)
    with pytest.raises(TooFewSeedsError):
        compare_to_baseline(errors[:2], baseline)
    with pytest.raises(TooFewSeedsError):
        compare_variants(errors, errors[:1])
    with pytest.raises(ValueError, match="same images, got 80 and 79"):
        compare_to_baseline(errors, baseline[1:])
    with pytest.raises(ValueError, match=r"baseline must have shape \(images,\)"):
        compare_to_baseline(errors, errors)
    with pytest.raises(ValueError, match=r"b must have shape \(seeds, images\)"):
        compare_variants(errors, baseline)
    with pytest.raises(ValueError, match=r"margin is a ratio above 1, got 0\.8"):
        compare_to_baseline(errors, baseline, margin=0.8)
    with pytest.raises(ValueError, match="ratio is undefined"):
        compare_to_baseline(errors, np.zeros_like(baseline))
    with pytest.raises(ValueError, match="baseline holds 1 values that are NaN"):
        compare_to_baseline(errors, np.where(np.arange(80) == 3, np.nan, baseline))
