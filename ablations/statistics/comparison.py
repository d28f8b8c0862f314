"""Two estimators on the same images: difference, ratio, who is nearer, and what may be claimed.

Works on arrays of squared errors, `(K, M)` for a variant with K seeds and `(M,)` for a yardstick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import special
from statsmodels.stats.proportion import proportion_confint

from ablations.statistics.crossed import (
    Components,
    FloatArray,
    Uncertainty,
    as_errors,
    crossed_uncertainty,
)
from ablations.statistics.power import SeedPlan, minimum_detectable_ratio, required_seeds

MARGIN = 1.25


@dataclass(frozen=True)
class Estimate:
    """A number with its interval, standard error and degrees of freedom; a ratio's `se` is its log's."""

    value: float
    low: float
    high: float
    se: float
    df: float


@dataclass(frozen=True)
class Comparison:
    """An estimator against a reference on M shared images; ratios above 1 mean that it is worse.

    `difference` of the mean errors and their `ratio`, each with the two-sided p of no difference;
    `p_beats`: the probability that on a new image a new seed is nearer than the reference, ties half.
    `components` are variances on the log scale of the ratio. `n_seeds` has one number a side with seeds.
    """

    difference: Estimate
    p_difference: float
    ratio: Estimate
    p_ratio: float
    p_beats: Estimate
    components: Components
    n_seeds: tuple[int, ...]
    n_images: int
    margin: float
    confidence: float

    @property
    def non_inferior(self) -> bool:
        """Whether the upper limit of the ratio's interval is below the margin."""
        return self.ratio.high < self.margin

    @property
    def equivalent(self) -> bool:
        """Two one-sided tests: the ratio's `2 * confidence - 1` interval (90%) is within the margin.

        Schuirmann (1987), on the log scale: between 1/margin and margin.
        """
        half_width = special.stdtrit(self.ratio.df, self.confidence) * self.ratio.se
        return bool(abs(np.log(self.ratio.value)) + half_width < np.log(self.margin))

    @cached_property
    def minimum_detectable_ratio(self) -> float:
        """The ratio that this run would have told from 1 with a probability of 80%."""
        return minimum_detectable_ratio(self.ratio.se, self.ratio.df, confidence=self.confidence)

    def seeds_needed(self) -> SeedPlan:
        """Seeds a variant for 80% power at the observed ratio, on as many images as these."""
        return required_seeds(
            self.ratio.value,
            self.components,
            self.n_images,
            sides=len(self.n_seeds),
            confidence=self.confidence,
        )


def compare_to_baseline(
    errors: npt.ArrayLike,
    baseline: npt.ArrayLike,
    *,
    margin: float = MARGIN,
    confidence: float = 0.95,
) -> Comparison:
    """A variant's squared `errors (K, M)` against a yardstick's, `baseline (M,)`, on the same images.

    Difference: the crossed analysis of `errors - baseline`. Ratio: that of `E/mean(E) - e/mean(e)`, the delta
    method for the log of the ratio of means, which keeps the covariance of numerator and denominator.
    Raises TooFewSeedsError for K < 3, ValueError for bad arrays and for a baseline without any error.
    """
    variant = as_errors(errors, "errors")
    reference = as_errors(baseline, "baseline", ndim=(1,))
    return compare_estimators(variant, reference, margin=margin, confidence=confidence)


def compare_variants(
    a: npt.ArrayLike, b: npt.ArrayLike, *, margin: float = MARGIN, confidence: float = 0.95
) -> Comparison:
    """Variant `a (Ka, M)` against variant `b (Kb, M)`: independent seeds, shared images.

    Raises TooFewSeedsError where either has fewer than 3 seeds, ValueError for bad arrays.
    """
    first, second = as_errors(a, "a"), as_errors(b, "b")
    return compare_estimators(first, second, margin=margin, confidence=confidence)


