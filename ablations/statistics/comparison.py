"""Two estimators on the same images: difference, ratio, how sure both are, and who is nearer.

A side is an array of scores, `(K, M)` for a variant with K seeds and `(M,)` for a yardstick, or a `Known` number
where a yardstick's mean over all images has been worked out. Scores are squared errors or, with less noise, those of
`risk`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special
from statsmodels.stats.proportion import proportion_confint

from ablations.statistics.crossed import (
    Components,
    FloatArray,
    Uncertainty,
    as_scores,
    crossed_uncertainty,
)
from ablations.statistics.seeds import Pivot, log_normal_pivot

SKEWED_SEEDS = 5  # from so many on the skew of seeds widens the interval of P(beats)


@dataclass(frozen=True)
class Estimate:
    """A number with its interval, standard error and degrees of freedom; a ratio's `se` is its log's."""

    value: float
    low: float
    high: float
    se: float
    df: float


@dataclass(frozen=True)
class Known:
    """A mean over all images that is known, up to the standard error of its computation."""

    value: float
    se: float = 0.0

    def mean(self) -> float:
        return self.value


Side = FloatArray | Known


@dataclass(frozen=True)
class Comparison:
    """An estimator against a reference; ratios above 1 mean that it is worse.

    `difference` of the means and their `ratio`, with intervals by the crossed analysis; the ratio's is on the log
    scale. `components` are variances on that scale, `pivot` the generalized pivot of the log ratio for log-normal
    seeds (None without seeds). `n_seeds` has one number a side with seeds; `n_images` is None for two known numbers.
    """

    difference: Estimate
    ratio: Estimate
    components: Components
    pivot: Pivot | None
    n_seeds: tuple[int, ...]
    n_images: int | None
    confidence: float

    @property
    def p(self) -> float:
        """Two-sided p of a ratio of 1."""
        return min(1.0, 2 * min(self.p_at_least(1.0), self.p_at_most(1.0)))

    def p_at_least(self, ratio: float) -> float:
        """One-sided p of "at least `ratio`": small where the data show less.

        The larger of two: by the t distribution of the crossed analysis, and by the pivot for log-normal seeds. The
        first alone is too small when, of a few skewed seeds, no large one was drawn: of 5 seeds, Holm families that
        rest on it err in 8% to 18% of runs, those that rest on both in 1% to 5% (results/statistics/risk.md).
        """
        crossed = self._lower_tail(ratio)
        return crossed if self.pivot is None else max(crossed, 1 - self.pivot.below(np.log(ratio)))

    def p_at_most(self, ratio: float) -> float:
        """One-sided p of "at most `ratio`": small where the data show more."""
        crossed = 1.0 if self._at(ratio) else 1 - self._lower_tail(ratio)
        return crossed if self.pivot is None else max(crossed, self.pivot.below(np.log(ratio)))

    def p_different(self, margin: float) -> float:
        """p of a ratio outside 1/margin to margin: small where the two are equivalent.

        The larger p of two one-sided tests (Schuirmann 1987), on the log scale.
        """
        if margin <= 1:
            raise ValueError(f"margin is a ratio above 1, got {margin}")
        return max(self.p_at_least(margin), self.p_at_most(1 / margin))

    def _at(self, ratio: float) -> bool:
        return self.ratio.se == 0 and self.ratio.value == ratio

    def _lower_tail(self, ratio: float) -> float:
        """P(t <= (log ratio - log `ratio`) / se); 1 at `ratio` itself where nothing varies."""
        deviation = float(np.log(self.ratio.value / ratio))
        if self.ratio.se == 0:
            return float(deviation >= 0)
        return float(special.stdtr(self.ratio.df, deviation / self.ratio.se))


def compare_estimators(
    a: npt.ArrayLike | Known, b: npt.ArrayLike | Known, *, confidence: float = 0.95
) -> Comparison:
    """Any two sides; arrays hold the same images, and seeds of two variants are independent.

    Difference: the crossed analysis of `a - b`. Ratio: that of `a / mean(a) - b / mean(b)`, the delta method for the
    log of the ratio of means, which keeps the covariance that shared images bring.

    Raises TooFewSeedsError for a side with fewer than 3 seeds, ValueError for bad arrays and means that are not
    positive.
    """
    first, second = _side(a, "a"), _side(b, "b")
    arrays = [side for side in (first, second) if not isinstance(side, Known)]
    images = {side.shape[-1] for side in arrays}
    if len(images) > 1:
        raise ValueError(
            f"both must hold the same images, got {arrays[0].shape[-1]} and {arrays[1].shape[-1]}"
        )
    difference = mean_difference(first, second)
    reference_mean = float(second.mean())
    mean = reference_mean + difference
    if reference_mean <= 0 or mean <= 0:
        raise ValueError("the ratio is undefined: the mean of an estimator is not positive")
    plain = contrast(first, second, 1.0, 1.0)
    scaled = contrast(first, second, mean, reference_mean)
    ratio = mean / reference_mean
    half_width, factor = plain.half_width(confidence), np.exp(scaled.half_width(confidence))
    n_images = images.pop() if images else None
    image_variance = scaled.components.image / n_images if n_images else 0.0
    return Comparison(
        difference=Estimate(
            difference, difference - half_width, difference + half_width, plain.se, plain.df
        ),
        ratio=Estimate(ratio, float(ratio / factor), float(ratio * factor), scaled.se, scaled.df),
        components=scaled.components,
        pivot=_pivot(first, second, image_variance),
        n_seeds=tuple(len(side) for side in arrays if side.ndim == 2),
        n_images=n_images,
        confidence=confidence,
    )


def _side(values: npt.ArrayLike | Known, name: str) -> Side:
    return values if isinstance(values, Known) else as_scores(values, name, ndim=(1, 2))


def _pivot(a: Side, b: Side, image_variance: float) -> Pivot | None:
    """The pivot of the log ratio; None without seeds and where a seed's score is not positive: it has no log."""
    signed, shift = [], 0.0
    for sign, side in ((1, a), (-1, b)):
        if isinstance(side, Known) or side.ndim == 1:
            shift += sign * float(np.log(side.mean()))
        else:
            signed.append((sign, side.mean(axis=1)))
    if not signed or any((scores <= 0).any() for _, scores in signed):
        return None
    return log_normal_pivot(signed, image_variance, shift)


