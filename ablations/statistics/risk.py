"""One estimate of a net's risk where the population of images is known: the floor plus the net's regret.

Given the pixels, the expected squared error of an answer f is `(f - p)^2 + posterior variance`, p the posterior mean.
So

    MSE = floor + regret,   regret = E[(f - p)^2],

and the floor is a known number. So is the mean regret of least squares, H = E[h], which makes h a control variate: a
net that errs where least squares errs would else carry its heavy tail. Works on arrays `regret (K, M)` of a variant and
`baseline (M,)` of least squares on the same images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ablations.statistics.comparison import Estimate, per_image
from ablations.statistics.crossed import (
    FloatArray,
    as_errors,
    crossed_uncertainty,
)

FOLDS = 5  # of the images, for beta
LEAST_SHARED = 0.1  # of the variance of regrets of a net and of the baseline: below it a control variate gains nothing
IMITATES = 0.5  # beta from which on a net is said to err where least squares errs


@dataclass(frozen=True)
class KnownMeans:
    """Population means: the floor's risk, and the regret of the baseline (least squares)."""

    floor: float
    baseline_regret: float


@dataclass(frozen=True)
class Scores:
    """Values `(K, M)` whose mean over images is an unbiased estimate of a seed's MSE, less noisy than its errors.

    `beta`: how far the regret follows that of the baseline, image by image; 1 for a net that imitates it.
    """

    values: FloatArray
    beta: float

    @property
    def by_seed(self) -> FloatArray:
        """The MSE of each seed `(K,)`."""
        by_seed: FloatArray = self.values.mean(axis=1)
        return by_seed


def controlled(regret: npt.ArrayLike, baseline: npt.ArrayLike, known: KnownMeans) -> Scores:
    """`floor + X - beta (h - H)` for regrets X `(K, M)` and h `(M,)` of the baseline.

    `beta = cov(X, h) / var(h)` for each seed, the regression estimator of a control variate (Lavenberg and Welch 1981),
    cross-fitted: that of a fold of images comes from the other folds, so that no image decides how it is corrected
    itself and the estimate stays unbiased. One beta for all seeds would give the same mean over seeds, but seeds that
    imitate the baseline more or less would differ by what the images at hand show of its tail, not by what there is of
    it. Where X and h share less than `LEAST_SHARED` of their variance, or their covariance is negative, beta is 0: no
    variance is lost, and a slope that rests on one image of a heavy tail does no harm. So it is for all where an MSE
    would not be positive. Raises ValueError for bad arrays.
    """
    own, h = as_errors(regret, "regret"), as_errors(baseline, "baseline", ndim=(1,))
    if own.shape[1] != len(h):
        raise ValueError(f"both must hold the same images, got {own.shape[1]} and {len(h)}")
    fold = np.arange(len(h)) % FOLDS
    values = known.floor + own
    for k in range(FOLDS):
        here, others = fold == k, fold != k
        beta = _slopes(own[:, others], h[others])[:, None]
        values[:, here] -= beta * (h[here] - known.baseline_regret)
    if (values.mean(axis=1) <= 0).any():
        return Scores(known.floor + own, 0.0)
    return Scores(values, float(_slopes(own, h).mean()))


def _slopes(y: FloatArray, x: FloatArray) -> FloatArray:
    """Slope of each row of y `(K, M)` on x `(M,)`, 0 where they do not share enough variance."""
    centred = x - x.mean()
    squares = float(centred @ centred)
    products = y @ centred
    shared = products**2 >= LEAST_SHARED * squares * y.var(axis=1) * y.shape[1]
    used = shared & (products > 0)
    return np.where(used, products / (squares if squares > 0 else 1.0), 0.0)


def risk_interval(values: FloatArray, *, offset: float = 0.0, confidence: float = 0.95) -> Estimate:
    """The mean of scores less `offset`, with its interval: crossed, for new seeds and images, of `(K, M)`; for new
    images of `(M,)`.

    On the log scale (delta method) where that mean is positive, else from the linear one and cut off at 0: neither an
    MSE nor a regret (`offset` the floor) is below it. Raises TooFewSeedsError for K < 3.
    """
    uncertainty = crossed_uncertainty([values] if values.ndim == 2 else [], per_image(values))
    value = float(values.mean()) - offset
    half_width = uncertainty.half_width(confidence)
    if value <= 0:
        return Estimate(value, 0.0, max(value + half_width, 0.0), uncertainty.se, uncertainty.df)
    factor = float(np.exp(half_width / value))
    return Estimate(value, value / factor, value * factor, uncertainty.se, uncertainty.df)
