"""Error arrays with known means, to try the inference on: what `simulate` draws from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from ablations.statistics.crossed import FloatArray

Distribution = Literal["gaussian", "log-normal x chi-square", "very heavy"]
LOG_SD = {"log-normal x chi-square": 1.0, "very heavy": 1.5}  # of the difficulty of images


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
