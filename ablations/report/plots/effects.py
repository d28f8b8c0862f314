"""What each ingredient does in a balanced grid: effects of levels, two factors together, and shares of the variance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from ablations.comparison.scored import Estimator
from ablations.comparison.spelling import number
from ablations.records.results import StudyResults
from ablations.report.plots.bars import Bar, Group, plot_groups
from ablations.report.plots.layout import level_table
from ablations.report.plots.levels import ordered, varied
from ablations.report.plots.style import titled
from ablations.statistics import Importance
from ablations.statistics.effects import LogMeans, balanced, level_effects

MOST_LEVELS = 16  # of a factor; of more the best and the worst are drawn
MOST_TERMS = 12


@dataclass(frozen=True)
class Grid:
    """A balanced grid of two factors or more, on one split."""

    title: str
    split: str
    n_images: int
    levels: (
        pd.DataFrame
    )  # a row a variant, a column a factor that varies, levels in the order of the figures
    means: LogMeans
    reference: float  # MSE of least squares

    @property
    def population(self) -> str:
        """What is averaged over and what intervals hold for."""
        return (
            f"MSE is over all seeds (failed ones count as the constant predictor) and the {self.n_images:,} images of"
            f" {self.split}. 95% intervals hold for new seeds and new images (crossed, on the log scale)."
        )

    @property
    def average(self) -> float:
        """The geometric mean of all, as a ratio to least squares."""
        return (
            float(self.means.ratio(self.means.logs * 0 + 1 / len(self.levels)).value)
            / self.reference
        )


def grid_of(results: StudyResults, split: str, known: Mapping[str, Estimator]) -> Grid | None:
    """None where fewer than two factors vary or combinations are missing: levels then tell nothing by themselves."""
    data = results.split(split)
    table = level_table(results, data)
    factors = varied(table)
    if len(factors) < 2 or not balanced(table[factors]):
        return None
    places = pd.DataFrame(
        {f: [ordered(table[f]).index(level) for level in table[f]] for f in factors},
        index=table.index,
    )
    table = table[factors].loc[places.sort_values(factors).index]
    scores = {str(name): known[str(name)].scores for name in table.index}
    means = LogMeans(scores)  # type: ignore[arg-type]  # of variants, which have arrays
    reference = float(known["least_squares"].scores.mean())
    return Grid(results.study.title, split, len(data.params), table, means, reference)


def effects_data(grid: Grid) -> pd.DataFrame:
    """`level_effects`, the factor whose levels differ most first."""
    table = level_effects(grid.levels, grid.means)
    span = table.groupby("factor")["ratio"].agg(lambda ratios: ratios.max() / ratios.min())
    order = table["factor"].map(span).sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)


def plot_effects(grid: Grid) -> Figure:
    """Each level's geometric mean MSE as a ratio to that of the whole grid, factors by how much their levels differ."""
    table = effects_data(grid)
    groups = []
    for factor, rows in table.groupby("factor", sort=False):
        bars = [
            Bar(str(row["level"]), row["ratio"], row["low"], row["high"])
            for row in rows.to_dict("records")
        ]
        heading = f"{factor} ({bars_span(rows):.1f}x)"
        if len(bars) > MOST_LEVELS:
            bars = sorted(bars, key=lambda bar: bar.value)
            half = MOST_LEVELS // 2
            heading = f"{factor} ({half} best, {half} worst of {len(bars)})"
            bars = [*bars[:half], *bars[-half:]]
        groups.append(Group(heading, bars))
    return plot_groups(
        groups,
        title=titled(grid.title, f"what each level does on {grid.split}"),
        note="The geometric mean of the MSE over all variants with a level, as a ratio to that over the whole grid of"
        f" {len(grid.levels):,} variants, which is {number(grid.average)} times the MSE of least squares: left of the"
        f" line is better than average. {grid.population} Beside a factor: its worst level's error over its best one's."
        " What a level does may depend on what it is combined with: see the figure of two factors.",
        label="MSE as a ratio to the geometric mean over the grid (log scale)",
        log=True,
        at=1.0,
    )


def bars_span(rows: pd.DataFrame) -> float:
    """Error of the worst level over that of the best."""
    return float(rows["ratio"].max() / rows["ratio"].min())


def plot_importance(
    importance: Importance,
    *,
    title: str,
    split: str,
    note: str,
    measure: str = "MSE",
    items: str = "images",
) -> Figure:
    """Shares of the variance of a log error: of effects, and of factors with all that they take part in (Shapley)."""
    table = importance.table
    shares = "share" in table
    value = "share" if shares else "omega_squared"
    groups = []
    words = {
        "effect": "effects, alone and together",
        "shapley": "all effects of a factor (Shapley)",
    }
    for kind, rows in table.groupby("kind", sort=False):
        kept = rows.sort_values(value, ascending=False, kind="stable").head(MOST_TERMS)
        more = f", {MOST_TERMS} largest of {len(rows)}" if len(rows) > MOST_TERMS else ""
        bars = [
            Bar(
                str(row["term"]),
                row[value],
                row.get("low", float("nan")),
                row.get("high", float("nan")),
            )
            for row in kept.to_dict("records")
        ]
        groups.append(Group(words[str(kind)] + more, bars))
    read = (
        "Shares of effects add up to 100%, and so do Shapley shares, which split every interaction evenly among its"
        f" factors. Noise of seeds and {items} is taken off, so that the share of an effect that is not there scatters"
        f" about 0; 95% intervals for new seeds and new {items} by the crossed bootstrap."
        if shares
        else "Omega squared, without intervals."
    )
    return plot_groups(
        groups,
        title=titled(title, f"which factor buys how much on {split}"),
        note=f"{read} Method: {note}.",
        label=f"share of the variance of log {measure} between variants",
        log=False,
        at=0.0,
        shares=shares,
    )
