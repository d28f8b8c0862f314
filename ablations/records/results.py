"""What a finished study is made of, as plain arrays and tables of known columns.

Everything after training (statistics, plots, tables) reads these classes and nothing else; where they come from (the
database of a study or its exports) is the business of the modules beside this one. Methods for notebooks are in
`ablations.notebook`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ablations.study.factors import FACTORS, Level
from ablations.study.problems import nearest
from ablations.study.study import Study
from ablations.study.until import Looks
from linefit.images import LAB_DIM, of_lab_prior

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
    variants: tuple[VariantResults, ...]  # in the order of the study, those that can be evaluated
    yardsticks: Mapping[str, npt.NDArray[np.float64]]  # name -> (M, 2) predictions
    lab_prior: bool = False  # whether the images are independent draws of the lab's generator
    looks: Looks | None = None  # those of the study
    dim: int = LAB_DIM  # side of the images, in pixels


@dataclass(frozen=True)
class LeftOut:
    """An evaluation split of which exports hold no predictions, since those of all nets would take too much room."""

    name: str
    n_images: int
    n_nets: int
    command: str  # makes the predictions again
    table: pd.DataFrame  # the study's own comparison on the split, as its CSV file holds it
    analysis: Mapping[str, Any]  # what that comparison says beyond its table, ready for JSON
    errors: pd.DataFrame  # a row a cell and yardstick, see `ablations.comparison.errors`

    @property
    def note(self) -> str:
        """What is missing, how large it is and how it is made again."""
        return (
            f"The predictions of {self.n_nets:,} nets on the {self.n_images:,} images of {self.name} "
            f"({megabytes(self.n_nets, self.n_images):.3g} MB) are not among the exports; make them again with: "
            f"`{self.command}`"
        )


def megabytes(n_nets: int, n_images: int) -> float:
    """Room that predictions take: two float32 values an image, which no compression makes much smaller."""
    return n_nets * n_images * 8 / 1e6


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
    left_out: Mapping[str, LeftOut] = field(default_factory=dict)  # the other evaluation splits
    looks: Looks | None = None  # at results, that decided on the seeds; None: decided before

    def __post_init__(self) -> None:
        problems = [
            *mistyped("cells", self.cells, CELL_TYPES),
            *mistyped("curves", self.curves, CURVE_TYPES),
        ]
        if problems:
            raise ValueError("\n".join(problems))

    def not_applicable(self, split: str) -> dict[str, str]:
        """Variant -> why it cannot be evaluated on a split, of those that have been trained."""
        trained = set(self.cells["variant"])
        reasons = {v.name: v.not_applicable(split) for v in self.study.variants}
        return {name: why for name, why in reasons.items() if why and name in trained}

    @property
    def sizes(self) -> dict[str, int]:
        """Evaluation split -> images, those included whose predictions were left out."""
        sizes = {split.name: len(split.params) for split in self.splits.values()}
        return sizes | {split.name: split.n_images for split in self.left_out.values()}

    @property
    def largest_split(self) -> str:
        """The evaluation split with most images, of those of the lab's images where there are any."""
        return by_weight(self.sizes)[0]

    def split(self, name: str) -> SplitResults:
        """An evaluation split by name.

        Raises ValueError for one whose predictions were left out, and for an unknown one with the names that there are,
        and the nearest.
        """
        if name in self.splits:
            return self.splits[name]
        if name in self.left_out:
            raise ValueError(self.left_out[name].note)
        names = list(self.sizes)
        hint = nearest(name, names)
        guess = f"; did you mean {hint!r}?" if hint else ""
        raise ValueError(f"split {name!r} is not one of {', '.join(names)}{guess}")


def by_weight(sizes: Mapping[str, int]) -> list[str]:
    """Evaluation splits, the one that speaks first: those of the lab's images before others, by their size."""
    return sorted(sizes, key=lambda name: (not of_lab_prior(name), -sizes[name]))


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
