"""What everything that was evaluated on a split scored: variants, yardsticks, and what names mean.

What a failed cell scores is decided here, once for every comparison, and so is what means are taken of: squared
errors, or, where the population of images is known, exact values of yardsticks and regrets of nets
(`ablations.statistics.risk`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ablations.comparison.metrics import (
    METRICS,
    ErrorArray,
    FloatArray,
    Metric,
    find_metric,
    yardstick_errors,
)
from ablations.records.results import SplitResults, VariantResults
from ablations.statistics import Known, KnownMeans, Side, controlled, score_failures
from ablations.study.problems import nearest
from ablations.study.study import Study
from linefit.known_risk import CONSTANT, FLOOR, REFERENCE, KnownRisk, Risk, known_risk

ALIASES = {"floor": FLOOR}
PARTS = ("mse", "slope", "intercept")  # metrics whose means stand beside every other metric


@dataclass(frozen=True)
class Estimator:
    """What a variant or a yardstick scored on one split.

    `errors` are those of each image, `(K, M)` of a variant and `(M,)` of a yardstick, `scores` what means are taken
    of: the errors, or what estimates the same mean with less noise. In both, failed cells score as the constant
    predictor; `converged` holds the scores of the cells that are ok only. `beta`: how far a net errs where least
    squares errs, image by image (NaN where it is not known).
    """

    name: str
    is_variant: bool
    errors: ErrorArray
    scores: Side
    converged: Side
    beta: float
    known: bool  # whether the population of the images is, so that no score has its heavy tail
    ok: npt.NDArray[np.bool_]  # (K,), empty for a yardstick
    means: Mapping[str, float]  # column -> mean over all cells and images of the metrics of PARTS

    @property
    def flagged(self) -> bool:
        """Whether a cell failed."""
        return not self.ok.all()


@dataclass(frozen=True)
class KnownSplit:
    """What is known of one output's squared errors over the population that a split's images come from."""

    table: KnownRisk
    output: str
    metric: Metric
    split: SplitResults

    @property
    def floor(self) -> Known:
        """The risk of the posterior mean."""
        risk = self.table.risk(FLOOR, self.output)
        return Known(risk.mse, risk.mse_se)

    def regrets(self, answers: FloatArray) -> ErrorArray:
        """`(..., M)` squared distances of answers from the posterior mean."""
        return self.metric.errors(answers, self._yardstick(FLOOR), self.split.dim)

    def yardstick(self, name: str) -> Known | None:
        """The exact mean error of a yardstick; None for one that the table has not."""
        risk: Risk
        if name == CONSTANT:
            risk = self.table.constant(self._yardstick(name)[0], self.output)
        elif any(row.yardstick == name for row in self.table.risks):
            risk = self.table.risk(name, self.output)
        else:
            return None
        return Known(risk.mse, risk.mse_se)

    def scores(self, regrets: ErrorArray) -> tuple[ErrorArray, float]:
        """Scores `(K, M)` and beta of a net from its regrets."""
        means = KnownMeans(self.floor.value, self.table.risk(REFERENCE, self.output).regret)
        found = controlled(regrets, self.regrets(self._yardstick(REFERENCE)), means)
        return found.values, found.beta

    def _yardstick(self, name: str) -> npt.NDArray[np.float64]:
        return self.split.yardsticks[name]


def known_split(split: SplitResults, metric: str) -> KnownSplit | None:
    """What is known of a metric on a split: nothing unless it is a mean of squared errors of images of the lab.

    Needs the answers of the floor and of least squares on the split's images, too.
    """
    chosen = find_metric(metric)
    needed = {FLOOR, REFERENCE} <= set(split.yardsticks)
    if not (split.lab_prior and needed) or chosen.output is None:
        return None
    return KnownSplit(known_risk(), chosen.output, chosen, split)


def estimators(split: SplitResults, metric: str) -> dict[str, Estimator]:
    """Every variant, then every yardstick of a split by name.

    Raises ValueError where cells failed and the split has no `constant` yardstick.
    """
    wanted = {name: known_split(split, name) for name in (*PARTS, metric)}
    found = {}
    for variant in split.variants:
        scores = {name: _variant_scores(split, variant, name, wanted[name]) for name in wanted}
        own, beta = scores[metric]
        found[variant.name] = Estimator(
            variant.name,
            True,
            _variant_errors(split, variant, metric),
            own,
            own[variant.ok],
            beta,
            wanted[metric] is not None,
            variant.ok,
            _means({name: side for name, (side, _) in scores.items()}),
        )
    for name in split.yardsticks:
        sides = {part: _yardstick_scores(split, name, part, wanted[part]) for part in wanted}
        errors = yardstick_errors(split, name, metric)
        none = np.array([], dtype=bool)
        side, known = sides[metric], wanted[metric] is not None
        found[name] = Estimator(name, False, errors, side, side, np.nan, known, none, _means(sides))
    return found


def cell_scores(split: SplitResults, variant: VariantResults, metric: str) -> ErrorArray:
    """Scores `(K, M)` of a variant's cells, those that failed scored as the constant predictor."""
    return _variant_scores(split, variant, metric, known_split(split, metric))[0]


