"""What a finished study is made of, as plain arrays and tables.

Everything after training (statistics, plots, tables) reads these classes and nothing else; where they come
from (the database of a study or its committed exports) is the business of `ablations.records.store`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from ablations.study.study import Level

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ablations.comparison.study_comparison import StudyComparison

FloatArray = npt.NDArray[np.floating[Any]]
Metric = Literal["mse", "slope", "intercept"]
METRICS: tuple[Metric, ...] = ("mse", "slope", "intercept")


def metric_errors(
    predictions: FloatArray, params: FloatArray, metric: Metric = "mse"
) -> FloatArray:
    """Squared errors `(..., M)` float64 of predictions `(..., M, 2)` of `(slope, intercept)`.

    `mse` is the lab's loss per image: the mean of the squared errors of both outputs. `slope` (no unit)
    and `intercept` (pixels^2) are the two apart. NaN predictions (a failed cell) give NaN errors.
    """
    squared = (np.asarray(predictions, np.float64) - np.asarray(params, np.float64)) ** 2
    if metric == "mse":
        mean: FloatArray = squared.mean(axis=-1)
        return mean
    if metric not in METRICS:
        raise ValueError(f"metric {metric!r} is not one of {', '.join(METRICS)}")
    return squared[..., METRICS.index(metric) - 1]


@dataclass(frozen=True)
class VariantResults:
    """The cells of one variant on one evaluation split, in the order of their seeds."""

    name: str
    levels: Mapping[str, Level]  # factor -> level
    seeds: npt.NDArray[np.int64]  # (K,)
    status: tuple[str, ...]  # K of ok, diverged, oom, error, timeout
    predictions: npt.NDArray[np.float32]  # (K, M, 2); the rows of a cell that is not ok are NaN

    @property
    def ok(self) -> npt.NDArray[np.bool_]:
        """(K,) which cells trained to the end."""
        return np.array([status == "ok" for status in self.status], dtype=bool)


@dataclass(frozen=True)
class SplitResults:
    """Every estimator's predictions on the images of one evaluation split."""

    name: str
    params: npt.NDArray[np.float32]  # (M, 2) true slope and intercept
    variants: tuple[VariantResults, ...]  # in the order of the study
    yardsticks: Mapping[str, npt.NDArray[np.float64]]  # name -> (M, 2) predictions

    def errors(self, variant: VariantResults, metric: Metric = "mse") -> FloatArray:
        """Squared errors `(K, M)` of a variant; NaN rows for cells that failed."""
        return metric_errors(variant.predictions, self.params, metric)

    def yardstick_errors(self, name: str, metric: Metric = "mse") -> FloatArray:
        """Squared errors `(M,)` of a yardstick."""
        return metric_errors(self.yardsticks[name], self.params, metric)


@dataclass(frozen=True)
class Results:
    """A study as far as it has been run.

    `cells` has a row a cell: `key`, `variant`, a column a factor, `seed`, `status`, `message`, `parameters`, `steps`,
    `seconds`, `peak_memory_mib` (of the worker process during the cell), `device`, `threads`, `engine_used` (delta or
    dense), `epochs_done` and the last epoch's `train_loss` and `val_mse`. `curves` has a row a cell and epoch:
    `variant`, `seed`, `epoch` (from 1), `train_loss`, `val_mse`.
    """

    study: str
    title: str
    factors: tuple[str, ...]
    protocol: Mapping[str, Any]
    cells: pd.DataFrame
    curves: pd.DataFrame
    splits: Mapping[str, SplitResults]  # evaluation splits in the order of the study, never val
    provenance: Mapping[str, Any]  # git commit, dirty flag, versions, hardware
    published: Mapping[
        str, float
    ]  # variant -> test MSE of the one published report, where there is one
    against: str = "least_squares"  # what the study compares its variants with
    margin: float = (
        1.25  # ratio below which the study calls a variant as good as what it is compared with
    )

    def to_frame(self, metric: Metric = "mse") -> pd.DataFrame:
        """A row a cell and evaluation split: `split`, `variant`, a column a factor, `seed`, `status` and the mean of
        the metric over the split's images, NaN for a cell that is not ok.
        """
        rows = [
            {
                "split": split.name,
                "variant": variant.name,
                **variant.levels,
                "seed": int(seed),
                "status": status,
                metric: float(errors.mean()),
            }
            for split in self.splits.values()
            for variant in split.variants
            for seed, status, errors in zip(
                variant.seeds, variant.status, split.errors(variant, metric), strict=True
            )
        ]
        return pd.DataFrame(rows)

    # The methods below are for notebooks. What they call reads this module, so it is imported when it is needed.

    def compare(self, **options: Any) -> StudyComparison:
        """`compare_study` on the largest evaluation split, against what the study declares."""
        from ablations.comparison.study_comparison import compare_study

        largest = max(self.splits.values(), key=lambda split: len(split.params)).name
        return compare_study(
            self, **{"split": largest, "against": self.against, "margin": self.margin, **options}
        )

    def plot_mse(self, split: str | None = None) -> Figure:
        """`ablations.report.plots.plot_mse`, by default on the study's first evaluation split."""
        from ablations.report.plots import plot_mse

        return plot_mse(self, split or next(iter(self.splits)))

    def plot_slope_intercept(self, split: str | None = None) -> Figure:
        """`ablations.report.plots.plot_slope_intercept`, by default on the study's first evaluation split."""
        from ablations.report.plots import plot_slope_intercept

        return plot_slope_intercept(self, split or next(iter(self.splits)))

    def plot_learning_curves(self) -> Figure:
        """`ablations.report.plots.plot_learning_curves`."""
        from ablations.report.plots import plot_learning_curves

        return plot_learning_curves(self)
