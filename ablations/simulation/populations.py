"""Error arrays with known means, to try the inference on: what `simulate` draws from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

import numpy as np

from ablations.statistics.crossed import FloatArray
from linefit.closed_form import least_squares
from linefit.images import lab_images
from linefit.posterior import posterior_mean

Distribution = Literal[
    "gaussian", "log-normal x chi-square", "very heavy", "lab, least squares", "lab, floor"
]
LOG_SD = {"log-normal x chi-square": 1.0, "very heavy": 1.5}  # of the difficulty of images
POPULATION = 200_000  # generated images that stand for all
POPULATION_OFFSET = 20_000_000  # far from the seeds of every split


@dataclass(frozen=True)
class Setting:
    """Errors of a baseline with mean 1 and of variants with mean `ratio`, on the same images.

    `seed_sd`: standard deviation of a seed's own mean, as a share of the mean.
    """

    distribution: Distribution
    n_seeds: int
    n_images: int
    seed_sd: float
    ratio: float

    def __post_init__(self) -> None:
        if self.distribution not in get_args(Distribution):
            legal = ", ".join(get_args(Distribution))
            raise ValueError(f"distribution {self.distribution!r} is not one of {legal}")


def draw(
    setting: Setting, rng: np.random.Generator, n_variants: int = 1
) -> tuple[list[FloatArray], FloatArray]:
    """Squared errors of `n_variants` variants, each `(K, M)`, and of the baseline `(M,)`.

    - gaussian: image, cell and seed effects add up, all small against the mean.
    - log-normal x chi-square: an image's difficulty is log-normal and scales the square of a normal error, half
      of whose variance is shared by all estimators; a seed scales all its errors by a log-normal factor.
      `very heavy` has a log standard deviation of 1.5 in place of 1: the worst 1% of images hold 30% and more.
    - lab: generated images of lines. A variant's residual is that of the floor plus normal noise of its own, which
      a seed scales; the baseline is least squares or the floor itself. On 200,000 images the worst 1% hold 76% of
      the error of least squares and 85% of the floor's: hardly any tail is heavier.
    """
    shape = (setting.n_seeds, setting.n_images)
    if setting.distribution == "gaussian":
        image = 0.1 * rng.standard_normal(setting.n_images)
        baseline = 1 + image + 0.1 * rng.standard_normal(setting.n_images)
        variants = [
            setting.ratio
            * (
                1
                + image
                + setting.seed_sd * rng.standard_normal((setting.n_seeds, 1))
                + 0.1 * rng.standard_normal(shape)
            )
            for _ in range(n_variants)
        ]
        return variants, baseline
    if setting.distribution.startswith("lab"):
        return _draw_lab(setting, rng, n_variants)
    sd = LOG_SD[setting.distribution]
    difficulty = np.exp(sd * rng.standard_normal(setting.n_images) - sd**2 / 2)
    shared = rng.standard_normal(setting.n_images)
    baseline = difficulty * (shared + rng.standard_normal(setting.n_images)) ** 2 / 2
    variants = [
        setting.ratio
        * _seed_factors(setting, rng)
        * difficulty
        * (shared + rng.standard_normal(shape)) ** 2
        / 2
        for _ in range(n_variants)
    ]
    return variants, baseline


def _seed_factors(setting: Setting, rng: np.random.Generator) -> FloatArray:
    """Log-normal factors of seeds `(K, 1)` with mean 1 and standard deviation `seed_sd`."""
    log_variance = np.log1p(setting.seed_sd**2)
    normal = rng.standard_normal((setting.n_seeds, 1))
    return np.asarray(np.exp(np.sqrt(log_variance) * normal - log_variance / 2))


def _draw_lab(
    setting: Setting, rng: np.random.Generator, n_variants: int
) -> tuple[list[FloatArray], FloatArray]:
    population = lab_population()
    drawn = rng.integers(POPULATION, size=setting.n_images)
    floor, baseline = population.floor[drawn], population.least_squares[drawn]
    if setting.distribution == "lab, floor":
        baseline = floor
    scale = float((baseline_of(setting.distribution) ** 2).mean())
    own = setting.ratio * scale - float((population.floor**2).mean())
    if own < 0:
        raise ValueError(f"ratio {setting.ratio} is below the floor, {1 - own / scale:.3g}")
    noise_shape = (setting.n_seeds, setting.n_images, floor.shape[1])
    variants = []
    for _ in range(n_variants):
        spread = np.sqrt(own * _seed_factors(setting, rng))[..., None]
        residuals = floor + spread * rng.standard_normal(noise_shape)
        variants.append((residuals**2).mean(axis=-1) / scale)
    return variants, (baseline**2).mean(axis=-1) / scale


@dataclass(frozen=True)
class LabPopulation:
    """Residuals `(POPULATION, 2)` of least squares and of the posterior mean, the floor."""

    least_squares: FloatArray
    floor: FloatArray


def baseline_of(distribution: Distribution) -> FloatArray:
    """Residuals of the yardstick of a `lab` distribution."""
    population = lab_population()
    return population.floor if distribution == "lab, floor" else population.least_squares


@cache
def lab_population() -> LabPopulation:
    """The two yardsticks on generated images of lines: seconds of work, done once a process."""
    images = lab_images(POPULATION, random_offset=POPULATION_OFFSET)
    truth = images.params.astype(np.float64)
    return LabPopulation(
        least_squares(images.pixels) - truth, posterior_mean(images.pixels) - truth
    )
