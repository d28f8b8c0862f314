"""The crossed bootstrap: seeds of each variant and images resampled independently, images shared by all.

For statistics without a formula for their variance (median, interquartile mean, profiles, probability of
improvement). A mean has `crossed_mean`, which needs no resampling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse, special

from ablations.statistics.crossed import (
    FloatArray,
    as_errors,
    crossed_uncertainty,
)

Counts = npt.NDArray[np.int64]
# (errors (K, M), seed counts (B, K), image counts (B, M)) -> (B, ...): the statistic on each resample
Statistic = Callable[[FloatArray, Counts, Counts], FloatArray]
CHUNK = 256  # resamples at a time: their image counts stay in the cache


@dataclass(frozen=True)
class Resampled:
    """A statistic with its bootstrap interval; arrays of the statistic's own shape (0-d for a number)."""

    value: FloatArray
    low: FloatArray
    high: FloatArray


def mean(errors: FloatArray, seed_counts: Counts, image_counts: Counts) -> FloatArray:
    """Mean over all seeds and images."""
    by_seed = np.dot(image_counts.astype(np.float64), errors.T)
    return np.asarray((seed_counts * by_seed).sum(axis=1) / errors.size)


def median(errors: FloatArray, seed_counts: Counts, image_counts: Counts) -> FloatArray:
    """Median of the pooled errors, the middle two averaged as in `numpy.median`."""
    values, cumulated = _sorted_with_counts(errors, seed_counts, image_counts)
    n = errors.size
    lower, upper = ((cumulated < rank).sum(axis=1) for rank in ((n + 1) // 2, n // 2 + 1))
    return np.asarray((values[lower] + values[upper]) / 2)


def interquartile_mean(errors: FloatArray, seed_counts: Counts, image_counts: Counts) -> FloatArray:
    """Mean of the middle half of the pooled errors (Agarwal et al. 2021), a quarter cut at both ends."""
    values, cumulated = _sorted_with_counts(errors, seed_counts, image_counts)
    n = errors.size
    cut = n // 4
    kept = np.diff(np.clip(cumulated, cut, n - cut), axis=1, prepend=cut)
    return np.asarray(np.dot(kept, values) / (n - 2 * cut))


def share_below(thresholds: FloatArray) -> Statistic:
    """The statistic `(B, T)`: the share of all errors below each of the ascending `thresholds (T,)`.

    With variants for rows it is a performance profile (Dolan and More 2002; Agarwal et al. 2021).
    """

    def statistic(errors: FloatArray, seed_counts: Counts, image_counts: Counts) -> FloatArray:
        n_seeds, n_images = errors.shape
        n_bins = len(thresholds) + 1
        bins = np.searchsorted(thresholds, errors, side="right")
        rows = (bins + n_bins * np.arange(n_seeds)[:, None]).T.ravel()
        shape = n_seeds * n_bins, n_images
        ends = n_seeds * np.arange(n_images + 1)
        members = sparse.csc_array((np.ones(errors.size), rows, ends), shape=shape)
        counted = (members @ image_counts.T.astype(np.float64)).reshape(n_seeds, n_bins, -1)
        below = np.cumsum(counted, axis=1)[:, :-1]
        shares: FloatArray = np.einsum("bk,ktb->bt", seed_counts, below) / errors.size
        return shares

    return statistic


def _sorted_with_counts(
    errors: FloatArray, seed_counts: Counts, image_counts: Counts
) -> tuple[FloatArray, Counts]:
    """Pooled errors in ascending order `(K M,)`, and their cumulated counts `(B, K M)` per resample."""
    order = np.argsort(errors, axis=None)
    seed, image = np.unravel_index(order, errors.shape)
    counts = seed_counts[:, seed] * image_counts[:, image]
    return errors.ravel()[order], np.cumsum(counts, axis=1)


def draw_counts(n: int, n_boot: int, rng: np.random.Generator) -> Counts:
    """How often each of `n` things is drawn in `n_boot` resamples of size n, `(n_boot, n)`."""
    drawn = rng.integers(n, size=(n_boot, n)) + n * np.arange(n_boot)[:, None]
    return np.bincount(drawn.ravel(), minlength=n * n_boot).reshape(n_boot, n)


def replicates(
    errors_by_variant: Mapping[str, FloatArray],
    statistic: Statistic,
    n_boot: int,
    rng: np.random.Generator,
) -> dict[str, FloatArray]:
    """The statistic on `n_boot` resamples of each variant, `(n_boot, ...)`; all share the images drawn."""
    sizes = {errors.shape[-1] for errors in errors_by_variant.values()}
    if len(sizes) != 1:
        raise ValueError(f"all variants must hold the same images, got {sorted(sizes)} of them")
    n_images = sizes.pop()
    parts: dict[str, list[FloatArray]] = {name: [] for name in errors_by_variant}
    for start in range(0, n_boot, CHUNK):
        size = min(CHUNK, n_boot - start)
        image_counts = draw_counts(n_images, size, rng)
        for name, errors in errors_by_variant.items():
            seed_counts = draw_counts(len(errors), size, rng)
            parts[name].append(statistic(errors, seed_counts, image_counts))
    return {name: np.concatenate(chunks) for name, chunks in parts.items()}


def expanded_tail(df: float, confidence: float) -> float:
    """Tail probability of a percentile interval, expanded for a variance on `df` degrees of freedom.

    `Phi(sqrt(n/(n-1)) t(alpha/2, n-1))` with `n = df + 1`: a resample of n has a variance too small by
    (n-1)/n and normal instead of t tails (Hesterberg 2015, "What teachers should know about the bootstrap").
    """
    quantile = np.sqrt((df + 1) / df) * special.stdtrit(df, (1 - confidence) / 2)
    return float(special.ndtr(quantile))


def percentile_interval(
    resamples: FloatArray, df: float, confidence: float
) -> tuple[FloatArray, FloatArray]:
    """Expanded percentile limits of `resamples (B, ...)`."""
    tail = expanded_tail(df, confidence)
    low, high = np.quantile(resamples, [tail, 1 - tail], axis=0)
    return low, high


def crossed_bootstrap(
    errors_by_variant: Mapping[str, npt.ArrayLike],
    statistic: Statistic,
    n_boot: int,
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
) -> dict[str, Resampled]:
    """Value and interval of `statistic` for each variant's squared errors `(K, M)` on shared images.

    Seeds and images are resampled independently (the pigeonhole bootstrap: Owen 2007, Annals of Applied
    Statistics 1), which counts the noise of cells up to three times and so errs on the wide side. The
    percentiles are expanded for the degrees of freedom of the variant's crossed mean.

    Raises TooFewSeedsError for K < 3 and ValueError for bad arrays or fewer than 2 resamples.
    """
    if n_boot < 2:
        raise ValueError(f"n_boot must be at least 2, got {n_boot}")
    errors = {
        name: as_errors(values, f"errors of {name!r}") for name, values in errors_by_variant.items()
    }
    # also refuses variants with too few seeds before any work is done
    df = {name: crossed_uncertainty([e], e.mean(axis=0)).df for name, e in errors.items()}
    resampled = {}
    for name, values in replicates(errors, statistic, n_boot, rng).items():
        low, high = percentile_interval(values, df[name], confidence)
        whole = [np.ones((1, n), dtype=np.int64) for n in errors[name].shape]
        resampled[name] = Resampled(statistic(errors[name], *whole)[0], low, high)
    return resampled
