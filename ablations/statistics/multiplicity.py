"""Adjusting p-values for the number of tests, by statsmodels.

Holm for the family "every variant against one reference", Benjamini-Hochberg for exploratory pairs.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
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
