"""The page of `ablations.simulation.until`: its table for people."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd

HEADER = (
    *("rule", "process", "images", "ratio", "covered: plain", "shared", "wrong: plain", "shared"),
    *("seeds: plain", "shared", "not reached", "replications"),
)
PROMISE = 0.95


def kept(table: pd.DataFrame) -> pd.Series[Any]:
    """Whether shared intervals cover as often as promised, up to two Monte Carlo errors."""
    least = np.sqrt(PROMISE * (1 - PROMISE) / table["replications"])
    slack = 2 * np.maximum(table["standard_error"], least)
    covers: pd.Series[Any] = table["shared"] >= PROMISE - slack
    return covers


def to_markdown(table: pd.DataFrame, command: str) -> str:
    """The table as a page, with the command that made it."""
    short = table[~kept(table)]
    names = ", ".join(dict.fromkeys(short["process"]))
    lines = [
        "# Simulated runs that add seeds until something is clear",
        "",
        f"Made by `{command}`.",
        "",
        "Runs look at 5, 8, 11, 17, 26 and 40 seeds and stop by a rule. `plain` ones stop and report by 95% intervals",
        "and p-values of a single look, `shared` ones by those of `--until`, which share the 5% equally among the six",
        "looks. `covered`: share of runs whose last interval of the ratio to least squares holds the truth; `wrong`:",
        "that end with a wrong verdict (one variant, margin 1.25); `not reached`: of shared runs, at 40 seeds.",
        "`any look` asks of every run for all six intervals at once, and for no wrong verdict at any: no rule whatever",
        "can do worse. Nets are made up as `ablations/simulation/nets.py` says.",
        "",
        "Where seeds or cells fail once in three to ten, no interval covers, whenever a run stops (see",
        "[risk.md](risk.md)): narrow ones come of runs that have not met a failure yet. With Pareto tails `any look`",
        "falls short, by the few images that hold the error: all looks see the same.",
        "",
        f"{len(short)} of {len(table)} shares of covered runs are below 95% by more than two Monte Carlo errors"
        + (f": {names}." if len(short) else "."),
        "",
        "| " + " | ".join(HEADER) + " |",
        "| --- " * len(HEADER) + "|",
        *("| " + " | ".join(_cells(row)) + " |" for row in table.to_dict("records")),
    ]
    return "\n".join(lines) + "\n"


def _cells(row: Mapping[Hashable, Any]) -> list[str]:
    def shown(value: float, digits: int) -> str:
        return "" if np.isnan(value) else f"{value:.{digits}f}"

    return [
        row["rule"],
        row["process"],
        f"{row['n_images']:,}",
        f"{row['ratio']:g}",
        shown(row["plain"], 3),
        f"{row['shared']:.3f} ± {row['standard_error']:.3f}",
        shown(row["plain_wrong"], 3),
        shown(row["shared_wrong"], 3),
        shown(row["plain_seeds"], 1),
        shown(row["shared_seeds"], 1),
        shown(row["at_the_cap"], 2),
        f"{row['replications']:,}",
    ]
