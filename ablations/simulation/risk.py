"""Do the estimate of a net's risk and the words on it keep their promises where the population is the lab's?

`python -m ablations.simulation.risk` writes `results/statistics/risk.csv` and `risk.md`. How nets are made up is in
`nets`. `before` is the analysis of squared errors paired with those of least squares on the same images, `now` that of
regrets with known yardsticks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import get_args

import numpy as np
import pandas as pd
from scipy import special

from ablations.simulation.nets import (
    Drawn,
    NetSetting,
    Process,
    draw_run,
    images,
    true_mse,
)
from ablations.simulation.risk_page import to_markdown
from ablations.simulation.runner import Planned, Simulation, run_settings
from ablations.statistics import (
    Estimate,
    Known,
    KnownMeans,
    compare_estimators,
    controlled,
    crossed_mean,
    probability_nearer,
    risk_interval,
    seed_groups,
)
from ablations.statistics.crossed import FloatArray
from ablations.statistics.verdict import enough_seeds

FAMILIES = (3, 8, 20)
FAMILY_PROCESSES: tuple[Process, ...] = ("no seed effect", "lab nets", "log-normal seeds")
SEED_PROCESSES: tuple[Process, ...] = (
    "lab nets",
    "log-normal seeds",
    "10% of seeds tenfold",
    "30% of seeds tenfold",
)
NEAR_LEAST_SQUARES: dict[Process, float] = {  # true ratio; the other processes have 5
    "no seed effect": 1.0,
    "imitates least squares": 1.1,
    "correlation .98": 1.0,
}


@dataclass(frozen=True)
class RiskFinding:
    """A share of replications before and now; half-widths are medians on the log scale, NaN where there are none."""

    study: str  # coverage, family-wise error, outlying seeds
    quantity: str
    process: Process
    n_seeds: int
    n_images: int
    ratio: float
    before: float
    before_half_width: float
    now: float
    now_half_width: float
    standard_error: float  # Monte Carlo, of `now`
    low: float  # the promise for `now`; NaN where there is none
    high: float
    replications: int


def _finding(
    study: str,
    quantity: str,
    setting: NetSetting,
    happened: dict[str, list[bool]],
    promise: tuple[float, float],
    half_widths: dict[str, list[float]] | None = None,
) -> RiskFinding:
    """The shares of `happened["before"]` (may be empty) and `happened["now"]`."""
    share = float(np.mean(happened["now"]))
    count = len(happened["now"])
    widths = {
        when: float(np.median(some)) if some else np.nan
        for when, some in (half_widths or {}).items()
    }
    return RiskFinding(
        study,
        quantity,
        **asdict(setting),
        before=float(np.mean(happened["before"])) if happened.get("before") else np.nan,
        before_half_width=widths.get("before", np.nan),
        now=share,
        now_half_width=widths.get("now", np.nan),
        standard_error=float(np.sqrt(share * (1 - share) / count)),
        low=promise[0],
        high=promise[1],
        replications=count,
    )


def known_means() -> KnownMeans:
    """What is known of the population of `nets`."""
    population = images()
    return KnownMeans(population.floor, population.baseline_regret)


def least_squares_risk() -> float:
    """MSE of least squares over the population of `nets`."""
    population = images()
    return population.floor + population.baseline_regret


def scores(drawn: Drawn, variant: int = 0) -> FloatArray:
    """The scores of a variant `(K, M)`."""
    return controlled(drawn.regrets[variant], drawn.baseline_regret, known_means()).values


def coverage(setting: NetSetting, replications: int, rng: np.random.Generator) -> list[RiskFinding]:
    """Coverage and half-width of intervals of MSE, ratio to least squares, regret and P(beats).

    The truth of P(beats) is the average of its estimates, which are unbiased.
    """
    mse, reference = true_mse(setting), least_squares_risk()
    floor = images().floor
    found: dict[str, dict[str, list[Estimate]]] = {
        name: {"before": [], "now": []} for name in ("MSE", "ratio", "regret", "P(beats)")
    }
    for _ in range(replications):
        drawn = draw_run(setting, rng)
        errors, values = drawn.errors[0], scores(drawn)
        old = crossed_mean(errors)
        found["MSE"]["before"].append(Estimate(old.mean, old.low, old.high, old.se, old.df))
        found["ratio"]["before"].append(compare_estimators(errors, drawn.baseline_errors).ratio)
        found["MSE"]["now"].append(risk_interval(values))
        found["ratio"]["now"].append(compare_estimators(values, Known(reference)).ratio)
        found["regret"]["now"].append(risk_interval(values, offset=floor))
        found["P(beats)"]["now"].append(probability_nearer(errors, drawn.baseline_errors))
    beats = float(np.mean([e.value for e in found["P(beats)"]["now"]]))
    truths = {"MSE": mse, "ratio": mse / reference, "regret": mse - floor, "P(beats)": beats}
    return [
        _finding(
            "coverage",
            name,
            setting,
            {when: [e.low <= truths[name] <= e.high for e in some] for when, some in by.items()},
            (0.93, 1.0) if name == "P(beats)" else (0.93, 0.97),
            {
                when: [float(np.log(e.high / e.low) / 2) for e in some if 0 < e.low < e.high]
                for when, some in by.items()
            },
        )
        for name, by in found.items()
    ]


def family_wise_error(
    setting: NetSetting, replications: int, rng: np.random.Generator
) -> list[RiskFinding]:
    """How often a family of variants, all exactly as good as least squares, holds any `better` or `worse`.

    `before`: Holm on the p of the crossed analysis of paired errors, whatever the number of seeds.
    """
    reference = Known(least_squares_risk())
    wrong: dict[int, dict[str, list[bool]]] = {n: {"before": [], "now": []} for n in FAMILIES}
    for _ in range(replications):
        drawn = draw_run(setting, rng, n_variants=max(FAMILIES))
        before = [_crossed_p(errors, drawn.baseline_errors) for errors in drawn.errors]
        now = []
        for variant in range(max(FAMILIES)):
            comparison = compare_estimators(scores(drawn, variant), reference)
            now.append(comparison.p if enough_seeds(comparison) else 1.0)
        for n in FAMILIES:
            # Holm's smallest adjusted p; without any rejection there the procedure ends
            wrong[n]["before"].append(min(before[:n]) * n < 0.05)
            wrong[n]["now"].append(min(now[:n]) * n < 0.05)
    return [
        _finding("family-wise error", f"{n} variants", setting, wrong[n], (0.0, 0.07))
        for n in FAMILIES
    ]


def _crossed_p(errors: FloatArray, baseline: FloatArray) -> float:
    """Two-sided p of a ratio of 1 by the t distribution alone."""
    ratio = compare_estimators(errors, baseline).ratio
    return float(2 * special.stdtr(ratio.df, -abs(np.log(ratio.value)) / ratio.se))


def outlying_seeds(
    setting: NetSetting, replications: int, rng: np.random.Generator
) -> list[RiskFinding]:
    """How often the test for outlying seeds fires."""
    fired = []
    for _ in range(replications):
        by_seed = scores(draw_run(setting, rng)).mean(axis=1)
        fired.append(bool((by_seed > 0).all()) and seed_groups(by_seed).apart)
    calm = not setting.process.endswith("tenfold")
    promise = (0.0, 0.07) if calm else (np.nan, np.nan)
    return [_finding("outlying seeds", "flagged", setting, {"now": fired}, promise)]


def settings() -> Iterator[Planned[NetSetting, RiskFinding]]:
    """The whole study: what to run, on which data, with which share of the replications."""
    share = {500: 1.0, 5000: 0.6, 50_000: 0.2}  # of replications: more images take longer
    for n_images in share:
        for n_seeds in (3, 5, 10):
            for ratio in (1.0, 5.0, 125.0):
                yield coverage, NetSetting("lab nets", n_seeds, n_images, ratio), share[n_images]
        for process in get_args(Process)[1:]:
            setting = NetSetting(process, 5, n_images, NEAR_LEAST_SQUARES.get(process, 5.0))
            yield coverage, setting, share[n_images]
    for process in FAMILY_PROCESSES:
        for n_seeds in (3, 4, 5, 10):
            yield family_wise_error, NetSetting(process, n_seeds, 500, 1.0), 1.0
    for process in SEED_PROCESSES:
        for n_seeds in (5, 10):
            yield outlying_seeds, NetSetting(process, n_seeds, 500, 5.0), 1.0


def simulate(replications: int, seed: int, workers: int) -> pd.DataFrame:
    """Every finding of the whole study as a row; the same for any number of workers."""
    found = run_settings(settings(), replications, seed, workers, fewest=20)
    return pd.DataFrame([asdict(row) for row in found])


if __name__ == "__main__":
    Simulation("ablations.simulation.risk", "risk", 300, simulate, to_markdown).main()
