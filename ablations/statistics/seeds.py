"""What a handful of seeds can and cannot show: skewed seeds, outlying ones, and failures that were not drawn.

Works on one number a seed. How sure a mean over seeds x images is stands in `crossed`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from scipy import optimize, special, stats

from ablations.statistics.crossed import FloatArray, TooFewSeedsError

# Probabilities between which the distribution of a seeds' variance is cut: as fine in its tails as p-values are small.
TAIL = np.geomspace(1e-7, 0.02, 60)
EDGES = np.concatenate([[0.0], TAIL, np.linspace(0.02, 0.98, 121)[1:-1], 1 - TAIL[::-1], [1.0]])
NULL_DRAWS, NULL_SEED = 20_000, 0  # of the test for outlying seeds
OUTLIER_LEVEL, OUTLIER_RATIO = 0.05, 2.0
FEWEST_FOR_OUTLIERS = 4  # of 3 seeds two are always close and one is not


@dataclass(frozen=True)
class SeedMedian:
    """The median over seeds with its exact interval; `confidence` is what so few seeds can reach."""

    median: float
    low: float
    high: float
    confidence: float


def rate_not_excluded(n_seeds: int, n_seen: int = 0, *, confidence: float = 0.95) -> float:
    """The highest rate of an event that `n_seen` occurrences in `n_seeds` seeds do not exclude.

    The upper limit of the one-sided interval of Clopper and Pearson (1934): 0.45 for 0 of 5 at 95%.
    """
    if not 0 <= n_seen <= n_seeds or n_seeds == 0:
        raise ValueError(f"n_seen must lie between 0 and n_seeds >= 1, got {n_seen} of {n_seeds}")
    if n_seen == n_seeds:
        return 1.0
    return float(special.betaincinv(n_seen + 1, n_seeds - n_seen, confidence))


def median_over_seeds(values: npt.ArrayLike, *, confidence: float = 0.95) -> SeedMedian:
    """The median of `values (K,)` with the interval between two order statistics.

    The narrowest symmetric pair that covers the median with at least `confidence` by the binomial distribution, else
    lowest to highest, which covers it with `1 - 2^(1 - K)`: 94% for 5 seeds. Exact whatever the seeds' distribution.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    n = len(ordered)
    if n < 2:
        raise TooFewSeedsError(n)
    # P(the i-th lowest <= median <= the i-th highest), i from 0
    reached = [float(1 - 2 * stats.binom.cdf(i, n, 0.5)) for i in range((n + 1) // 2)]
    i = max((i for i, level in enumerate(reached) if level >= confidence), default=0)
    return SeedMedian(
        float(np.median(ordered)), float(ordered[i]), float(ordered[n - 1 - i]), reached[i]
    )


@dataclass(frozen=True)
class SeedGroups:
    """The two groups that seeds fall into best: p of there being one only, and the ratio of their geometric means."""

    p: float
    ratio: float

    @property
    def apart(self) -> bool:
        """Whether there are two groups (at 5%), and far enough apart to matter."""
        return self.p < OUTLIER_LEVEL and self.ratio >= OUTLIER_RATIO


def split_between(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Best split of samples `(..., K)` into neighbours: share of squares between them, gap of their means."""
    ordered = np.sort(values, axis=-1)
    n = ordered.shape[-1]
    centred = ordered - ordered.mean(axis=-1, keepdims=True)
    below = np.cumsum(centred, axis=-1)[..., :-1]
    sizes = np.arange(1, n)
    gap = -below * n / (sizes * (n - sizes))
    between = gap**2 * sizes * (n - sizes) / n
    total = (centred**2).sum(axis=-1)
    share = between.max(axis=-1) / np.where(total > 0, total, 1)
    best = np.take_along_axis(gap, between.argmax(axis=-1)[..., None], axis=-1)[..., 0]
    return share, best


@cache
def _null_shares(n_seeds: int) -> FloatArray:
    rng = np.random.default_rng(NULL_SEED)
    return np.sort(split_between(rng.standard_normal((NULL_DRAWS, n_seeds)))[0])


def seed_groups(mse_by_seed: npt.ArrayLike) -> SeedGroups:
    """Whether log-normal seeds fall into two groups, one of which may be a single seed.

    The statistic is the largest share of the sum of squares of the logs that lies between two groups (Engelman and
    Hartigan 1969, "Percentage points of a test for clusters"), its null distribution simulated from normal samples.
    p is NaN for fewer than 4 seeds, which cannot tell. Takes positive numbers `(K,)`, K at least 2.
    """
    logs = np.log(np.asarray(mse_by_seed, dtype=np.float64))
    share, gap = split_between(logs)
    p = np.nan
    if len(logs) >= FEWEST_FOR_OUTLIERS:
        null = _null_shares(len(logs))
        above = len(null) - np.searchsorted(null, float(share) * (1 - 1e-12))
        p = (above + 1) / (len(null) + 1)
    return SeedGroups(float(p), float(np.exp(gap)))


@dataclass(frozen=True)
class Pivot:
    """The generalized pivotal quantity of a log mean, or of a difference of two: a mixture of normals."""

    means: FloatArray
    sds: FloatArray
    weights: FloatArray  # sum to 1

    def below(self, value: float) -> float:
        """Probability that it lies below `value`."""
        return float(special.ndtr((value - self.means) / self.sds) @ self.weights)

    def quantile(self, probability: float) -> float:
        """Where `below` reaches `probability`."""
        reach = 40 * self.sds + 1e-9  # seeds that are all alike have no sd
        low, high = float((self.means - reach).min()), float((self.means + reach).max())
        return float(optimize.brentq(lambda x: self.below(x) - probability, low, high, xtol=1e-10))


def log_normal_pivot(
    sides: Sequence[tuple[int, npt.ArrayLike]], image_variance: float = 0.0, shift: float = 0.0
) -> Pivot:
    """The pivot of `shift` plus the sum over sides of sign times log E[score].

    `sides`: one or two pairs of a sign and positive scores of seeds `(K,)`; (1, a) and (-1, b) make a log ratio.
    Seeds are taken to be log-normal: then the log of their mean is mu + sigma^2 / 2, and

        mean - Z sqrt(s^2 / (K U)) + s^2 / (2 U),  Z normal, U chi-square / (K - 1)

    has its distribution (Krishnamoorthy and Mathew 2003, "Inferences on the means of lognormal distributions using
    generalized p-values and generalized confidence intervals"). It allows for the large seeds that a few draws lack,
    which a t interval about the mean does not. `image_variance` is the variance of the log that comes of images.
    Raises TooFewSeedsError for a side with fewer than 2 seeds.
    """
    means, variances, weights = (
        np.full((1, 1), shift),
        np.full((1, 1), image_variance),
        np.ones((1, 1)),
    )
    for axis, (sign, scores) in zip(((-1, 1), (1, -1)), sides, strict=False):
        logs = np.log(np.asarray(scores, dtype=np.float64))
        n = len(logs)
        if n < 2:
            raise TooFewSeedsError(n)
        variance = logs.var(ddof=1) * (n - 1) / special.chdtri(n - 1, (EDGES[1:] + EDGES[:-1]) / 2)
        means = means + sign * (logs.mean() + variance / 2).reshape(axis)
        variances = variances + (variance / n).reshape(axis)
        weights = weights * np.diff(EDGES).reshape(axis)
    sds = np.sqrt(np.maximum(variances, 1e-300))
    return Pivot(means.ravel(), sds.ravel(), weights.ravel())
