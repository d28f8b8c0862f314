"""Two estimators on the same images: exact zeros, symmetry, agreement of p, interval and verdict."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ablations.statistics import (
    Known,
    TooFewSeedsError,
    compare_estimators,
    crossed_mean,
    probability_nearer,
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
    same = compare_estimators(np.tile(baseline, (n_seeds, 1)), baseline)
    assert (same.difference.value, same.difference.low, same.difference.high) == (0, 0, 0)
    assert (same.ratio.value, same.ratio.low, same.ratio.high) == (1, 1, 1)
    assert same.p == 1
    assert same.p_different(1.25) < 0.05


@given(seeds, st.floats(0.3, 3.0))
@settings(max_examples=50, deadline=None)
def test_p_and_interval_agree(seed, ratio):
    errors, baseline = draw_errors(seed, ratio=ratio)
    for confidence in (0.9, 0.95):
        comparison = compare_estimators(errors, baseline, confidence=confidence)
        # the other p, for skewed seeds, may be larger: never is a ratio found different that the interval holds
        if comparison.p < 1 - confidence:
            assert not comparison.ratio.low < 1 < comparison.ratio.high
        if comparison.p_at_least(1.25) < (1 - confidence) / 2:
            assert comparison.ratio.high < 1.25


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_swapping_variants_inverts_the_ratio(seed):
    a, _ = draw_errors(seed, n_seeds=4)
    b, _ = draw_errors(seed + 1, n_seeds=6, ratio=1.5)
    one, other = compare_estimators(a, b), compare_estimators(b, a)
    assert one.ratio.value == pytest.approx(1 / other.ratio.value)
    assert one.ratio.low == pytest.approx(1 / other.ratio.high)
    assert one.difference.low == pytest.approx(-other.difference.high)
    assert one.p == pytest.approx(other.p)
    assert one.p_at_least(1.25) == pytest.approx(other.p_at_most(1 / 1.25))
    assert one.p_different(1.25) == pytest.approx(other.p_different(1.25))
    nearer = probability_nearer(a, b).low, probability_nearer(b, a).high
    assert nearer[0] == pytest.approx(1 - nearer[1])
    assert one.n_seeds == (4, 6)


@given(seeds, st.floats(1e-3, 1e3))
@settings(max_examples=30, deadline=None)
def test_units_do_not_change_a_ratio(seed, factor):
    errors, baseline = draw_errors(seed)
    one = compare_estimators(errors, baseline)
    other = compare_estimators(errors * factor, baseline * factor)
    np.testing.assert_allclose(
        [one.ratio.low, one.ratio.high, one.p, one.p_at_least(1.25)],
        [other.ratio.low, other.ratio.high, other.p, other.p_at_least(1.25)],
        rtol=1e-6,
    )
    assert other.difference.high == pytest.approx(factor * one.difference.high)


def test_two_yardsticks_are_a_paired_t_test_over_images():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(1, 2, 3000), rng.uniform(1, 2, 3000)
    comparison = compare_estimators(a, b)
    assert comparison.n_seeds == ()
    assert comparison.difference.se == pytest.approx(stats.sem(a - b))
    t = comparison.difference.value / comparison.difference.se
    p = 2 * stats.t.sf(abs(t), comparison.difference.df)
    assert p == pytest.approx(stats.ttest_rel(a, b).pvalue, rel=2e-3)


def test_a_constant_baseline_leaves_the_interval_of_the_mean():
    errors, _ = draw_errors(3)
    mean = crossed_mean(errors)
    comparison = compare_estimators(errors, np.full(errors.shape[1], 2.0))
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
    comparison = compare_estimators(a, b)
    t = comparison.difference.value / comparison.difference.se
    assert 2 * stats.t.sf(abs(t), comparison.difference.df) == pytest.approx(welch.pvalue, rel=1e-3)
    assert comparison.difference.df == pytest.approx(welch.df, rel=1e-3)


def test_probability_of_beating_by_brute_force():
    a, baseline = draw_errors(11, n_seeds=4)
    b, _ = draw_errors(12, n_seeds=3)
    a, b, baseline = (np.round(x, 1) for x in (a, b, baseline))  # some ties
    score = {-1: 1.0, 0: 0.5, 1: 0.0}
    brute = np.mean(
        [score[np.sign(x - y)] for row in a for x, y in zip(row, baseline, strict=True)]
    )
    assert probability_nearer(a + 1e-12, baseline + 1e-12).value == pytest.approx(brute)
    brute = np.mean(
        [score[np.sign(x - y)] for r in a for s in b for x, y in zip(r, s, strict=True)]
    )
    assert probability_nearer(a, b).value == pytest.approx(brute)


def test_probability_interval_where_no_comparison_goes_the_other_way():
    """Clopper-Pearson over the images: with none of 100 the upper limit is 1 - 0.025^(1/100)."""
    worse = probability_nearer(np.full((3, 100), 2.0), np.ones(100))
    assert (worse.value, worse.low) == (0, 0)
    assert worse.high == pytest.approx(1 - 0.025 ** (1 / 100))


def test_nearer_where_every_seed_wins_on_as_many_images():
    errors = np.full((5, 1000), 2.0)
    for seed, row in enumerate(errors):
        row[seed : seed + 3] = 0.5
    found = probability_nearer(errors, np.ones(1000))
    assert found.value == pytest.approx(0.003)
    assert found.low < 0.003 < found.high


def test_equivalence_is_two_one_sided_tests_at_five_percent():
    """Without seeds the interval alone decides: equivalent at 5% when the 90% interval is within the margin."""
    rng = np.random.default_rng(5)
    a, b = rng.uniform(1, 2, 500), rng.uniform(1, 2, 500)
    inner = compare_estimators(a, b, confidence=0.9).ratio
    needed = max(inner.high, 1 / inner.low)
    comparison = compare_estimators(a, b)
    assert comparison.p_different(needed * 1.0001) < 0.05 < comparison.p_different(needed * 0.9999)


@given(seeds, st.floats(0.5, 2.0))
@settings(max_examples=30, deadline=None)
def test_a_known_number_is_a_baseline_without_noise(seed, value):
    errors, _ = draw_errors(seed)
    known, flat = (
        compare_estimators(errors, b) for b in (Known(value), np.full(errors.shape[1], value))
    )
    np.testing.assert_allclose(
        [known.ratio.low, known.ratio.high, known.difference.high, known.p],
        [flat.ratio.low, flat.ratio.high, flat.difference.high, flat.p],
        rtol=1e-9,
    )
    unsure = compare_estimators(errors, Known(value, se=0.1 * value))
    assert unsure.ratio.se == pytest.approx(np.hypot(known.ratio.se, 0.1))


def test_two_known_numbers_need_no_images():
    found = compare_estimators(Known(3.0, 0.03), Known(2.0, 0.02))
    assert (found.n_seeds, found.n_images, found.pivot) == ((), None, None)
    assert found.ratio.high == pytest.approx(
        1.5 * np.exp(stats.norm.ppf(0.975) * np.hypot(0.01, 0.01))
    )
    assert found.p < 1e-9
    exact = compare_estimators(Known(2.0), Known(2.0))
    assert (exact.p, exact.p_at_least(1.0), exact.p_at_most(1.0)) == (1, 1, 1)
    assert exact.p_different(1.25) == 0


def test_p_of_skewed_seeds_is_the_larger_of_two():
    """Four seeds alike and no large one drawn: the t test is surer than the pivot for log-normal seeds."""
    rng = np.random.default_rng(3)
    scale = np.exp([-0.7, -0.6, -0.5, -0.4, 0.3])[:, None]
    errors = scale * rng.uniform(0.9, 1.1, (5, 400))
    found = compare_estimators(errors, Known(1.0))
    crossed = stats.t.cdf(np.log(found.ratio.value) / found.ratio.se, found.ratio.df)
    assert found.p_at_least(1.0) == pytest.approx(1 - found.pivot.below(0.0))
    assert found.p_at_least(1.0) > 1.3 * crossed
    assert found.p_at_most(1.0) >= 1 - crossed


def test_what_cannot_be_compared_is_refused():
    errors, baseline = draw_errors(2)
    with pytest.raises(TooFewSeedsError):
        compare_estimators(errors[:2], baseline)
    with pytest.raises(TooFewSeedsError):
        compare_estimators(errors, errors[:1])
    with pytest.raises(ValueError, match="same images, got 80 and 79"):
        compare_estimators(errors, baseline[1:])
    with pytest.raises(ValueError, match=r"b must have shape \(images,\) or \(seeds, images\)"):
        compare_estimators(errors, errors[None])
    with pytest.raises(ValueError, match=r"margin is a ratio above 1, got 0\.8"):
        compare_estimators(errors, baseline).p_different(0.8)
    with pytest.raises(ValueError, match="ratio is undefined"):
        compare_estimators(errors, np.zeros_like(baseline))
    with pytest.raises(ValueError, match="b holds 1 values that are NaN"):
        compare_estimators(errors, np.where(np.arange(80) == 3, np.nan, baseline))
