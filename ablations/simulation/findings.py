"""What a simulation found: one share of replications a row, what was promised, and the page that shows it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from ablations.simulation.populations import Distribution, Setting


@dataclass(frozen=True)
class Finding:
    """A share of replications: how often `quantity` happened in a setting, and what was promised."""

    study: str  # coverage, type I error, family-wise error, size, power, negative control
    quantity: str
    distribution: Distribution
    n_seeds: int
    n_images: int
    seed_sd: float
    ratio: float
    observed: float
    standard_error: float  # Monte Carlo
    low: float  # the promise; NaN where there is none
    high: float
    replications: int

    @property
    def kept(self) -> bool | None:
        """Whether the observed share is where it should be; None where nothing was promised."""
        if np.isnan(self.low):
            return None
        return self.low <= self.observed <= self.high


def finding(
    study: str,
    quantity: str,
    setting: Setting,
    happened: Iterable[bool],
    promise: tuple[float, float] = (np.nan, np.nan),
) -> Finding:
    """The share of `happened`, one truth value a replication."""
    outcomes = np.asarray(list(happened), dtype=np.float64)
    share = float(outcomes.mean())
    return Finding(
        study,
        quantity,
        **asdict(setting),
        observed=share,
        standard_error=float(np.sqrt(share * (1 - share) / len(outcomes))),
        low=promise[0],
        high=promise[1],
        replications=len(outcomes),
    )


HEADER = (
    *("study", "quantity", "distribution", "seeds", "images", "seed sd", "ratio"),
    *("observed", "promise", "replications"),
)


def _cells(row: Mapping[Hashable, Any]) -> list[str]:
    """A row of the table under `HEADER`."""
    return [
        row["study"],
        row["quantity"],
        row["distribution"],
        f"{row['n_seeds']}",
        f"{row['n_images']:,}",
        f"{row['seed_sd']:g}",
        f"{row['ratio']:g}",
        f"{row['observed']:.3f} ± {row['standard_error']:.3f}",
        "" if np.isnan(row["low"]) else f"{row['low']:g} to {row['high']:g}",
        f"{row['replications']:,}",
    ]


def _summary(coverage: pd.DataFrame) -> list[str]:
    """The range of observed shares: a row a quantity, a column a distribution and number of images."""
    groups = coverage.groupby(["quantity", "distribution", "n_images"], sort=False)["observed"]
    spread = groups.agg(lambda x: f"{x.min():.2f} to {x.max():.2f}").unstack([1, 2]).fillna("")
    columns = [f"{column[0]}, {int(column[1]):,}" for column in spread.columns]
    header = ["quantity", *columns]
    lines = [f"|{'|'.join(header)}|", "|---" * len(header) + "|"]
    lines += [f"|{'|'.join([str(row[0]), *row[1:]])}|" for row in spread.itertuples()]
    return [*lines, ""]


def to_markdown(table: pd.DataFrame, command: str) -> str:
    """The table as a page, with the command that made it and what falls outside its promise on top."""
    broken = table[table["kept"].eq(False)]
    promised = table["kept"].notna()
    lines = [
        "# Simulated error rates of the statistics",
        "",
        f"Made by `{command}`.",
        "",
        "Shares of replications with their Monte Carlo standard error; the promise is the band in which the",
        "share should be. How the distributions are drawn is in `ablations/simulation/populations.py`; what holds",
        "on images of the lab, whose tail is heavier still, is in [risk.md](risk.md).",
        "",
        "Where promises are not kept: intervals of the ratio of two variants err wide where seeds have no effect,",
        "because their variance is the larger of two estimates of the same noise. Where 1% of the images hold a third",
        "of the error (`very heavy`), intervals of a mean over 500 images are too short.",
        "",
        f"{len(broken)} of {int(promised.sum())} promises are not kept"
        + (":" if len(broken) else "."),
        "",
    ]
    lines += ["## Coverage of 95% intervals, lowest and highest over seeds and seed sd", ""]
    lines += _summary(table[table["study"].isin(["coverage", "negative control"])])
    for title, rows in (("Outside", broken), ("All", table)):
        if rows.empty:
            continue
        lines += [f"## {title}", "", f"|{'|'.join(HEADER)}|", "|---" * len(HEADER) + "|"]
        lines += [f"|{'|'.join(cells)}|" for cells in map(_cells, rows.to_dict("records"))]
        lines.append("")
    return "\n".join(lines)
