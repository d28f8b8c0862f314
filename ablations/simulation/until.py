"""Do intervals hold where seeds are added until they are narrow, or until a verdict is clear?

`python -m ablations.simulation.until` writes `results/statistics/until.csv` and `until.md`. Nets are those of `nets`.
`plain` runs stop and report by intervals and p-values of a single look, `shared` ones by those that share the error
among all looks (`ablations.statistics.looks`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from ablations.simulation.nets import NetSetting, Process, draw_run, true_mse
from ablations.simulation.risk import NEAR_LEAST_SQUARES, least_squares_risk, scores
from ablations.simulation.runner import Planned, Simulation, run_settings
from ablations.simulation.until_page import to_markdown
from ablations.statistics import Known, compare_estimators, spent_confidence, spent_p
from ablations.statistics.crossed import FloatArray

LOOKS = (5, 8, 11, 17, 26, 40)  # seeds, as `--until` has them by default
LEVEL, MARGIN = 0.05, 1.25
WITHIN = 1.5  # ratio within 50%: what nets with the lab's spread of seeds reach at some look
# processes with other true ratios than their own
BESIDE: tuple[tuple[Process, float], ...] = (
    ("lab nets", 1.0),
    ("lab nets", MARGIN),
    ("log-normal seeds", 1.0),
)
MORE_IMAGES: tuple[Process, ...] = ("lab nets", "log-normal seeds")


@dataclass(frozen=True)
class UntilFinding:
    """Shares of replications of runs that stop by looking, plain and shared."""

    rule: str
    process: Process
    n_images: int
    ratio: float
    plain: float  # coverage of the ratio's interval at the end of the run
    plain_seeds: float  # mean number
    plain_wrong: float  # share of runs that end with a verdict that is not so
    shared: float
    shared_seeds: float
    shared_wrong: float
    at_the_cap: float  # share of shared runs that have not reached what they were to
    standard_error: float  # Monte Carlo, of `shared`
    replications: int


@dataclass(frozen=True)
class Looked:
    """What every look of every replication shows, `(R, L)` arrays."""

    log_ratio: FloatArray
    se: FloatArray
    df: FloatArray
    p: FloatArray  # of a ratio of 1
    p_different: FloatArray  # of one outside the margin

    def half_width(self, looks: int) -> FloatArray:
        """Of the log ratio's interval, where the error is shared among so many looks."""
        confidence = spent_confidence(1 - LEVEL, looks)
        return np.asarray(self.se * special.stdtrit(self.df, (1 + confidence) / 2))

    def verdicts(self, looks: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Whether a look says `equivalent`, and else whether it says `better` or `worse`."""
        equivalent = spent_p(self.p_different, looks) < LEVEL
        return equivalent, (spent_p(self.p, looks) < LEVEL) & ~equivalent


def look(setting: NetSetting, replications: int, rng: np.random.Generator) -> Looked:
    """Runs up to the most seeds, looked at on the way. Scores of a seed do not depend on those that come later."""
    reference = Known(least_squares_risk())
    rows = []
    for _ in range(replications):
        values = scores(draw_run(setting, rng))
        found = [compare_estimators(values[:n], reference) for n in LOOKS]
        rows.append(
            [
                (np.log(c.ratio.value), c.ratio.se, c.ratio.df, c.p, c.p_different(MARGIN))
                for c in found
            ]
        )
    return Looked(*np.moveaxis(np.array(rows), -1, 0))


def stopped(setting: NetSetting, replications: int, rng: np.random.Generator) -> list[UntilFinding]:
    """Runs that stop by each rule, all on the same data; `any look` is every interval of a run at once.

    The last is what no rule can do worse than: a run that stops where its interval does not cover, if it ever does so.
    """
    looked = look(setting, replications, rng)
    truth = np.log(true_mse(setting) / least_squares_risk())
    last, each = np.full(replications, len(LOOKS) - 1), np.arange(replications)
    ends: dict[str, list[tuple[float, float, float, float]]] = {}
    for looks in (1, len(LOOKS)):
        covered = np.abs(looked.log_ratio - truth) <= looked.half_width(looks)
        equivalent, different = looked.verdicts(looks)
        away = np.where(looked.log_ratio < 0, truth >= -1e-9, truth <= 1e-9)
        # at the margin itself both are true: `equivalent` errs from there on
        wrong = (different & away) | (equivalent & (abs(truth) >= np.log(MARGIN) - 1e-9))
        reached = {
            f"ratio within {WITHIN - 1:.0%}": looked.half_width(looks) <= np.log(WITHIN),
            "verdict": equivalent | different,
        }
        for rule, met in reached.items():
            at = np.where(met.any(axis=1), met.argmax(axis=1), last)
            seeds = float(np.mean(np.array(LOOKS)[at]))
            ends.setdefault(rule, []).append(
                (
                    float(covered[each, at].mean()),
                    seeds,
                    float(wrong[each, at].mean()),
                    float(1 - met.any(axis=1).mean()),
                )
            )
        simultaneous = float(covered.all(axis=1).mean())
        ends.setdefault("any look", []).append(
            (simultaneous, np.nan, float(wrong.any(axis=1).mean()), np.nan)
        )
    return [
        UntilFinding(
            rule,
            setting.process,
            setting.n_images,
            setting.ratio,
            *plain[:3],
            *shared,
            standard_error=float(np.sqrt(shared[0] * (1 - shared[0]) / replications)),
            replications=replications,
        )
        for rule, (plain, shared) in ends.items()
    ]


def settings() -> Iterator[Planned[NetSetting, UntilFinding]]:
    """The whole study: which nets, with which share of the replications."""
    for process in get_args(Process):
        yield (
            stopped,
            NetSetting(process, LOOKS[-1], 500, NEAR_LEAST_SQUARES.get(process, 5.0)),
            1.0,
        )
    for process, ratio in BESIDE:
        yield stopped, NetSetting(process, LOOKS[-1], 500, ratio), 1.0
    for process in MORE_IMAGES:
        yield stopped, NetSetting(process, LOOKS[-1], 5000, 1.0), 0.1


def simulate(replications: int, seed: int, workers: int) -> pd.DataFrame:
    """Every finding of the whole study as a row; the same for any number of workers."""
    found = run_settings(settings(), replications, seed, workers, fewest=20)
    return pd.DataFrame([asdict(row) for row in found])


if __name__ == "__main__":
    Simulation("ablations.simulation.until", "until", 1000, simulate, to_markdown).main()