def yardstick_score(split: SplitResults, name: str, metric: str) -> float:
    """The mean score of a yardstick."""
    return float(_yardstick_scores(split, name, metric, known_split(split, metric)).mean())


def _means(sides: Mapping[str, Side]) -> dict[str, float]:
    return {METRICS[name].column: float(sides[name].mean()) for name in PARTS}


def _variant_errors(split: SplitResults, variant: VariantResults, metric: str) -> ErrorArray:
    """Errors `(K, M)` with failed cells scored as the constant predictor."""
    return _scored(split, variant, METRICS[metric], split.params.astype(np.float64))


def _scored(
    split: SplitResults, variant: VariantResults, metric: Metric, truth: npt.NDArray[np.float64]
) -> ErrorArray:
    constant = None
    if CONSTANT in split.yardsticks:
        constant = metric.errors(split.yardsticks[CONSTANT], truth, split.dim)
    errors = metric.errors(variant.predictions, truth, split.dim)
    return score_failures(errors, variant.ok, constant)


def _variant_scores(
    split: SplitResults, variant: VariantResults, metric: str, known: KnownSplit | None
) -> tuple[ErrorArray, float]:
    if known is None:
        return _variant_errors(split, variant, metric), np.nan
    return known.scores(_scored(split, variant, known.metric, split.yardsticks[FLOOR]))


def _yardstick_scores(
    split: SplitResults, name: str, metric: str, known: KnownSplit | None
) -> Side:
    if known is None:
        return yardstick_errors(split, name, metric)
    # a yardstick that is not in the table is scored as a net of one seed
    return known.yardstick(name) or known.scores(known.regrets(split.yardsticks[name])[None])[0][0]


def published_values(study: Study, split: str, metric: str) -> dict[str, float]:
    """Variant -> the value of the one published report, which is the MSE on the lab's test split alone."""
    if (split, metric) != ("test", "mse"):
        return {}
    return {v.name: v.published for v in study.variants if v.published is not None}


def find_estimator(name: str, known: Mapping[str, Estimator], argument: str) -> Estimator:
    """The estimator of this name; `floor` is the posterior mean. Raises ValueError as `find_name` does."""
    return known[find_name(name, list(known), argument)]


def find_name(name: str, known: Sequence[str], argument: str) -> str:
    """The name that is meant; `floor` is the posterior mean.

    Raises ValueError naming the `argument`, with the legal names and the nearest.
    """
    meant = name if name in known else ALIASES.get(name, name)
    if meant in known:
        return meant
    legal = [*(alias for alias, target in ALIASES.items() if target in known), *known]
    hint = nearest(name, legal)
    guess = f"; did you mean {hint!r}?" if hint else ""
    raise ValueError(f"{argument} {name!r} is not one of {', '.join(legal)}{guess}")
