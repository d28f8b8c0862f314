"""The comparison that stands for a split whose predictions were left out of the exports: kept, and found again."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from ablations.comparison.scored import find_name
from ablations.records.results import LeftOut
from ablations.statistics import Importance

# Columns that say in every row what a comparison was made with.
SETTINGS = ("split", "n_images", "metric", "against", "margin", "confidence")
COUNTS = {"rank": "Int64", "n_ok": "Int64", "n_seeds": "Int64"}  # none for yardsticks


def records(table: pd.DataFrame) -> Any:
    """The rows of a table as JSON has them."""
    return json.loads(table.to_json(orient="records", double_precision=15))


def importance_document(importance: Importance | None) -> dict[str, Any] | None:
    """Factor importance as JSON has it."""
    if importance is None:
        return None
    return {
        "method": importance.method,
        "noise_share": importance.noise_share,
        "table": records(importance.table),
    }


def stored_comparison(
    left_out: LeftOut, *, against: str | None, metric: str, margin: float, confidence: float
) -> dict[str, Any]:
    """The fields of the `StudyComparison` that was kept, but for its study, split and metric.

    Raises ValueError for another comparison than that one, which would need the predictions.
    """
    table = left_out.table.astype(COUNTS)
    made = {name: table[name].iloc[0] for name in SETTINGS}
    names = list(table["variant"])
    reference = str(made["against"]) if against is None else find_name(against, names, "against")
    asked = {
        "metric": metric,
        "against": reference,
        "margin": margin,
        "confidence": confidence,
    }
    if any(made[name] != value for name, value in asked.items()):
        words = ", ".join(f"{name} {made[name]}" for name in asked)
        raise ValueError(
            f"on {left_out.name} only the comparison with {words} was kept. {left_out.note}"
        )
    analysis = dict(left_out.analysis)
    importance = analysis.pop("importance")
    return {
        **analysis,
        "against": reference,
        "margin": margin,
        "confidence": confidence,
        "n_images": left_out.n_images,
        "table": table.drop(columns=list(SETTINGS)),
        "importance": importance
        and Importance(
            importance["method"],
            pd.DataFrame(importance["table"]),
            importance["noise_share"],
            analysis["importance_note"],
        ),
        "estimators": {},
        "note": left_out.note,
    }
