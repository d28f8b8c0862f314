"""The variance of a mean over seeds x images, and intervals from it.

Seeds are nested in a variant and crossed with images. Everything that asks how sure a mean or a contrast
of means is ends in `crossed_uncertainty`. Comparisons live in `comparison`, resampling in `bootstrap`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import special

FloatArray = npt.NDArray[np.float64]
Scale = Literal["log", "linear"]
MINIMUM_SEEDS = 3
TIE = 1 + 1e-9


class TooFewSeedsError(ValueError):
    """An interval over seeds was asked of fewer than three: show the points instead."""

    def __init__(self, n_seeds: int) -> None:
        super().__init__(
            f"an interval over seeds needs at least {MINIMUM_SEEDS} seeds, got {n_seeds}"
        )
        self.n_seeds = n_seeds


@dataclass(frozen=True)
class Components:
    """Variances of one observation `E[seed, image]`: of the seed, of the image, and of what is left.

    With two variants `seed` and `cell` are summed over both and `image` is that of their difference.
    `image_df` says how well these images know the image variance, see `variance_df`.
    """

    seed: float
    image: float
    cell: float
    image_df: float


@dataclass(frozen=True)
class Uncertainty:
    """Variance of a mean or contrast, its degrees of freedom, and the components they come from."""

    variance: float
    df: float
    components: Components

    @property
    def se(self) -> float:
        return float(np.sqrt(self.variance))

    def half_width(self, confidence: float) -> float:
        """Half the width of the two-sided t interval at `confidence`."""
        return self.se * t_quantile(self.df, confidence)

    def p_value(self, deviation: float) -> float:
        """Two-sided p of a `deviation` from the null; without any variance 1 if it is 0, else 0."""
        if self.variance == 0:
            return 1.0 if deviation == 0 else 0.0
        return float(2 * special.stdtr(self.df, -abs(deviation) / self.se))


@dataclass(frozen=True)
class Interval:
    """A mean over seeds x images with its interval; `se` is that of the mean itself, not of its log."""

    mean: float
    low: float
    high: float
    se: float
    df: float
    components: Components
    n_seeds: int
    n_images: int


def t_quantile(df: float, confidence: float) -> float:
    """Two-sided t quantile; `confidence` in (0, 1)."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie strictly between 0 and 1, got {confidence}")
    return float(special.stdtrit(df, (1 + confidence) / 2))


def as_errors(values: npt.ArrayLike, name: str, *, ndim: tuple[int, ...] = (2,)) -> FloatArray:
    """`as_scores` of squared errors: raises ValueError for negative values, too."""
    errors = as_scores(values, name, ndim=ndim)
    if (errors < 0).any():
        raise ValueError(f"{name} must be squared errors, which are never negative")
    return errors


def as_scores(values: npt.ArrayLike, name: str, *, ndim: tuple[int, ...] = (2,)) -> FloatArray:
    """`values` as float64, `(K, M)` or `(M,)` as `ndim` allows.

    Raises ValueError naming the argument for a wrong number of axes, no seeds, fewer than 2 images, NaN and
    infinity.
    """
    errors = np.asarray(values, dtype=np.float64)
    if errors.ndim not in ndim:
        shapes = " or ".join({1: "(images,)", 2: "(seeds, images)"}[n] for n in ndim)
        raise ValueError(f"{name} must have shape {shapes}, got {errors.shape}")
    if errors.shape[-1] < 2:
        raise ValueError(f"{name} needs at least 2 images, got {errors.shape[-1]}")
    if errors.size == 0:
        raise ValueError(f"{name} holds no seeds, shape {errors.shape}")
    if not np.isfinite(errors).all():
        bad = int((~np.isfinite(errors)).sum())
        raise ValueError(
            f"{name} holds {bad} values that are NaN or infinite; score failed cells first "
            "(ablations.statistics.score_failures)"
        )
    return errors