def compare_estimators(
    a: npt.ArrayLike, b: npt.ArrayLike, *, margin: float = MARGIN, confidence: float = 0.95
) -> Comparison:
    """Any two of variants `(K, M)` and yardsticks `(M,)`; two yardsticks are compared over images only."""
    first, second = as_errors(a, "a", ndim=(1, 2)), as_errors(b, "b", ndim=(1, 2))
    if first.shape[-1] != second.shape[-1]:
        raise ValueError(
            f"both must hold the same images, got {first.shape[-1]} and {second.shape[-1]}"
        )
    if margin <= 1:
        raise ValueError(f"margin is a ratio above 1, got {margin}")
    difference = mean_difference(first, second)
    reference_mean = float(second.mean())
    mean = reference_mean + difference
    if reference_mean == 0 or mean <= 0:
        raise ValueError("the ratio is undefined: an estimator's errors are all 0")
    plain = contrast(first, second, 1.0, 1.0)
    scaled = contrast(first, second, mean, reference_mean)
    half_width = plain.half_width(confidence)
    ratio = mean / reference_mean
    factor = float(np.exp(scaled.half_width(confidence)))
    return Comparison(
        difference=Estimate(
            difference, difference - half_width, difference + half_width, plain.se, plain.df
        ),
        p_difference=plain.p_value(difference),
        ratio=Estimate(ratio, ratio / factor, ratio * factor, scaled.se, scaled.df),
        p_ratio=scaled.p_value(float(np.log(ratio))),
        p_beats=probability_nearer(first, second, confidence=confidence),
        components=scaled.components,
        n_seeds=tuple(len(side) for side in (first, second) if side.ndim == 2),
        n_images=first.shape[-1],
        margin=margin,
        confidence=confidence,
    )


def per_image(errors: FloatArray) -> FloatArray:
    """Mean over seeds at each image, `(M,)`."""
    return errors.mean(axis=0) if errors.ndim == 2 else errors


def mean_difference(a: FloatArray, b: FloatArray) -> float:
    """`mean(a) - mean(b)`, formed before any mean so that a repeat of a yardstick differs by exactly 0."""
    if a.ndim == 2 and b.ndim == 1:
        return float((a - b).mean())
    return float((per_image(a) - per_image(b)).mean())


def contrast(a: FloatArray, b: FloatArray, a_scale: float, b_scale: float) -> Uncertainty:
    """Uncertainty of `mean(a) / a_scale - mean(b) / b_scale` over shared images."""
    if a.ndim == 2 and b.ndim == 1:  # formed per seed: exact zeros where a repeats b
        values = a / a_scale - b / b_scale
        return crossed_uncertainty([values], values.mean(axis=0))
    a, b = a / a_scale, b / b_scale
    sides = [side for side in (a, b) if side.ndim == 2]
    return crossed_uncertainty(sides, per_image(a) - per_image(b))


def probability_nearer(a: FloatArray, b: FloatArray, *, confidence: float) -> Estimate:
    """Probability that a random seed of `a` has a smaller error than one of `b` on a random image.

    The two-sample U statistic by its placements (DeLong et al. 1988), crossed with images; the interval is
    formed on the logit scale. Where all comparisons agree it is Clopper-Pearson's over images alone.
    """
    sides = placements(a, b)
    probability_at_image = (
        per_image(sides[0]) if sides else nearer(a, b)  # two yardsticks have no seeds
    )
    uncertainty = crossed_uncertainty(sides, probability_at_image)
    p = float(probability_at_image.mean())
    if p in (0.0, 1.0):
        n_images = len(probability_at_image)
        low, high = proportion_confint(
            round(p * n_images), n_images, alpha=1 - confidence, method="beta"
        )
        return Estimate(p, float(low), float(high), 0.0, uncertainty.df)
    half_width = uncertainty.half_width(confidence) / (p * (1 - p))
    low, high = special.expit(special.logit(p) + np.array([-half_width, half_width]))
    return Estimate(p, float(low), float(high), uncertainty.se, uncertainty.df)


def nearer(a: FloatArray, b: FloatArray) -> FloatArray:
    """1 where `a < b`, 1/2 where they tie, else 0."""
    return np.asarray((a < b) + 0.5 * (a == b))


def share_nearer(a: FloatArray, b: FloatArray) -> float:
    """The estimate of `probability_nearer` alone, for any number of seeds."""
    sides = placements(a, b)
    return float((sides[0] if sides else nearer(a, b)).mean())


def placements(a: FloatArray, b: FloatArray) -> Sequence[FloatArray]:
    """For each side with seeds, `(K, M)`: the share of the other side's seeds that lose to (beat) a seed."""
    if a.ndim == 1 and b.ndim == 1:
        return []
    if a.ndim == 1 or b.ndim == 1:
        return [nearer(a, b)]
    of_a = np.stack([nearer(seed, b).mean(axis=0) for seed in a])
    of_b = np.stack([nearer(a, seed).mean(axis=0) for seed in b])
    return [of_a, of_b]
