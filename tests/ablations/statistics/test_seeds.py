"""What a few seeds can show: exact binomial limits, groups of seeds, the pivot for log-normal seeds."""

import itertools

import numpy as np
import pytest
from scipy import stats

from ablations.statistics import (
    TooFewSeedsError,
    median_over_seeds,
    rate_not_excluded,
    seed_groups,
)
from ablations.statistics.seeds import log_normal_pivot, split_between


def test_rate_not_excluded_is_clopper_pearson_one_sided():
    assert rate_not_excluded(5) == pytest.approx(1 - 0.05 ** (1 / 5))  # 45%
    for seen, n in ((1, 5), (3, 10), (0, 1)):
        limit = stats.binomtest(seen, n, alternative="less").proportion_ci(0.95, "exact").high
        assert rate_not_excluded(n, seen) == pytest.approx(limit)
    assert rate_not_excluded(4, 4) == 1
    with pytest.raises(ValueError, match="n_seen must lie between"):
        rate_not_excluded(3, 4)


@pytest.mark.parametrize(("n", "level"), [(2, 0.5), (5, 0.9375), (6, 0.96875), (10, 0.978515625)])
def test_median_over_seeds_by_the_binomial_distribution(n, level):
    rng = np.random.default_rng(n)
    summary = median_over_seeds(rng.lognormal(0, 1, n))
    assert summary.confidence == pytest.approx(level)
    draws = rng.lognormal(0, 1, (4000, n))
    covered = [found.low <= 1 <= found.high for found in map(median_over_seeds, draws)]
    assert np.mean(covered) == pytest.approx(level, abs=4 * 0.5 / np.sqrt(4000))


def test_median_over_seeds_takes_the_narrowest_interval_that_covers():
    values = np.arange(20.0)
    summary = median_over_seeds(values)
    assert (summary.median, summary.low, summary.high) == (9.5, 5, 14)  # 1 - 2 * 0.0207
    assert summary.confidence == pytest.approx(1 - 2 * stats.binom.cdf(5, 20, 0.5))
    with pytest.raises(TooFewSeedsError):
        median_over_seeds([1.0])


def test_the_best_split_by_brute_force():
    rng = np.random.default_rng(0)
    for n in (2, 5, 9):
        values = rng.standard_normal(n)
        best = 0.0
        for size in range(1, n):
            for group in itertools.combinations(range(n), size):
                inside = values[list(group)]
                outside = np.delete(values, group)
                within = inside.var() * len(inside) + outside.var() * len(outside)
                best = max(best, 1 - within / (values.var() * n))
        share, gap = split_between(values)
        assert share == pytest.approx(best)
        assert 0 < gap <= np.ptp(values)


def test_outlying_seeds_are_found_and_calm_ones_seldom_are():
    rng = np.random.default_rng(1)
    for n in (5, 10):
        calm = [seed_groups(np.exp(0.4 * rng.standard_normal(n))).p < 0.05 for _ in range(2000)]
        assert np.mean(calm) == pytest.approx(0.05, abs=0.02)
    one_apart = seed_groups([1.0, 1.1, 0.9, 1.05, 10.0])
    assert one_apart.apart
    assert one_apart.ratio == pytest.approx(10 / np.prod([1.0, 1.1, 0.9, 1.05]) ** 0.25)
    # surely two groups, but hardly any difference
    assert not seed_groups([1.0, 1.001, 1.002, 1.2, 1.201]).apart
    assert np.isnan(seed_groups([1.0, 1.1, 10.0]).p)
    assert seed_groups([2.0, 2.0, 2.0, 2.0]).p == 1


def test_the_pivot_covers_the_mean_of_log_normal_seeds():
    """Where a t interval of the mean does not."""
    rng = np.random.default_rng(2)
    sd = 0.6
    draws = np.exp(sd * rng.standard_normal((2000, 5)) - sd**2 / 2)
    rejected = {0.05: 0, 0.005: 0}
    crossed = 0
    for draw in draws:
        below = log_normal_pivot([(1, draw)]).below(0.0)
        p = 2 * min(below, 1 - below)
        rejected = {level: count + (p < level) for level, count in rejected.items()}
        se = draw.std(ddof=1) / np.sqrt(5) / draw.mean()
        crossed += 2 * stats.t.sf(abs(np.log(draw.mean())) / se, 4) < 0.005
    assert rejected[0.05] / 2000 < 0.065
    assert rejected[0.005] / 2000 < 0.009
    assert crossed / 2000 > 0.006


def test_the_pivot_by_drawing_it():
    rng = np.random.default_rng(3)
    a, b = rng.lognormal(0, 0.5, 6), rng.lognormal(1, 0.3, 4)

    def draws(scores):
        logs = np.log(scores)
        n, variance = len(logs), logs.var(ddof=1)
        u = rng.chisquare(n - 1, 200_000) / (n - 1)
        return (
            logs.mean()
            - rng.standard_normal(200_000) * np.sqrt(variance / u / n)
            + variance / u / 2
        )

    one = draws(a) + 0.1 * rng.standard_normal(200_000)
    pivot = log_normal_pivot([(1, a)], image_variance=0.01)
    difference = log_normal_pivot([(1, a), (-1, b)], shift=0.5)
    two = draws(a) - draws(b) + 0.5
    for q in (0.05, 0.3, 0.5, 0.9):
        assert pivot.below(np.quantile(one, q)) == pytest.approx(q, abs=0.006)
        assert pivot.below(pivot.quantile(q)) == pytest.approx(q, abs=1e-6)
        assert difference.below(np.quantile(two, q)) == pytest.approx(q, abs=0.006)


@pytest.mark.parametrize("score", [1.0, 1e-4, 30.0])
def test_seeds_that_are_all_alike_leave_a_point(score):
    pivot = log_normal_pivot([(1, np.full(5, score))])
    assert [pivot.quantile(p) for p in (0.025, 0.975)] == pytest.approx(
        [np.log(score)] * 2, abs=1e-8
    )
