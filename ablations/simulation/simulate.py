"""Does the inference keep its promises? Coverage, error rates and power on data whose truth is known.

For errors of any kind, compared on the same images; what holds on images of the lab is in `risk`.

`python -m ablations.simulation.simulate` runs the whole study and writes `results/statistics/`. How the data
are drawn is in `populations`; everything is judged through the package's public functions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace

import numpy as np
import pandas as pd

from ablations.simulation.findings import Finding, finding, to_markdown
from ablations.simulation.populations import Distribution, Setting, draw
from ablations.simulation.runner import Planned, Simulation, run_settings
from ablations.statistics.bootstrap import crossed_bootstrap, interquartile_mean, median
from ablations.statistics.comparison import compare_estimators, probability_nearer
from ablations.statistics.crossed import crossed_mean, t_quantile

COVERAGE_BAND = (0.93, 0.97)
TYPE_I_BAND = (0.0, 0.07)  # the larger of two p errs on the safe side


def covers(intervals: list[tuple[float, float, float]], truth: float) -> list[bool]:
    """Whether each `(value, low, high)` holds the truth."""
    return [low <= truth <= high for _, low, high in intervals]


def coverage(
    setting: Setting, replications: int, rng: np.random.Generator, confidence: float = 0.95
) -> list[Finding]:
    """Coverage of every kind of interval, and how far pooling all cells falls short.

    The truths of the mean, the ratio and the difference are known; that of P(beats) is the average of its
    estimates, which are unbiased.
    """
    names = ("mean (log)", "mean (linear)", "ratio", "difference", "variants: ratio", "P(beats)")
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
    pooled = []
    for _ in range(replications):
        (first, second), baseline = draw(setting, rng, n_variants=2)
        log, linear = (
            crossed_mean(first, scale="log", confidence=confidence),
            crossed_mean(first, scale="linear", confidence=confidence),
        )
        against = compare_estimators(first, baseline, confidence=confidence)
        between = compare_estimators(first, second, confidence=confidence)
        found["mean (log)"].append((log.mean, log.low, log.high))
        found["mean (linear)"].append((linear.mean, linear.low, linear.high))
        for name, estimate in (
            ("ratio", against.ratio),
            ("difference", against.difference),
            ("variants: ratio", between.ratio),
            ("P(beats)", probability_nearer(first, baseline, confidence=confidence)),
        ):
            found[name].append((estimate.value, estimate.low, estimate.high))
        # every cell as if it were an independent observation
        half_width = t_quantile(first.size - 1, confidence) * first.std(ddof=1) / first.size**0.5
        pooled.append((first.mean(), first.mean() - half_width, first.mean() + half_width))
    truths = {
        "mean (log)": setting.ratio,
        "mean (linear)": setting.ratio,
        "ratio": setting.ratio,
        "difference": setting.ratio - 1,
        "variants: ratio": 1.0,
        "P(beats)": float(np.mean([value for value, _, _ in found["P(beats)"]])),
    }
    # where hardly any seed beats the baseline the interval of P(beats) is Clopper-Pearson's: wide
    promises = dict.fromkeys(names, COVERAGE_BAND) | {"P(beats)": (COVERAGE_BAND[0], 1.0)}
    findings = [
        finding("coverage", name, setting, covers(found[name], truths[name]), promise)
        for name, promise in promises.items()
    ]
    naive = finding(
        "negative control", "mean, cells pooled", setting, covers(pooled, setting.ratio)
    )
    return [*findings, naive]


def type_i_error(setting: Setting, replications: int, rng: np.random.Generator) -> list[Finding]:
    """How often a variant as good as the baseline is called different at 5%."""
    null = replace(setting, ratio=1.0)
    rejected = []
    for _ in range(replications):
        (errors,), baseline = draw(null, rng)
        rejected.append(compare_estimators(errors, baseline).p < 0.05)
    return [finding("type I error", "ratio", null, rejected, TYPE_I_BAND)]


def family_wise_error(
    setting: Setting, replications: int, rng: np.random.Generator, n_variants: int = 8
) -> list[Finding]:
    """How often Holm's family of variants, all as good as the baseline, holds any rejection at 5%."""
    null = replace(setting, ratio=1.0)
    rejected = []
    for _ in range(replications):
        variants, baseline = draw(null, rng, n_variants=n_variants)
        # Holm's smallest adjusted p; without any rejection there the procedure ends
        smallest = min(compare_estimators(errors, baseline).p for errors in variants)
        rejected.append(smallest * n_variants < 0.05)
    name = f"ratio, {n_variants} variants, Holm"
    return [finding("family-wise error", name, null, rejected, (0, 0.07))]


