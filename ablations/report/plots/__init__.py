"""Figures of a study, each a function from `StudyResults` to a matplotlib Figure, and `write_figures` for all of them.

Figures show what `ablations.statistics` computed; nothing here trains or reads files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from ablations.comparison.scored import Estimator, estimators
from ablations.comparison.study_comparison import StudyComparison
from ablations.records.files import write_csv
from ablations.records.results import StudyResults
from ablations.report.plots.against import against_of, plot_against
from ablations.report.plots.beats import beats_of, plot_beats
from ablations.report.plots.cost import cost_data, plot_cost
from ablations.report.plots.curves import plot_learning_curves
from ablations.report.plots.effects import effects_data, grid_of, plot_effects, plot_importance
from ablations.report.plots.facets import facets_of, plot_facets
from ablations.report.plots.gallery import gallery_data, plot_gallery
from ablations.report.plots.heatmap import heatmap_data, plot_heatmap
from ablations.report.plots.medians import median_curves
from ablations.report.plots.mse import mse_data, plot_mse, plot_slope_intercept
from ablations.report.plots.profiles import plot_profiles, profiles_of
from ablations.report.plots.style import save
from ablations.report.plots.where import plot_where, where_data

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

Pixels = npt.NDArray[np.bool_]
OF_A_SPLIT = (
    "mse",
    "facets",
    "effects",
    "heatmap",
    "importance",
    "slope_intercept",
    "where",
    "against",
    "beats",
    "profiles",
    "cost",
    "gallery",
)
LEARNING_CURVES = "learning_curves"
SUFFIXES = ("png", "svg", "csv")


def figure_names(results: StudyResults) -> list[str]:
    """File names, without suffix, of the figures that a study may have, in the order they are read in."""
    return [
        *(f"{kind}_{split}" for split in results.sizes for kind in OF_A_SPLIT),
        LEARNING_CURVES,
    ]


def write_figures(
    results: StudyResults,
    directory: Path,
    pixels: Mapping[str, Pixels] | None = None,
    comparisons: Mapping[str, StudyComparison] | None = None,
) -> list[Path]:
    """Write every figure as PNG and SVG into `directory` (made where it is missing), beside it as CSV the numbers that
    it draws, and return the paths.

    Of every evaluation split those that the study has enough of (`OF_A_SPLIT`), `gallery_SPLIT` for splits whose images
    `(M, dim, dim)` are in `pixels`, and `learning_curves`. `comparisons`: split -> the study's own comparison, where it
    is at hand. The same results, the same bytes. Figures of these splits that are no longer drawn are removed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for split in results.splits:
        comparison = (comparisons or {}).get(split)
        for kind, figure, data in of_split(results, split, (pixels or {}).get(split), comparison):
            paths += _write(directory / f"{kind}_{split}", figure, data)
    curves = plot_learning_curves(results)
    paths += _write(directory / LEARNING_CURVES, curves, median_curves(results).table())
    for split, kind, suffix in product(results.splits, OF_A_SPLIT, SUFFIXES):
        path = directory / f"{kind}_{split}.{suffix}"
        if path not in paths:
            path.unlink(missing_ok=True)
    return paths


def of_split(
    results: StudyResults, split: str, pixels: Pixels | None, comparison: StudyComparison | None
) -> Iterator[tuple[str, Figure, pd.DataFrame]]:
    """Kind, figure and numbers of what is drawn of a split, one at a time: of large studies they take much memory.

    Nothing of a split that no net can be evaluated on.
    """
    if not results.split(split).variants:
        return
    known = _known(results, split, comparison)
    yield "mse", plot_mse(results, split, known=known), mse_data(results, split, known=known)
    facets = facets_of(results, split, known=known)
    if facets is not None:
        yield "facets", plot_facets(facets), facets.table
    grid = grid_of(results, split, known)
    if grid is not None:
        yield "effects", plot_effects(grid), effects_data(grid)
        yield "heatmap", plot_heatmap(grid), heatmap_data(grid)
    if comparison is not None and comparison.importance is not None:
        found, words = comparison.importance, comparison.importance_note
        title = results.study.title
        yield (
            "importance",
            plot_importance(found, title=title, split=split, note=words),
            found.table,
        )
    both = ("slope", "intercept")
    yield (
        "slope_intercept",
        plot_slope_intercept(results, split, known=known),
        mse_data(results, split, metrics=both, known=known),
    )
    yield (
        "where",
        plot_where(results, split, pixels, known=known),
        where_data(results, split, pixels, known=known),
    )
    against = against_of(results, split, known=known)
    yield "against", plot_against(against), against.table
    beats = beats_of(results, split, known=known)
    yield "beats", plot_beats(beats), beats.table
    profiles = profiles_of(results, split, known=known)
    yield "profiles", plot_profiles(profiles), profiles.table
    yield "cost", plot_cost(results, split, known=known), cost_data(results, split, known=known)
    if pixels is not None:
        yield (
            "gallery",
            plot_gallery(results, split, pixels, known=known),
            gallery_data(results, split, known=known),
        )


def _known(
    results: StudyResults, split: str, comparison: StudyComparison | None
) -> Mapping[str, Estimator]:
    """The split's estimators by MSE: those of the comparison where it is one of MSE."""
    if comparison is None or comparison.metric.name != "mse" or not comparison.estimators:
        return estimators(results.split(split), "mse")
    return comparison.estimators


def _write(stem: Path, figure: Figure, data: pd.DataFrame) -> list[Path]:
    path = stem.with_name(f"{stem.name}.csv")
    write_csv(path, data)
    return [*save(figure, stem), path]
