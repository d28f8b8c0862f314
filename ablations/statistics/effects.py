"""What the levels of a factor do: ratios of geometric means over the variants of a balanced grid, with intervals.

How much of the variance a factor holds is in `factors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from ablations.statistics.comparison import Estimate
from ablations.statistics.crossed import (
    FloatArray,
    MeanSquares,
    TooFewSeedsError,
    as_scores,
    seed_squares,
    uncertainty_of,
)
from ablations.statistics.factors import missing_combinations


class LogMeans:
    """The log means of variants' scores `(K, M)` on shared images, for contrasts of them.

    Seeds are independent from variant to variant, images shared. By the delta method the log of a mean has the
    influence `E / mean(E)`, so that a contrast's variance is `crossed_uncertainty`'s of these, weighted. Raises
    ValueError for bad arrays, other images and means that are not positive.
    """

    def __init__(self, scores: Mapping[str, npt.ArrayLike]) -> None:
        arrays = {name: as_scores(values, name) for name, values in scores.items()}
        if len({values.shape[1] for values in arrays.values()}) != 1:
            raise ValueError("all variants must hold the same images")
        means = np.array([values.mean() for values in arrays.values()])
        if (means <= 0).any():
            raise ValueError("the log of a mean is undefined: it is not positive")
        self.names = tuple(arrays)
        self.logs = np.log(means)
        self._by_image = np.stack(
            [
                values.mean(axis=0) / mean
                for values, mean in zip(arrays.values(), means, strict=True)
            ]
        )
        try:
            self._squares: list[tuple[MeanSquares, int]] | None = [
                seed_squares(values / mean)
                for values, mean in zip(arrays.values(), means, strict=True)
            ]
        except TooFewSeedsError:
            self._squares = None

    def ratio(self, weights: FloatArray, confidence: float = 0.95) -> Estimate:
        """`exp(weights @ logs)` of weights `(V,)`, with its interval on the log scale; NaN below three seeds."""
        value = float(np.exp(weights @ self.logs))
        if self._squares is None:
            return Estimate(value, np.nan, np.nan, np.nan, np.nan)
        weighted = [
            (replace(s, seed=s.seed * w * w, image=s.image * w * w, cell=s.cell * w * w), k)
            for (s, k), w in zip(self._squares, weights, strict=True)
            if w != 0
        ]
        found = uncertainty_of(weighted, weights @ self._by_image)
        factor = float(np.exp(found.half_width(confidence)))
        return Estimate(value, value / factor, value * factor, found.se, found.df)


def balanced(levels: pd.DataFrame) -> bool:
    """Whether every combination of the levels in `levels`, a row a variant, is there once."""
    return not (levels.duplicated().any() or missing_combinations(levels))


def level_effects(levels: pd.DataFrame, means: LogMeans, confidence: float = 0.95) -> pd.DataFrame:
    """Of each level of each factor that varies: the geometric mean over its variants, as a ratio to that over all.

    `levels`: a row a variant, those of `means`. Columns `factor`, `level`, `variants`, `ratio`, `low`, `high`. Raises
    ValueError where the grid is not balanced: a factor's effect would then be that of others, too.
    """
    varied = levels[[factor for factor in levels if levels[factor].nunique() > 1]]
    if not balanced(varied):
        raise ValueError("effects of levels need every combination of levels once")
    rows = [
        {
            "factor": factor,
            "level": level,
            **_row(means, (levels[factor] == level).to_numpy(bool), confidence),
        }
        for factor in varied
        for level in dict.fromkeys(levels[factor])
    ]
    return pd.DataFrame(rows)


def pair_means(
    levels: pd.DataFrame, means: LogMeans, factors: tuple[str, str], confidence: float = 0.95
) -> pd.DataFrame:
    """As `level_effects`, of every combination of the levels of two factors; any other factors are averaged over."""
    if not balanced(levels[[factor for factor in levels if levels[factor].nunique() > 1]]):
        raise ValueError("means of pairs of levels need every combination of levels once")
    first, second = factors
    return pd.DataFrame(
        [
            {
                first: one,
                second: other,
                **_row(
                    means,
                    ((levels[first] == one) & (levels[second] == other)).to_numpy(bool),
                    confidence,
                ),
            }
            for one in dict.fromkeys(levels[first])
            for other in dict.fromkeys(levels[second])
        ]
    )


def _row(means: LogMeans, chosen: npt.NDArray[np.bool_], confidence: float) -> dict[str, object]:
    weights = chosen / chosen.sum() - 1 / len(chosen)
    found = means.ratio(weights, confidence)
    return {
        "variants": int(chosen.sum()),
        "ratio": found.value,
        "low": found.low,
        "high": found.high,
    }
