"""Adjusting p-values for the number of tests, by statsmodels and scipy.

Holm for the family "every variant against one reference", Benjamini-Hochberg for exploratory pairs, Dunnett
for variants against a control variant on one number a seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ablations.statistics.crossed import FloatArray

Adjustment = Literal["holm", "fdr_bh"]


def adjust(p_values: npt.ArrayLike, method: Adjustment) -> FloatArray:
    """Adjusted p-values in the order given; NaN (no test was possible) stays NaN and is not counted."""
    p = np.asarray(p_values, dtype=np.float64)
    tested = ~np.isnan(p)
    adjusted = np.full_like(p, np.nan)
    if tested.any():
        adjusted[tested] = multipletests(p[tested], method=method)[1]
    return adjusted


def dunnett(
    log_mse: Mapping[str, npt.ArrayLike], control: str, *, rng: np.random.Generator
) -> dict[str, float]:
    """Two-sided adjusted p of every variant against the `control` variant (Dunnett 1955).

    `log_mse`: variant -> log test MSE of each seed `(K,)`. One number a seed, so the answer holds for new
    seeds on these very test images and assumes equal variances of log MSE; `compare_variants` speaks of new
    images too. `rng` feeds the quasi-Monte Carlo integral of the multivariate t.
    """
    if control not in log_mse:
        raise ValueError(f"control {control!r} is not one of {', '.join(log_mse)}")
    others = [name for name in log_mse if name != control]
    samples: list[Any] = [np.asarray(log_mse[name], dtype=np.float64) for name in others]
    result = stats.dunnett(*samples, control=np.asarray(log_mse[control], np.float64), rng=rng)
    return dict(zip(others, map(float, result.pvalue), strict=True))
