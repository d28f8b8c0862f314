"""How much a study can see: minimum detectable ratios and the seeds a ratio needs.

All on the log scale of the ratio of mean squared errors, from variance components of a pilot.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from ablations.statistics.crossed import MINIMUM_SEEDS, Components, combined_df, t_quantile

POWER = 0.8


@dataclass(frozen=True)
class SeedPlan:
    """`n_seeds` a variant needs; None where the images alone hide the ratio, however many the seeds.

    `smallest_ratio` is what infinitely many seeds would detect on these images: the floor images set.
    """

    n_seeds: int | None
    smallest_ratio: float


def minimum_detectable_ratio(
    se: float, df: float, *, power: float = POWER, confidence: float = 0.95
) -> float:
    """Smallest ratio > 1 that the two-sided t test finds with probability `power`.

    `se`: standard error of the log ratio; `df`: its degrees of freedom. Its inverse is the largest ratio
    below 1 that is found as surely.
    """
    if not 1 - confidence < power < 1:
        raise ValueError(f"power must lie between {1 - confidence:.3g} and 1, got {power}")
    if se == 0:
        return 1.0

    # the effect / se at which the noncentral t exceeds its critical value with probability `power`; the
    # other tail, the chance of finding the opposite, is below 1e-4 there
    effect = special.nctdtrinc(df, 1 - power, t_quantile(df, confidence))
    return float(np.exp(se * effect))


def planned_uncertainty(
    components: Components, n_seeds: int, n_images: int, sides: int
) -> tuple[float, float]:
    """Standard error and degrees of freedom expected of `n_seeds` on each of `sides` sides with seeds.

    `components` as `crossed_uncertainty` gives them: seed and cell summed over the sides.
    """
    cell = components.cell / (n_seeds * n_images)
    seed = components.seed / n_seeds + cell
    image = components.image / n_images + cell
    variance = seed + image - cell
    seed_df = sides * (n_seeds - 1)
    cell_weight = cell**2 / (seed_df * (n_images - 1))
    df = combined_df(variance, (seed, seed_df), (image, components.image_df), cell_weight)
    return float(np.sqrt(variance)), max(df, min(n_seeds - 1.0, components.image_df))


def required_seeds(
    ratio: float,
    components: Components,
    n_images: int,
    *,
    sides: int = 1,
    power: float = POWER,
    confidence: float = 0.95,
    most: int = 10_000,
) -> SeedPlan:
    """Seeds a variant needs for the two-sided test to find `ratio` with probability `power`.

    `components`: variances on the log scale from a pilot (`Comparison.components`); `n_images`: images of the
    planned evaluation; `sides`: 1 against a yardstick, 2 for variant against variant (the number is then
    a variant's). Averaging over more seeds leaves `components.image / n_images` as it is, so that some ratios
    need more images, not more seeds: `n_seeds` is then None, as it is beyond `most`.
    """
    if ratio <= 0 or ratio == 1:
        raise ValueError(f"ratio must be positive and not 1, got {ratio}")
    target = max(ratio, 1 / ratio)

    def detectable(n_seeds: int) -> float:
        se, df = planned_uncertainty(components, n_seeds, n_images, sides)
        return minimum_detectable_ratio(se, df, power=power, confidence=confidence)

    floor_se = float(np.sqrt(components.image / n_images))
    floor = minimum_detectable_ratio(
        floor_se, components.image_df, power=power, confidence=confidence
    )
    if floor >= target or detectable(most) > target:
        return SeedPlan(None, floor)
    few, enough = MINIMUM_SEEDS - 1, most  # bisection: `enough` always suffices, `few` never does
    while enough - few > 1:
        middle = (few + enough) // 2
        few, enough = (few, middle) if detectable(middle) <= target else (middle, enough)
    return SeedPlan(enough, floor)