def size_at_margin(setting: Setting, replications: int, rng: np.random.Generator) -> list[Finding]:
    """How often a variant exactly at the margin is called equivalent (5%) or non-inferior (2.5%)."""
    boundary = replace(setting, ratio=1.25)
    equivalent, non_inferior = [], []
    for _ in range(replications):
        (errors,), baseline = draw(boundary, rng)
        comparison = compare_estimators(errors, baseline)
        equivalent.append(comparison.p_different(boundary.ratio) < 0.05)
        non_inferior.append(comparison.p_at_least(boundary.ratio) < 0.025)
    return [
        finding("size", "equivalent at the margin", boundary, equivalent, (0, 0.07)),
        finding("size", "non-inferior at the margin", boundary, non_inferior, (0, 0.045)),
    ]


def power(setting: Setting, replications: int, rng: np.random.Generator) -> list[Finding]:
    """How often the ratio of the setting is found at 5%."""
    found = []
    for _ in range(replications):
        (errors,), baseline = draw(setting, rng)
        found.append(compare_estimators(errors, baseline).p < 0.05)
    return [finding("power", "ratio", setting, found)]


def bootstrap_coverage(
    setting: Setting, replications: int, rng: np.random.Generator, n_boot: int = 400
) -> list[Finding]:
    """Coverage of the crossed bootstrap for median and interquartile mean.

    The truth is the average estimate: the sampling bias of order 1/(K M) is far below the standard error.
    The crossed bootstrap errs on the wide side, so only falling short breaks the promise.
    """
    findings = []
    for name, statistic in (("median", median), ("interquartile mean", interquartile_mean)):
        intervals = []
        for _ in range(replications):
            (errors,), _baseline = draw(setting, rng)
            result = crossed_bootstrap({"": errors}, statistic, n_boot, rng)[""]
            intervals.append((float(result.value), float(result.low), float(result.high)))
        truth = float(np.mean([value for value, _, _ in intervals]))
        promise = (COVERAGE_BAND[0], 1.0)
        findings.append(
            finding("coverage", f"{name} (bootstrap)", setting, covers(intervals, truth), promise)
        )
    return findings


def settings() -> Iterator[Planned[Setting, Finding]]:
    """The whole study: what to run, on which data, with which share of the replications."""
    heavy: Distribution = "log-normal x chi-square"
    seed_sds: dict[Distribution, float] = {"gaussian": 0.02, heavy: 0.3, "very heavy": 0.3}
    for distribution, seed_sd in seed_sds.items():
        for n_images in (500, 2000):
            for n_seeds in (5, 10):
                for sd in (0.0, seed_sd):
                    setting = Setting(distribution, n_seeds, n_images, sd, ratio=2.0)
                    yield coverage, setting, 1.0
                    yield type_i_error, setting, 1.0
    for distribution in ("gaussian", heavy):
        for n_seeds in (5, 10):
            setting = Setting(distribution, n_seeds, 2000, seed_sds[distribution], ratio=1.0)
            yield family_wise_error, setting, 0.5
            yield size_at_margin, setting, 1.0
    for n_seeds in (3, 5, 10, 20):
        yield power, Setting(heavy, n_seeds, 2000, 0.3, ratio=1.4), 0.5
    for n_seeds in (5, 10):
        yield bootstrap_coverage, Setting(heavy, n_seeds, 500, 0.3, ratio=1.0), 0.1


def simulate(replications: int, seed: int, workers: int) -> pd.DataFrame:
    """Every finding of the whole study as a row; the same for any number of workers."""
    found = run_settings(settings(), replications, seed, workers, fewest=50)
    return pd.DataFrame([{**asdict(row), "kept": row.kept} for row in found])


if __name__ == "__main__":
    Simulation("ablations.simulation.simulate", "simulation", 2000, simulate, to_markdown).main()