@dataclass(frozen=True)
class MeanSquares:
    """Two-way mean squares of `(K, M)` values, one observation a cell (Searle et al. 1992, sec. 4.3)."""

    seed: float
    image: float
    cell: float


def mean_squares(values: FloatArray) -> MeanSquares:
    """Mean squares of seeds, images and their interaction in `values (K, M)`, K and M at least 2."""
    n_seeds, n_images = values.shape
    seed_means, image_means = values.mean(axis=1), values.mean(axis=0)
    residual = values - seed_means[:, None] - (image_means - image_means.mean())
    return MeanSquares(
        seed=float(n_images * seed_means.var(ddof=1)),
        image=float(n_seeds * image_means.var(ddof=1)),
        cell=float((residual**2).sum() / ((n_seeds - 1) * (n_images - 1))),
    )


def variance_df(values: FloatArray) -> float:
    """Degrees of freedom of the sample variance of `values (M,)`, at most M - 1.

    `2 M / (kurtosis - (M - 3)/(M - 1))`, the chi-square that has the sample variance's own variance
    (O'Neill 2014, "Some useful moment results in sampling problems", The American Statistician 68).
    Squared errors are so heavy-tailed that a variance over 500 images may rest on a handful of them:
    M - 1 degrees of freedom would make the intervals too short. For Gaussian values it is about M - 1.
    """
    n = len(values)
    squared = (values - values.mean()) ** 2
    second = squared.mean()
    if n < 4 or second == 0:
        return n - 1.0
    kurtosis = float(
        ((squared / second) ** 2).mean()
    )  # in this order, as squares of tiny values are 0
    excess = kurtosis - (n - 3) / (n - 1)
    return float(min(n - 1, 2 * n / excess)) if excess > 0 else n - 1.0


def combined_df(
    variance: float, seed: tuple[float, float], image: tuple[float, float], cell_weight: float
) -> float:
    """Degrees of freedom of `variance`, made of a seed and an image part, each `(variance, df)`, less cells.

    Satterthwaite (1946), `variance^2 / sum(part^2 / df)` with `cell_weight` for the cells, but at most the mean of
    the parts' df, harmonic and weighted by the parts. That is the rule of Cochran and Cox (1957; Cochran 1964,
    "Approximate significance levels of the Behrens-Fisher test", Biometrics 20), the mean of the parts' t quantiles
    weighted by the parts, to first order in 1/df, and errs on the wide side. Satterthwaite's estimate is largest when
    a few seeds look alike by chance, the very case in which the variance is too small: with 5 seeds tests at 0.6%, as
    Holm asks of a family of 8, rejected twice as often as they should.
    """
    (seed_part, seed_df), (image_part, image_df) = seed, image
    weight = cell_weight + seed_part**2 / seed_df + image_part**2 / image_df
    linear = seed_part / seed_df + image_part / image_df
    if linear == 0 or weight == 0:  # the squares of parts below 1e-162 are 0
        return min(seed_df, image_df)
    return min(variance**2 / weight, (seed_part + image_part) / linear)


def crossed_uncertainty(sides: Sequence[FloatArray], image_effects: FloatArray) -> Uncertainty:
    """Variance of a contrast of means with independent seeds on each side and shared images.

    `sides`: the values `(K, M)` of each side that has seeds (none for a yardstick, one against a yardstick,
    two for variant against variant); `image_effects (M,)`: the contrast of the sides' means over seeds at
    each image. With `V_seed` the variance of the means of seeds and `V_image` that of `image_effects`,

        Var = sum V_seed / K + V_image / M - sum MS_cell / (K M)

    because the noise of cells is in both of the first terms. For one side it is
    `(MS_seed + MS_image - MS_cell) / (K M)`. Never below either term alone. Degrees of freedom by
    `combined_df`, those of the image term by `variance_df`, never below the smallest of K - 1 and that.
    """
    return uncertainty_of([seed_squares(values) for values in sides], image_effects)


