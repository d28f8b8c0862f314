"""Figures of a study, each a function from `StudyResults` to a matplotlib Figure, and `write_figures` for all of them.

Figures show what `ablations.statistics` computed; nothing here estimates, trains or reads files.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ablations.records.results import StudyResults
from ablations.report.plots.cost import plot_cost
from ablations.report.plots.curves import plot_learning_curves
from ablations.report.plots.gallery import plot_gallery
from ablations.report.plots.mse import plot_mse, plot_slope_intercept
from ablations.report.plots.style import save
from ablations.report.plots.where import plot_where

__all__ = [
    "figure_names",
    "plot_cost",
    "plot_gallery",
    "plot_learning_curves",
    "plot_mse",
    "plot_slope_intercept",
    "plot_where",
    "write_figures",
]


def figure_names(results: StudyResults) -> list[str]:
    """File names, without suffix, of the figures that a study may have, in the order they are read in."""
    of_splits = [
        f"{figure}_{split}"
        for split in results.sizes
        for figure in ("mse", "slope_intercept", "where", "cost", "gallery")
    ]
    return [*of_splits, "learning_curves"]


def write_figures(
    results: StudyResults,
    directory: Path,
    pixels: Mapping[str, npt.NDArray[np.bool_]] | None = None,
) -> list[Path]:
    """Write every figure as PNG and SVG into `directory` (made where it is missing) and return the paths.

    `mse_SPLIT`, `slope_intercept_SPLIT`, `where_SPLIT` and `cost_SPLIT` for every evaluation split, `gallery_SPLIT` for
    every split whose images `(M, dim, dim)` are in `pixels`, and `learning_curves`. The same results, the same bytes.
    """
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for split in results.splits:
        paths += save(plot_mse(results, split), directory / f"mse_{split}")
        paths += save(plot_slope_intercept(results, split), directory / f"slope_intercept_{split}")
        images = None if pixels is None else pixels.get(split)
        paths += save(plot_where(results, split, images), directory / f"where_{split}")
        paths += save(plot_cost(results, split), directory / f"cost_{split}")
        if images is not None:
            gallery = plot_gallery(results, split, images)
            paths += save(gallery, directory / f"gallery_{split}")
    paths += save(plot_learning_curves(results), directory / "learning_curves")
    return paths
