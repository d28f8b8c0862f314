"""What every cell and yardstick erred on each evaluation split, as one table of numbers."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
import pandas as pd

from ablations.comparison.aggregates import AGGREGATES
from ablations.comparison.metrics import METRICS, Metric, variant_errors, yardstick_errors
from ablations.comparison.scored import PARTS, cell_scores, known_split, yardstick_score
from ablations.records.results import SplitResults, StudyResults

NOT_APPLICABLE = "not applicable"  # in the place of a cell's status


def error_table(
    results: StudyResults, metrics: Collection[Metric] = tuple(METRICS.values())
) -> pd.DataFrame:
    """A row a cell, then a row a yardstick, of each split: `split, kind, estimator, seed, status, n_images`; then

    - the errors on these images, a column a metric (`mse`, `slope_mse`, `intercept_mse`, `median_squared_error`,
      `line_distance`; or of `metrics`): means over images, and one median; NaN for cells that are not ok;
    - `mse_score`, `slope_mse_score`, `intercept_mse_score`: what the means of comparisons are taken of. A cell that is
      not ok counts as the constant predictor; where the population of the images is known, yardsticks have their exact
      values and the noise of the drawn lines is taken out of those of nets;
    - `regret`: the mean squared distance from the posterior mean, NaN where that is not known.

    Cells of variants that cannot be evaluated on a split have the status `not applicable` there, and no errors.
    """
    frames = [pd.DataFrame(list(_rows(split, metrics))) for split in results.splits.values()]
    frames += [pd.DataFrame(_not_applicable(results, split)) for split in results.splits.values()]
    frames += [split.errors for split in results.left_out.values()]
    return pd.concat(frames, ignore_index=True).astype({"seed": "Int64"})


def _rows(split: SplitResults, metrics: Collection[Metric]) -> Iterator[dict[str, Any]]:
    known = known_split(split, "mse")
    for variant in split.variants:
        errors = {
            metric.column: [
                AGGREGATES[metric.aggregate].point(row)
                for row in variant_errors(split, variant, metric.name)
            ]
            for metric in metrics
        }
        scores = {
            f"{METRICS[part].column}_score": cell_scores(split, variant, part).mean(axis=1)
            for part in PARTS
        }
        regrets = np.full(len(variant.seeds), np.nan)
        if known is not None:
            regrets = known.regrets(variant.predictions).mean(axis=1)
        columns = {**errors, **scores, "regret": regrets}
        for k, seed in enumerate(variant.seeds):
            yield {
                **_facts(split, "variant", variant.name, int(seed), variant.status[k]),
                **{column: float(values[k]) for column, values in columns.items()},
            }
    for name, predictions in split.yardsticks.items():
        yield {
            **_facts(split, "yardstick", name, None, "ok"),
            **{
                metric.column: AGGREGATES[metric.aggregate].point(
                    yardstick_errors(split, name, metric.name)
                )
                for metric in metrics
            },
            **{
                f"{METRICS[part].column}_score": yardstick_score(split, name, part)
                for part in PARTS
            },
            "regret": np.nan if known is None else float(known.regrets(predictions).mean()),
        }


def _not_applicable(results: StudyResults, split: SplitResults) -> list[dict[str, Any]]:
    cells = results.cells[results.cells["variant"].isin(results.not_applicable(split.name))]
    return [
        _facts(split, "variant", name, int(seed), NOT_APPLICABLE)
        for name, seed in zip(cells["variant"], cells["seed"], strict=True)
    ]


def _facts(
    split: SplitResults, kind: str, estimator: str, seed: int | None, status: str
) -> dict[str, Any]:
    return {
        "split": split.name,
        "kind": kind,
        "estimator": estimator,
        "seed": seed,
        "status": status,
        "n_images": len(split.params),
    }