def seed_squares(values: FloatArray) -> tuple[MeanSquares, int]:
    """What `uncertainty_of` needs of a side. Raises TooFewSeedsError below three seeds."""
    if len(values) < MINIMUM_SEEDS:
        raise TooFewSeedsError(len(values))
    return mean_squares(values), len(values)


def uncertainty_of(
    sides: Sequence[tuple[MeanSquares, int]], image_effects: FloatArray
) -> Uncertainty:
    """`crossed_uncertainty` of sides whose mean squares and numbers of seeds are known."""
    n_images = len(image_effects)
    image_part = float(image_effects.var(ddof=1)) / n_images
    image_df = variance_df(image_effects)
    seed_part = cell_part = seed_weight = cell_weight = 0.0  # weights: sums of variance^2 / df
    seed = cell = 0.0
    least_df = image_df
    for squares, n_seeds in sides:
        scale = n_seeds * n_images
        seed_part += squares.seed / scale
        seed_weight += (squares.seed / scale) ** 2 / (n_seeds - 1)
        cell_part += squares.cell / scale
        cell_weight += (squares.cell / scale) ** 2 / ((n_seeds - 1) * (n_images - 1))
        seed += max(squares.seed - squares.cell, 0.0) / n_images
        cell += squares.cell
        least_df = min(least_df, n_seeds - 1)
    seed_df = seed_part**2 / seed_weight if seed_weight > 0 else least_df
    variance = seed_part + image_part - cell_part
    df = combined_df(variance, (seed_part, seed_df), (image_part, image_df), cell_weight)
    # TIE keeps rounding from choosing between terms that are equal but for their degrees of freedom
    if variance <= TIE * max(seed_part, image_part):
        seeds_lead = TIE * seed_part >= image_part
        variance, df = (seed_part, seed_df) if seeds_lead else (image_part, image_df)
    components = Components(seed, max(image_part - cell_part, 0.0) * n_images, cell, image_df)
    return Uncertainty(variance, max(df, least_df), components)


def crossed_mean(
    errors: npt.ArrayLike, *, confidence: float = 0.95, scale: Scale = "log"
) -> Interval:
    """Mean of squared `errors (K, M)` with an interval for new seeds and new images.

    `scale="log"` (the default) applies the t interval to the log of the mean by the delta method, which
    suits skewed errors and never reaches below 0; `"linear"` to the mean itself. Errors that are all 0
    give the interval [0, 0].

    Raises TooFewSeedsError for K < 3 and ValueError for anything that is no array of squared errors.
    """
    values = as_errors(errors, "errors")
    if scale not in ("log", "linear"):
        raise ValueError(f"scale {scale!r} is not one of log, linear")
    n_seeds, n_images = values.shape
    uncertainty = crossed_uncertainty([values], values.mean(axis=0))
    mean = float(values.mean())
    low, high = mean_interval(mean, uncertainty, confidence=confidence, scale=scale)
    return Interval(
        mean, low, high, uncertainty.se, uncertainty.df, uncertainty.components, n_seeds, n_images
    )


def image_mean(
    errors: npt.ArrayLike, *, confidence: float = 0.95, scale: Scale = "log"
) -> Interval:
    """Mean of a yardstick's squared `errors (M,)` with an interval for new images; it has no seeds."""
    values = as_errors(errors, "errors", ndim=(1,))
    uncertainty = crossed_uncertainty([], values)
    mean = float(values.mean())
    low, high = mean_interval(mean, uncertainty, confidence=confidence, scale=scale)
    return Interval(
        mean, low, high, uncertainty.se, uncertainty.df, uncertainty.components, 0, len(values)
    )


def mean_interval(
    mean: float, uncertainty: Uncertainty, *, confidence: float, scale: Scale
) -> tuple[float, float]:
    """Ends of the interval about a `mean >= 0` on either scale."""
    half_width = uncertainty.half_width(confidence)
    if scale == "linear":
        return mean - half_width, mean + half_width
    if mean == 0:
        return 0.0, 0.0
    factor = float(np.exp(half_width / mean))
    return mean / factor, mean * factor
