"""Runs from anywhere, compared: errors of variants x seeds x items that a tidy table holds, whoever made them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from ablations.comparison import wording as text
from ablations.comparison.importance import importance_of
from ablations.comparison.methods import methods_of_errors
from ablations.comparison.metrics import ErrorArray, Measure
from ablations.comparison.scored import Estimator, find_estimator
from ablations.comparison.spelling import listed
from ablations.comparison.study_comparison import StudyComparison
from ablations.comparison.table import comparison_table
from ablations.records.tidy import Columns, ErrorTable, error_table
from ablations.statistics import score_failures
from linefit.known_risk import CONSTANT

MARGIN = 1.25  # the convention of bioequivalence
ERROR = Measure(
    name="error", column="mean_error", words="mean error", items="items", heavy_tailed=False
)


def compare_errors(
    frame: pd.DataFrame,
    *,
    variant: str = "variant",
    seed: str = "seed",
    item: str = "item",
    error: str = "error",
    factors: Sequence[str] = (),
    against: str | None = None,
    margin: float = MARGIN,
    confidence: float = 0.95,
    common_items: bool = False,
    name: str = "runs",
) -> StudyComparison:
    """Compare the variants of a tidy table with a row a variant, seed and item, as `compare_study` does.

    `variant`, `seed`, `item`, `error` and `factors` name columns; errors are not negative, the smaller the better. A
    variant without seeds is taken as it is, as least squares is; it is what the others are compared with where it is
    the only one and `against` does not say. A run whose errors are all missing has failed and scores as the variant
    `constant`, which has no seeds. Every run has to hold every item; with `common_items` the items that some run lacks
    are left out.

    Raises StudyError with all that is wrong with the table, ValueError where `against` is needed or not there, and for
    failed runs without `constant`.
    """
    columns = Columns(variant, seed, item, error)
    data = error_table(frame, columns, factors=factors, common_items=common_items, source=name)
    return compare_table(data, against=against, margin=margin, confidence=confidence, name=name)


def compare_table(
    data: ErrorTable,
    *,
    against: str | None = None,
    margin: float = MARGIN,
    confidence: float = 0.95,
    name: str = "runs",
) -> StudyComparison:
    """`compare_errors` of a table that has been checked. Raises ValueError as that does."""
    known = _estimators(data)
    perfect = [name for name, estimator in known.items() if not estimator.scores.mean() > 0]
    if perfect:
        raise ValueError(
            f"{listed(perfect)}: never errs, so that no ratio to it is defined; leave it out"
        )
    reference = find_estimator(against or _default(data), known, "against")
    table = comparison_table(known, reference, {}, ERROR, margin, confidence)
    importance, note = importance_of(data.levels, known, confidence)
    for of_lines, of_runs in (("log MSE", f"log {ERROR.words}"), ("images", ERROR.items)):
        note = note.replace(of_lines, of_runs)
    words = text.words_for(reference.name, reference.is_variant)
    return StudyComparison(
        study=name,
        split=name,
        against=reference.name,
        metric=ERROR,
        margin=margin,
        confidence=confidence,
        n_images=data.n_items,
        table=table,
        importance=importance,
        importance_note=note,
        methods=methods_of_errors(
            table, name, data.n_items, words, ERROR, margin, confidence, note
        ),
        estimators=known,
    )


def _estimators(data: ErrorTable) -> dict[str, Estimator]:
    found = {}
    for name, errors in data.variants.items():
        ok = np.asarray(np.isfinite(errors).all(axis=1), dtype=bool)
        scored = score_failures(errors, ok, data.baselines.get(CONSTANT))
        found[name] = _estimator(name, scored, ok)
    for name, errors in data.baselines.items():
        found[name] = _estimator(name, errors, None)
    return found


def _default(data: ErrorTable) -> str:
    """What variants are compared with where nobody says."""
    others = [name for name in data.baselines if name != CONSTANT]
    if len(others) == 1:
        return others[0]
    known = ", ".join([*data.variants, *data.baselines])
    raise ValueError(f"against: say what the others are compared with, one of {known}")


def _estimator(name: str, errors: ErrorArray, ok: npt.NDArray[np.bool_] | None) -> Estimator:
    return Estimator(
        name=name,
        is_variant=ok is not None,
        errors=errors,
        scores=errors,
        converged=errors if ok is None else errors[ok],
        beta=np.nan,
        known=False,
        ok=np.array([], dtype=bool) if ok is None else ok,
        means={},
    )
