"""Made-up nets on generated images of lines, with known risk: what `ablations.simulation.risk` draws from.

Images, least squares and the posterior are the lab's own. A net's answer is the posterior mean plus a deviation, so its
regret is known; the line that was drawn comes anew from the posterior of each image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import numpy as np

from ablations.statistics import score_failures
from ablations.statistics.crossed import FloatArray
from linefit.closed_form import least_squares
from linefit.images import Indices, lab_images
from linefit.population import line_moments
from linefit.posterior import posterior

Process = Literal[
    "lab nets",  # difficulty of images and spread of seeds as the nets of results/lab5 have them
    "no seed effect",
    "log-normal seeds",
    "interaction",
    "interaction, hardest tenth",
    "10% of seeds tenfold",
    "30% of seeds tenfold",
    "Pareto tails",
    "imitates least squares",
    "correlation .98",
    "10% of cells fail",
]
POPULATION, POPULATION_OFFSET = 200_000, 20_000_000
DIFFICULTY_SD = 1.18  # of the log: squared errors of images, means over seeds, vary with 1.8 times their mean in lab5
SEED_SD = 0.4  # of the log MSE: .07, .32 and .51 for the three nets of lab5
SKEWED_SEED_SD = 0.6
INTERACTION_SD = 0.6
PARETO_SHAPE = 1.5  # of an image's difficulty: finite mean, infinite variance
CORRELATION = 0.98


@dataclass(frozen=True)
class Images:
    """The population: N images, each as probable as any other."""

    answers: FloatArray  # (N, 2) posterior mean
    deviation: FloatArray  # (N, 2) least squares minus that
    difficulty: FloatArray  # (N,) mean 1
    pareto: FloatArray  # (N,) mean 1
    hardest: FloatArray  # (N,) 1 for the tenth of images with most difficulty, else 0
    output_share: FloatArray  # (2,) mean squares of the deviation's outputs, mean 1
    lines: FloatArray  # (L, 2) possible lines, image by image
    cumulative: FloatArray  # (L,) image + probability of the lines of the image up to this one
    floor: float
    baseline_regret: float  # of least squares
    constant: FloatArray  # (2,) what failed cells answer
    constant_regret: float


@cache
def images() -> Images:
    """The population: seconds of work, done once a process."""
    pixels = lab_images(POPULATION, random_offset=POPULATION_OFFSET).pixels
    known = posterior(pixels)
    deviation = least_squares(pixels) - known.mean
    rng = np.random.default_rng(0)
    difficulty = np.exp(DIFFICULTY_SD * rng.standard_normal(POPULATION))
    pareto = 1 + rng.pareto(PARETO_SHAPE, POPULATION)
    constant = np.array(line_moments().mean)
    return Images(
        answers=known.mean,
        deviation=deviation,
        difficulty=difficulty / difficulty.mean(),
        pareto=pareto / pareto.mean(),
        hardest=(difficulty >= np.quantile(difficulty, 0.9)).astype(np.float64),
        output_share=(deviation**2).mean(axis=0) / (deviation**2).mean(),
        lines=known.params,
        cumulative=np.cumsum(known.probability),
        floor=float(known.variance.mean()),
        baseline_regret=float((deviation**2).mean()),
        constant=constant,
        constant_regret=float(((known.mean - constant) ** 2).mean()),
    )


@dataclass(frozen=True)
class NetSetting:
    """Nets with `ratio` times the MSE of least squares, K seeds on M images."""

    process: Process
    n_seeds: int
    n_images: int
    ratio: float

    def __post_init__(self) -> None:
        if self.process not in get_args(Process):
            legal = ", ".join(get_args(Process))
            raise ValueError(f"process {self.process!r} is not one of {legal}")


@dataclass(frozen=True)
class Drawn:
    """One run: squared errors and regrets of each variant `(K, M)` and of least squares `(M,)`."""

    errors: list[FloatArray]
    regrets: list[FloatArray]
    baseline_errors: FloatArray
    baseline_regret: FloatArray


def true_mse(setting: NetSetting) -> float:
    """The MSE over all seeds and images."""
    known = images()
    mse = setting.ratio * (known.floor + known.baseline_regret)
    if setting.process == "10% of cells fail":
        return 0.9 * mse + 0.1 * (known.floor + known.constant_regret)
    return mse


def draw_run(setting: NetSetting, rng: np.random.Generator, n_variants: int = 1) -> Drawn:
    """One run of `n_variants` variants with independent seeds on the same images."""
    known = images()
    drawn = rng.integers(POPULATION, size=setting.n_images).astype(np.intp)
    answers, deviation = known.answers[drawn], known.deviation[drawn]
    line = np.searchsorted(known.cumulative, drawn + rng.random(setting.n_images))
    noise = answers - known.lines[np.minimum(line, len(known.lines) - 1)]
    errors, regrets = [], []
    for _ in range(n_variants):
        own = _deviations(setting, drawn, deviation, rng)
        regret, error = _squares(own), _squares(own + noise)
        if setting.process == "10% of cells fail":
            ok = rng.random(setting.n_seeds) >= 0.1
            regret = score_failures(regret, ok, _squares(known.constant - answers))
            error = score_failures(error, ok, _squares(known.constant - answers + noise))
        errors.append(error)
        regrets.append(regret)
    return Drawn(errors, regrets, _squares(deviation + noise), _squares(deviation))


def _squares(values: FloatArray) -> FloatArray:
    mean: FloatArray = (values**2).mean(axis=-1)
    return mean


def _deviations(
    setting: NetSetting, drawn: Indices, deviation: FloatArray, rng: np.random.Generator
) -> FloatArray:
    """Answers minus the posterior mean `(K, M, 2)`, with a mean square of the setting's regret."""
    known = images()
    regret = setting.ratio * (known.floor + known.baseline_regret) - known.floor
    shape = (setting.n_seeds, setting.n_images)
    own = rng.standard_normal((*shape, 2)) * np.sqrt(known.output_share)
    seeds = _seed_factors(setting, rng)[:, None]
    if setting.process in ("imitates least squares", "correlation .98"):
        own *= np.sqrt(known.baseline_regret)
        if setting.process == "correlation .98":
            follow = CORRELATION * deviation + np.sqrt(1 - CORRELATION**2) * own
            return np.asarray(np.sqrt(seeds * regret / known.baseline_regret)[..., None] * follow)
        excess = np.sqrt(np.maximum(seeds * (regret / known.baseline_regret - 1), 0))
        return np.asarray(deviation + excess[..., None] * own)
    scale = seeds * regret
    if setting.process == "no seed effect":
        return np.asarray(np.sqrt(scale)[..., None] * own)
    scale = scale * (known.pareto if setting.process == "Pareto tails" else known.difficulty)[drawn]
    if setting.process.startswith("interaction"):
        factor = np.exp(
            INTERACTION_SD * rng.standard_normal((setting.n_seeds, 1)) - INTERACTION_SD**2 / 2
        )
        where = known.hardest[drawn]
        if setting.process == "interaction":
            # a seed is good at one half of the images and bad at the other, as it comes
            factor = np.exp(INTERACTION_SD * rng.standard_normal(shape) - INTERACTION_SD**2 / 2)
            where = np.ones(setting.n_images)
        scale = scale * np.where(where > 0, factor, 1.0)
    return np.asarray(np.sqrt(scale)[..., None] * own)


def _seed_factors(setting: NetSetting, rng: np.random.Generator) -> FloatArray:
    """What each seed scales its squared deviations by `(K,)`, with mean 1."""
    k = setting.n_seeds
    if setting.process == "no seed effect":
        return np.ones(k)
    if setting.process.endswith("tenfold"):
        rate = 0.1 if setting.process.startswith("10%") else 0.3
        bad = rng.random(k) < rate
        calm = np.exp(0.2 * rng.standard_normal(k) - 0.02)
        return np.asarray(np.where(bad, 10.0, 1.0) * calm / (1 + 9 * rate))
    sd = SKEWED_SEED_SD if setting.process == "log-normal seeds" else SEED_SD
    return np.asarray(np.exp(sd * rng.standard_normal(k) - sd**2 / 2))
