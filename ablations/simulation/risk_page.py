"""The page of `ablations.simulation.risk`: its table for people, with what is not kept on top."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

HEADER = (
    *("study", "quantity", "process", "seeds", "images", "ratio", "before", "now", "promise"),
    "replications",
)


def kept(table: pd.DataFrame) -> pd.Series[Any]:
    """Whether a share is where it was promised to be, up to two Monte Carlo errors; NA without a promise."""
    # where all covered, the error of a share of .95 rather than none
    least = np.sqrt(0.95 * 0.05 / table["replications"])
    slack = 2 * np.maximum(table["standard_error"], least)
    inside = (table["low"] - slack <= table["now"]) & (table["now"] <= table["high"] + slack)
    promised: pd.Series[Any] = inside.astype("boolean").where(table["low"].notna())
    return promised


def to_markdown(table: pd.DataFrame, command: str) -> str:
    """The table as a page, with the command that made it."""
    promised = kept(table)
    broken = table[promised.eq(False).fillna(False)]
    coverage = table[table["study"] == "coverage"]
    lines = [
        "# Simulated error rates on images of the lab",
        "",
        f"Made by `{command}`.",
        "",
        "`before` is the analysis of squared errors, paired with those of least squares on the same images; `now`",
        "that of regrets with a control variate and known yardsticks (`ablations/statistics/risk.py`). A figure is the",
        "share of replications, after `/` the median half-width of the interval on the log scale. Nets are made up on",
        "generated images as `ablations/simulation/nets.py` says; `lab nets` have the spread of seeds and images that",
        "those of `results/lab5` have. Five seeds cannot show what happens to one in ten: where seeds fail tenfold, or",
        "cells fail, no interval covers, before or now; the test for outlying seeds and the sentence on what K seeds",
        "rule out stand in for it.",
        "",
        f"{len(broken)} of {int(promised.notna().sum())} promises are not kept (by more than two Monte Carlo errors)"
        + (":" if len(broken) else "."),
        "",
        *(_table(broken) if len(broken) else []),
        "## Ratio to least squares, 5 seeds: coverage / half-width, before -> now",
        "",
        *_ratios(coverage[(coverage["quantity"] == "ratio") & (coverage["n_seeds"] == 5)]),
        "## All",
        "",
        *_table(table),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _figure(share: float, half_width: float) -> str:
    if np.isnan(share):
        return ""
    return f"{share:.3f}" if np.isnan(half_width) else f"{share:.3f}/{half_width:.2g}"


def _ratios(rows: pd.DataFrame) -> list[str]:
    """A row a process and ratio, a column a number of images."""
    sizes = sorted(rows["n_images"].unique())
    lines = [
        "| process | true ratio | " + " | ".join(f"{n:,} images" for n in sizes) + " |",
        "| --- " * (2 + len(sizes)) + "|",
    ]
    for (process, ratio), some in rows.groupby(["process", "ratio"], sort=False):
        by_size = some.set_index("n_images")
        cells = [
            f"{_figure(row['before'], row['before_half_width'])} -> {_figure(row['now'], row['now_half_width'])}"
            for row in (by_size.loc[n] for n in sizes)
        ]
        lines.append(f"| {process} | {ratio:g} | {' | '.join(cells)} |")
    return [*lines, ""]


def _table(rows: pd.DataFrame) -> list[str]:
    lines = ["| " + " | ".join(HEADER) + " |", "| --- " * len(HEADER) + "|"]
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in rows.to_dict("records")]
    return [*lines, ""]


def _cells(row: Mapping[Hashable, Any]) -> list[str]:
    return [
        row["study"],
        row["quantity"],
        row["process"],
        f"{row['n_seeds']}",
        f"{row['n_images']:,}",
        f"{row['ratio']:g}",
        _figure(row["before"], row["before_half_width"]),
        f"{_figure(row['now'], row['now_half_width'])} ± {row['standard_error']:.3f}",
        "" if np.isnan(row["low"]) else f"{row['low']:g} to {row['high']:g}",
        f"{row['replications']:,}",
    ]
