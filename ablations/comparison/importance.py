"""Factor importance of scored variants, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ablations.comparison.metrics import ErrorArray
from ablations.comparison.scored import Estimator
from ablations.statistics import Importance, factor_importance

IMPORTANCE_SEED = 0  # of the bootstrap of factor importance: the same table every time


def importance_of(
    levels: pd.DataFrame, known: Mapping[str, Estimator], confidence: float
) -> tuple[Importance | None, str]:
    """Factor importance of variants by their `levels`, a row a variant, or None and the reason."""
    errors = {str(name): _positive(known[str(name)]) for name in levels.index}
    rng = np.random.default_rng(IMPORTANCE_SEED)
    try:
        importance = factor_importance(levels, errors, rng=rng, confidence=confidence)
    except ValueError as error:
        return None, f"none, {error}"
    return importance, importance.note


def _positive(variant: Estimator) -> ErrorArray:
    """Scores, or the errors themselves where a control variate left negative ones: importance asks for log means."""
    scores = np.asarray(variant.scores)
    return scores if (scores >= 0).all() else variant.errors
