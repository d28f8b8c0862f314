"""The error arrays of everything that was evaluated on a split: variants, yardsticks, and what names mean.

What a failed cell scores is decided here, once for every comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ablations.comparison.metrics import METRICS, ErrorArray, variant_errors, yardstick_errors
from ablations.records.results import SplitResults, VariantResults
from ablations.statistics import score_failures
from ablations.study.problems import nearest
from ablations.study.study import Study

FLOOR = "posterior_mean"
CONSTANT = "constant"
ALIASES = {"floor": FLOOR}
PARTS = ("mse", "slope", "intercept")  # metrics whose means stand beside every other metric


@dataclass(frozen=True)
class Estimator:
    """Errors of a variant `(K, M)` or a yardstick `(M,)` on one split.

    In `errors` failed cells score as the constant predictor; `converged` holds the cells that are ok only.
    """

    name: str
    is_variant: bool
    errors: ErrorArray
    converged: ErrorArray
    ok: npt.NDArray[np.bool_]  # (K,), empty for a yardstick
    means: Mapping[str, float]  # column -> mean over all cells and images of the metrics of PARTS

    @property
    def flagged(self) -> bool:
        """Whether a cell failed."""
        return not self.ok.all()


def estimators(split: SplitResults, metric: str) -> dict[str, Estimator]:
    """Every variant, then every yardstick of a split by name.

    Raises ValueError where cells failed and the split has no `constant` yardstick.
    """
    found = {}
    for variant in split.variants:
        scored = {name: _scored(split, variant, name) for name in {*PARTS, metric}}
        found[variant.name] = Estimator(
            variant.name,
            True,
            scored[metric],
            scored[metric][variant.ok],
            variant.ok,
            _means(scored),
        )
    for name in split.yardsticks:
        errors = {wanted: yardstick_errors(split, name, wanted) for wanted in {*PARTS, metric}}
        none = np.array([], dtype=bool)
        found[name] = Estimator(name, False, errors[metric], errors[metric], none, _means(errors))
    return found


def _means(errors: Mapping[str, ErrorArray]) -> dict[str, float]:
    return {METRICS[name].column: float(errors[name].mean()) for name in PARTS}


def published_values(study: Study, split: str, metric: str) -> dict[str, float]:
    """Variant -> the value of the one published report, which is the MSE on the lab's test split alone."""
    if (split, metric) != ("test", "mse"):
        return {}
    return {v.name: v.published for v in study.variants if v.published is not None}


def _scored(split: SplitResults, variant: VariantResults, metric: str) -> ErrorArray:
    """Errors `(K, M)` with failed cells scored as the constant predictor."""
    constant = None
    if CONSTANT in split.yardsticks:
        constant = yardstick_errors(split, CONSTANT, metric)
    return score_failures(variant_errors(split, variant, metric), variant.ok, constant)


def find_estimator(name: str, known: Mapping[str, Estimator], argument: str) -> Estimator:
    """The estimator of this name; `floor` is the posterior mean.

    Raises ValueError naming the `argument`, with the legal names and the nearest.
    """
    meant = name if name in known else ALIASES.get(name, name)
    if meant in known:
        return known[meant]
    legal = [*(alias for alias, target in ALIASES.items() if target in known), *known]
    hint = nearest(name, legal)
    guess = f"; did you mean {hint!r}?" if hint else ""
    raise ValueError(f"{argument} {name!r} is not one of {', '.join(legal)}{guess}")
