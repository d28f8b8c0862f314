"""What a diverged or failed cell counts as.

A failed cell is never dropped from the headline: it predicts what a predictor that looks at no pixel does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from statsmodels.stats.proportion import proportion_confint

from ablations.statistics.crossed import FloatArray


@dataclass(frozen=True)
class Convergence:
    """Cells that trained to the end, of all, with a Clopper-Pearson interval of their share."""

    n_ok: int
    n_seeds: int
    low: float
    high: float


def convergence(ok: npt.NDArray[np.bool_], *, confidence: float = 0.95) -> Convergence:
    """Share of cells that are `ok (K,)`, with the exact binomial interval (Clopper and Pearson 1934)."""
    n_ok, n_seeds = int(ok.sum()), len(ok)
    if n_seeds == 0:
        raise ValueError("ok holds no cells")
    low, high = proportion_confint(n_ok, n_seeds, alpha=1 - confidence, method="beta")
    return Convergence(n_ok, n_seeds, float(low), float(high))


def score_failures(
    errors: npt.ArrayLike, ok: npt.NDArray[np.bool_], constant_errors: npt.ArrayLike | None
) -> FloatArray:
    """`errors (K, M)` with the rows of failed cells replaced by the constant predictor's errors `(M,)`.

    `constant_errors` may be None only where every cell is `ok (K,)`.
    """
    values = np.asarray(errors, dtype=np.float64)
    if ok.shape != values.shape[:1]:
        raise ValueError(
            f"ok must have shape {values.shape[:1]} as errors has seeds, got {ok.shape}"
        )
    if ok.all():
        return values
    if constant_errors is None:
        raise ValueError(
            f"{int((~ok).sum())} cells failed and there is no `constant` yardstick to score them with"
        )
    return np.where(ok[:, None], values, np.asarray(constant_errors, dtype=np.float64))
