"""What a finished study is made of, as plain arrays and tables of known columns.

Everything after training (statistics, plots, tables) reads these classes and nothing else; where they come from (the
database of a study or its exports) is the business of the modules beside this one. Methods for notebooks are in
`ablations.notebook`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ablations.study.factors import FACTORS, Level
from ablations.study.problems import nearest
from ablations.study.study import Study

FloatArray = npt.NDArray[np.floating[Any]]


# Columns of `StudyResults.cells` and `.curves`, in order, with pandas' names of their types; a factor's column has
# the type of its levels.
CELL_TYPES: dict[str, str | None] = {
    "key": "str",
    "variant": "str",
    **dict.fromkeys(FACTORS),
    "seed": "int64",
    "status": "str",
    "message": "str",
    "parameters": "Int64",  # none where the net was never built
    "steps": "int64",
    "seconds": "float64",
    "peak_memory_mib": "float64",  # of the worker process during the cell
    "device": "str",
    "threads": "int64",
    "engine_used": "str",  # fused, delta or dense; the factor `engine` is what the study asks for
    "epochs_done": "int64",
    "train_loss": "float64",  # of the last epoch
    "val_mse": "float64",  # of the last epoch
}
CURVE_TYPES: dict[str, str | None] = {
    "variant": "str",
    "seed": "int64",
    "epoch": "int64",  # from 1
    "train_loss": "float64",
    "val_mse": "float64",
}


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
    lab_prior: bool = False  # whether the images are independent draws of the lab's generator


@dataclass(frozen=True)
class StudyResults:
    """A study as far as it has been run.

    `cells` has a row a cell with the columns of `CELL_TYPES`, `curves` a row a cell and epoch with those of
    `CURVE_TYPES`. Raises ValueError for tables with other columns or types.
    """

    study: Study
    cells: pd.DataFrame
    curves: pd.DataFrame
    splits: Mapping[str, SplitResults]  # evaluation splits in the order of the study, never val
    provenance: Mapping[str, Any]  # git commit, dirty flag, versions, hardware

    def __post_init__(self) -> None:
        problems = [
            *mistyped("cells", self.cells, CELL_TYPES),
            *mistyped("curves", self.curves, CURVE_TYPES),
        ]
        if problems:
            raise ValueError("\n".join(problems))

    @property
    def largest_split(self) -> SplitResults:
        """The evaluation split with most images."""
        return max(self.splits.values(), key=lambda split: len(split.params))

    def split(self, name: str) -> SplitResults:
        """An evaluation split by name. Raises ValueError with the names that there are, and the nearest."""
        if name in self.splits:
            return self.splits[name]
        hint = nearest(name, self.splits)
        guess = f"; did you mean {hint!r}?" if hint else ""
        raise ValueError(f"split {name!r} is not one of {', '.join(self.splits)}{guess}")


def typed(frame: pd.DataFrame, types: Mapping[str, str | None]) -> pd.DataFrame:
    """The frame with the columns and types of a schema; text that is missing becomes NaN."""
    ordered = frame.reindex(columns=list(types))
    return ordered.astype({column: kind for column, kind in types.items() if kind is not None})


def mistyped(name: str, frame: pd.DataFrame, types: Mapping[str, str | None]) -> list[str]:
    """What a frame has otherwise than its schema says, one line a problem."""
    if list(frame.columns) != list(types):
        missing = [column for column in types if column not in frame]
        unknown = [str(column) for column in frame if column not in types]
        return [
            f"{name}: columns {missing} are missing, {unknown} are unknown, or their order is not {list(types)}"
        ]
    return [
        f"{name}: column {column!r} has type {frame[column].dtype}, not {kind}"
        for column, kind in types.items()
        if kind is not None and frame[column].dtype != kind
    ]
