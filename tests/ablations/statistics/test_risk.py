"""The estimate of a net's risk by its regret: unbiased, exact where it must be, and shorter where it may be."""

import numpy as np
import pytest
from scipy import stats

from ablations.statistics import KnownMeans, controlled, crossed_mean, risk_interval

KNOWN = KnownMeans(floor=0.5, baseline_regret=1.0)


def heavy(rng, n_images):
    """Regrets of the baseline with mean 1."""
    return np.exp(1.5 * rng.standard_normal(n_images) - 1.5**2 / 2)


def test_a_net_that_repeats_the_baseline_has_its_known_risk_without_noise():
    h = heavy(np.random.default_rng(0), 200)
    found = controlled(np.tile(h, (4, 1)), h, KNOWN)
    assert found.beta == pytest.approx(1)
    np.testing.assert_allclose(found.values, 1.5)
    scaled = controlled(np.array([[0.5], [2.0]]) * h, h, KNOWN)
    np.testing.assert_allclose(scaled.by_seed, [1.0, 2.5])


def test_where_nothing_is_shared_scores_are_floor_plus_regret():
    rng = np.random.default_rng(1)
    h, regret = heavy(rng, 500), rng.chisquare(2, (3, 500))
    found = controlled(regret, h, KNOWN)
    assert found.beta == 0
    np.testing.assert_array_equal(found.values, regret + 0.5)
    opposed = controlled(np.tile(h.max() - h, (3, 1)), h, KNOWN)
    assert opposed.beta == 0


@pytest.mark.parametrize("share", [0.0, 0.7, 1.0])
def test_the_estimate_is_unbiased(share):
    rng = np.random.default_rng(2)
    means = []
    for _ in range(1500):
        h = heavy(rng, 100)
        regret = share * h + (1 - share) * rng.chisquare(2, (3, 100)) / 2
        means.append(controlled(regret, h, KNOWN).values.mean())
    means = np.array(means)
    assert abs(means.mean() - 1.5) <= 4 * means.std() / np.sqrt(len(means)) + 1e-12


def test_beta_of_a_fold_comes_from_the_other_folds():
    """So that changing an image's own baseline moves its score by the old slope alone."""
    rng = np.random.default_rng(3)
    h = heavy(rng, 100)
    regret = np.tile(h, (3, 1)) * rng.uniform(0.9, 1.1, (3, 100))
    before = controlled(regret, h, KNOWN).values
    moved = h.copy()
    moved[7] += 1
    after = controlled(regret, moved, KNOWN).values
    same_fold = np.arange(100) % 5 == 7 % 5
    unmoved = same_fold & (np.arange(100) != 7)
    np.testing.assert_array_equal(before[:, unmoved], after[:, unmoved])
    slopes = [np.polyfit(h[~same_fold], row[~same_fold], 1)[0] for row in regret]
    np.testing.assert_allclose(before[:, 7] - after[:, 7], slopes)


def test_an_estimate_below_zero_is_never_given():
    h = np.full(50, 0.01)
    h[::5] = 200.0  # the images at hand hold far more of the tail than there is
    regret = 0.1 * np.tile(h, (3, 1))
    found = controlled(regret, h, KnownMeans(0.001, 0.02))
    assert (found.by_seed > 0).all()


def test_intervals_agree_with_the_crossed_mean_and_the_t_interval():
    rng = np.random.default_rng(4)
    scores = rng.lognormal(0, 0.3, (5, 1)) * rng.chisquare(2, (5, 300))
    mean, found = crossed_mean(scores), risk_interval(scores)
    assert (found.value, found.low, found.high) == (mean.mean, mean.low, mean.high)
    regret = risk_interval(scores, offset=0.4)
    assert regret.value == pytest.approx(found.value - 0.4)
    assert regret.se == found.se
    assert regret.high / regret.value > found.high / found.value
    images = rng.uniform(1, 2, 4000)
    low = images.mean() * np.exp(-stats.norm.ppf(0.975) * stats.sem(images) / images.mean())
    assert risk_interval(images).low == pytest.approx(low, rel=1e-4)


def test_a_regret_below_zero_ends_at_zero():
    rng = np.random.default_rng(5)
    scores = 0.5 + 0.1 * rng.standard_normal((5, 100))
    found = risk_interval(scores, offset=0.6)
    assert found.value < 0
    assert found.low == 0
    assert found.high >= 0


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="same images, got 5 and 6"):
        controlled(np.ones((3, 5)), np.ones(6), KNOWN)
    with pytest.raises(ValueError, match="regret must be squared errors"):
        controlled(-np.ones((3, 5)), np.ones(5), KNOWN)