def per_image(scores: FloatArray) -> FloatArray:
    """Mean over seeds at each image, `(M,)`."""
    return scores.mean(axis=0) if scores.ndim == 2 else scores


def mean_difference(a: Side, b: Side) -> float:
    """`mean(a) - mean(b)`, formed before any mean so that a repeat of a yardstick differs by exactly 0."""
    if isinstance(a, Known) or isinstance(b, Known):
        return float(a.mean() - b.mean())
    if a.ndim == 2 and b.ndim == 1:
        return float((a - b).mean())
    return float((per_image(a) - per_image(b)).mean())


def contrast(a: Side, b: Side, a_scale: float, b_scale: float) -> Uncertainty:
    """Uncertainty of `mean(a) / a_scale - mean(b) / b_scale` over shared images."""
    if isinstance(a, Known) or isinstance(b, Known):
        return _known_contrast(a, b, a_scale, b_scale)
    if a.ndim == 2 and b.ndim == 1:  # formed per seed: exact zeros where a repeats b
        values = a / a_scale - b / b_scale
        return crossed_uncertainty([values], values.mean(axis=0))
    a, b = a / a_scale, b / b_scale
    sides = [side for side in (a, b) if side.ndim == 2]
    return crossed_uncertainty(sides, per_image(a) - per_image(b))


def _known_contrast(a: Side, b: Side, a_scale: float, b_scale: float) -> Uncertainty:
    """That of the side with images; the errors of known numbers are added to it as independent of all else."""
    found = Uncertainty(0.0, np.inf, Components(0.0, 0.0, 0.0, np.inf))
    computing = 0.0
    for side, scale in ((a, a_scale), (b, b_scale)):
        if isinstance(side, Known):
            computing += (side.se / scale) ** 2
        else:
            values = side / scale
            found = crossed_uncertainty([values] if values.ndim == 2 else [], per_image(values))
    return Uncertainty(found.variance + computing, found.df, found.components)


def probability_nearer(a: FloatArray, b: FloatArray, *, confidence: float = 0.95) -> Estimate:
    """Probability that a random seed of `a` has a smaller error than one of `b` on a random image, ties half.

    The two-sample U statistic by its placements (DeLong et al. 1988), crossed with images; the interval is formed on
    the logit scale. With 5 seeds and more on one side it also holds that of the pivot for log-normal seeds, of
    whichever of the two outcomes is rarer: seeds' shares are skewed. Where all comparisons agree it is
    Clopper-Pearson's over images alone. Raises TooFewSeedsError for a side with fewer than 3 seeds.
    """
    sides = placements(a, b)
    probability_at_image = (
        per_image(sides[0]) if sides else nearer(a, b)  # two yardsticks have no seeds
    )
    uncertainty = crossed_uncertainty(sides, probability_at_image)
    p = float(probability_at_image.mean())
    n_images = len(probability_at_image)
    if p in (0.0, 1.0):
        low, high = proportion_confint(
            round(p * n_images), n_images, alpha=1 - confidence, method="beta"
        )
        return Estimate(p, float(low), float(high), 0.0, uncertainty.df)
    half_width = uncertainty.half_width(confidence) / (p * (1 - p))
    low, high = special.expit(special.logit(p) + np.array([-half_width, half_width]))
    if len(sides) == 1 and len(sides[0]) >= SKEWED_SEEDS:
        skewed = _skewed_share(sides[0] if p < 0.5 else 1 - sides[0], confidence)
        skewed = skewed if p < 0.5 else (1 - skewed[1], 1 - skewed[0])
        low, high = min(low, skewed[0]), max(high, skewed[1])
    return Estimate(p, float(low), float(high), uncertainty.se, uncertainty.df)


def _skewed_share(wins: FloatArray, confidence: float) -> tuple[float, float]:
    """Limits of the mean over seeds of a small share, seeds log-normal; half an image more keeps shares above 0."""
    n_images = wins.shape[1]
    shares = (wins.sum(axis=1) + 0.5) / (n_images + 1)
    pivot = log_normal_pivot([(1, shares)])
    low, high = (pivot.quantile((1 + sign * confidence) / 2) for sign in (-1, 1))
    return float(np.exp(low)), float(min(np.exp(high), 1.0))


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
