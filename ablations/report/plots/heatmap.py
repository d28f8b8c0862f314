"""Two factors of a balanced grid together: the geometric mean MSE of every combination of their levels."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ablations.comparison.spelling import number
from ablations.report.plots.effects import Grid, effects_data
from ablations.report.plots.style import (
    BLUE,
    GAP,
    INK,
    ORANGE,
    SMALL,
    THEME,
    page,
    shorten,
    text_inches,
    titled,
    wrap,
)
from ablations.statistics.effects import pair_means

CELL = 0.8, 0.34  # inches of a combination
LABEL = 2.5  # inches of a level's name, longer ones are broken
HEAD = 1.5  # inches of that of a column, longer ones are shortened in the middle
# Opacity of the farthest from the average: text on it has a contrast of 5 on light and on dark paper.
STRONGEST = 0.45
HEADER, FOOTER = 0.1, 0.3


def two_factors(grid: Grid) -> tuple[str, str]:
    """The two whose levels differ most; of these the one with more levels gives the rows."""
    first, second = list(dict.fromkeys(effects_data(grid)["factor"]))[:2]
    if grid.levels[first].nunique() < grid.levels[second].nunique():
        return str(second), str(first)
    return str(first), str(second)


def heatmap_data(grid: Grid, factors: tuple[str, str] | None = None) -> pd.DataFrame:
    """A row a combination: `variants` that it has, `ratio` to the geometric mean over the grid with `low`, `high`, and
    `ratio_to_least_squares`, the number that is drawn.
    """
    table = pair_means(grid.levels, grid.means, factors or two_factors(grid))
    return table.assign(ratio_to_least_squares=table["ratio"] * grid.average)


def plot_heatmap(grid: Grid, factors: tuple[str, str] | None = None) -> Figure:
    """Rows and columns are the levels of two factors, by default of those that matter most.

    Raises ValueError for what is no factor that varies.
    """
    rows, columns = factors or two_factors(grid)
    unknown = [factor for factor in (rows, columns) if factor not in grid.levels]
    if unknown or rows == columns:
        raise ValueError(
            f"factors {rows!r}, {columns!r}: two of {', '.join(map(str, grid.levels))} are needed"
        )
    table = heatmap_data(grid, (rows, columns))
    across, down = list(dict.fromkeys(table[columns])), list(dict.fromkeys(table[rows]))
    values = table["ratio_to_least_squares"].to_numpy(np.float64).reshape(len(down), len(across))
    logs = np.log(values / grid.average)
    scale = float(np.abs(logs).max()) or 1.0
    names = [wrap(str(level), LABEL) for level in down]
    heads = [shorten(str(level), HEAD, SMALL) for level in across]
    left = GAP + max(
        text_inches(part, weight="bold") for name in [*names, rows] for part in name.split("\n")
    )
    width = max(CELL[0], max(text_inches(head, SMALL) for head in heads) + GAP)
    height = CELL[1] + 0.14 * max(name.count("\n") for name in names)
    others = [factor for factor in grid.levels if factor not in (rows, columns)]
    over = f", over the levels of {' and '.join(map(str, others))}," if others else ""
    with mpl.rc_context(THEME):
        canvas = page(
            left + width * len(across),
            HEADER + 0.45 + height * len(down) + FOOTER,
            title=titled(grid.title, f"{rows} and {columns} on {grid.split}"),
            note=f"The geometric mean{over} of the MSE as a ratio to that of least squares. Blue is better than the"
            f" average over the grid ({number(grid.average)}), orange worse, on a log scale. {grid.population} The"
            f" intervals, of ratios to the average over the grid, stand in heatmap_{grid.split}.csv.",
        )
        axes = canvas.axes(left, HEADER + 0.45, width * len(across), height * len(down))
        for y, x in np.ndindex(values.shape):
            strength = STRONGEST * abs(float(logs[y, x])) / scale
            colour = BLUE if logs[y, x] < 0 else ORANGE
            axes.add_patch(
                Rectangle((x - 0.5, y - 0.5), 1, 1, color=colour, alpha=strength, linewidth=0)
            )
            axes.text(
                x, y, number(float(values[y, x])), ha="center", va="center", size=SMALL, color=INK
            )
        axes.set(xlim=(-0.5, len(across) - 0.5), ylim=(len(down) - 0.5, -0.5))
        axes.set_xticks(range(len(across)), heads)
        axes.set_yticks(range(len(down)), names)
        axes.tick_params(length=0, labelsize=SMALL, labeltop=True, labelbottom=False)
        axes.tick_params(axis="x", bottom=False)
        axes.xaxis.set_label_position("top")
        axes.set_xlabel(columns, weight="bold")
        axes.set_ylabel("")
        axes.annotate(
            rows,
            (0, 1),
            xycoords="axes fraction",
            xytext=(-4, 8),
            textcoords="offset points",
            ha="right",
            weight="bold",
        )
        axes.grid(visible=False)
        for spine in axes.spines.values():
            spine.set_visible(False)
        return canvas.figure
