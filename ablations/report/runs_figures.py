"""Figures of runs from anywhere: every variant's error with its seeds, what each level does, factor importance.

Those of studies, which know lines and images, are in `ablations.report.plots`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ablations.comparison.study_comparison import StudyComparison
from ablations.records.files import write_csv
from ablations.report.plots.bars import Bar, Group, plot_groups
from ablations.report.plots.effects import plot_importance
from ablations.report.plots.style import save
from ablations.statistics.effects import LogMeans, balanced, level_effects

KINDS = ("errors", "effects", "importance")
MOST = 100  # variants of which all are drawn
ENDS = 30, 15  # best and worst that are drawn of more


def write_figures(comparison: StudyComparison, levels: pd.DataFrame, directory: Path) -> list[Path]:
    """Write the figures of `KINDS` that the runs have enough of, as PNG and SVG, and their numbers as CSV.

    `levels`: a row a variant, a column a factor. Figures of earlier runs that are not drawn are removed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for kind, figure, data in _figures(comparison, levels):
        path = directory / f"{kind}.csv"
        write_csv(path, data)
        paths += [*save(figure, directory / kind), path]
    for kind in KINDS:
        for path in (directory / f"{kind}.{suffix}" for suffix in ("png", "svg", "csv")):
            if path not in paths:
                path.unlink(missing_ok=True)
    return paths


def _figures(
    comparison: StudyComparison, levels: pd.DataFrame
) -> Iterator[tuple[str, Figure, pd.DataFrame]]:
    table = errors_data(comparison)
    yield "errors", plot_errors(comparison, table), table
    effects = effects_data(comparison, levels)
    if effects is not None:
        yield "effects", plot_effects(comparison, effects), effects
    if comparison.importance is not None:
        figure = plot_importance(
            comparison.importance,
            title=comparison.study,
            split=f"{comparison.n_images:,} {comparison.metric.items}",
            note=comparison.importance_note,
            measure=comparison.metric.words,
            items=comparison.metric.items,
        )
        yield "importance", figure, comparison.importance.table


def errors_data(comparison: StudyComparison) -> pd.DataFrame:
    """A row a mean and a seed: `estimator`, `kind`, `what` = `mean` or `seed`, `value`, `low`, `high`."""
    rows = []
    for row in comparison.table.to_dict("records"):
        name = row["variant"]
        facts = {"estimator": name, "kind": row["kind"]}
        value = row[comparison.metric.column]
        rows.append(
            facts | {"what": "mean", "value": value, "low": row["low"], "high": row["high"]}
        )
        if row["kind"] == "variant":
            by_seed = np.asarray(comparison.estimators[name].scores).mean(axis=1)
            rows += [facts | {"what": "seed", "value": float(seed)} for seed in by_seed]
    return pd.DataFrame(rows)


def plot_errors(comparison: StudyComparison, table: pd.DataFrame) -> Figure:
    """Every variant's mean error with its interval and its seeds, best first, then what has no seeds."""
    groups = []
    for kind, words in (("variant", "variants"), ("yardstick", "without seeds")):
        rows = table[table["kind"] == kind]
        if rows.empty:
            continue
        names = list(dict.fromkeys(rows["estimator"]))
        heading = words
        if len(names) > MOST:
            best, worst = ENDS
            heading = f"{words}: {best} best, {worst} worst of {len(names):,}"
            names = [*names[:best], *names[-worst:]]
        groups.append(
            Group(heading, [_bar(name, rows[rows["estimator"] == name]) for name in names])
        )
    against = table[(table["estimator"] == comparison.against) & (table["what"] == "mean")]
    words, items = comparison.metric.words, comparison.metric.items
    return plot_groups(
        groups,
        title=f"{comparison.study}: {words} by variant",
        note=f"A dot is one seed's mean over the {comparison.n_images:,} {items}, a diamond the mean of all. "
        f"{comparison.confidence:.0%} intervals hold for new seeds and new {items} (crossed, on the log scale) and "
        f"need 3 seeds; of what has no seeds, for new {items} alone. The line is {comparison.reference}.",
        label=words + (" (log scale)" if _positive(table) else ""),
        log=_positive(table),
        at=float(against["value"].iloc[0]),
    )


def _positive(table: pd.DataFrame) -> bool:
    """Whether all that is drawn has a logarithm."""
    drawn = table[["value", "low", "high"]].to_numpy(np.float64)
    return bool((drawn[np.isfinite(drawn)] > 0).all())


def _bar(name: str, rows: pd.DataFrame) -> Bar:
    mean = rows[rows["what"] == "mean"].iloc[0]
    seeds = rows.loc[rows["what"] == "seed", "value"]
    return Bar(name, mean["value"], mean["low"], mean["high"], tuple(seeds))


def effects_data(comparison: StudyComparison, levels: pd.DataFrame) -> pd.DataFrame | None:
    """`level_effects`, the factor whose levels differ most first; None but for balanced grids of two factors."""
    factors = [factor for factor in levels if levels[factor].nunique() > 1]
    if len(factors) < 2 or not balanced(levels[factors]):
        return None
    scores = {
        str(name): np.asarray(comparison.estimators[str(name)].scores) for name in levels.index
    }
    if any(values.mean() <= 0 for values in scores.values()):
        return None
    table = level_effects(levels[factors], LogMeans(scores), comparison.confidence)
    span = table.groupby("factor")["ratio"].agg(lambda ratios: ratios.max() / ratios.min())
    order = table["factor"].map(span).sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)


def plot_effects(comparison: StudyComparison, table: pd.DataFrame) -> Figure:
    """Each level's geometric mean error as a ratio to that of the whole grid."""
    groups = [
        Group(
            f"{factor} ({rows['ratio'].max() / rows['ratio'].min():.1f}x)",
            [
                Bar(str(row["level"]), row["ratio"], row["low"], row["high"])
                for row in rows.to_dict("records")
            ],
        )
        for factor, rows in table.groupby("factor", sort=False)
    ]
    words, items = comparison.metric.words, comparison.metric.items
    return plot_groups(
        groups,
        title=f"{comparison.study}: what each level does",
        note=f"The geometric mean of the {words} over all variants with a level, as a ratio to that over the whole "
        "grid: left of the line is better than average. Beside a factor: its worst level over its best one. "
        f"{comparison.confidence:.0%} intervals hold for new seeds and new {items} (crossed, on the log scale). What a "
        "level does may depend on what it is combined with.",
        label=f"{words} as a ratio to the geometric mean over the grid (log scale)",
        log=True,
        at=1.0,
    )
