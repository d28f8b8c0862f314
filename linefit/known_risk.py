"""What every yardstick errs on average over all images of the lab: known numbers, not estimates from a split.

`linefit.risk_table` computes them and writes `known_risk.json`, which this module reads; the table for people is
`results/yardsticks/population.md`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

FLOOR, REFERENCE, CONSTANT = "posterior_mean", "least_squares", "constant"
OUTPUTS = ("mean", "slope", "intercept")  # "mean": of the squared errors of the other two
TABLE = Path(__file__).with_name("known_risk.json")

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Risk:
    """A yardstick's mean squared error over all images, with Monte Carlo standard errors (`_se`).

    `regret` is what the MSE exceeds that of the floor by, `ratio` the MSE over that of least squares.
    """

    yardstick: str
    output: str  # of OUTPUTS
    mse: float
    mse_se: float
    regret: float
    regret_se: float
    ratio: float
    ratio_se: float


@dataclass(frozen=True)
class LineMoments:
    """Mean and variance of slope and intercept over the lines of all images, exact."""

    mean: tuple[float, float]
    variance: tuple[float, float]

    def constant_risk(self, line: npt.ArrayLike) -> dict[str, float]:
        """The MSE, by output, of answering `line` (slope, intercept) whatever the image."""
        away = np.asarray(line, np.float64) - self.mean
        slope, intercept = (float(risk) for risk in self.variance + away**2)
        return {"mean": (slope + intercept) / 2, "slope": slope, "intercept": intercept}


@dataclass(frozen=True)
class KnownRisk:
    """The table: a `Risk` a yardstick and output, and how it was made."""

    command: str
    fingerprint: str  # of the population, see `linefit.population.fingerprint`
    enumerated: int  # images
    enumerated_probability: float
    sampled: int  # images
    lines: LineMoments
    risks: tuple[Risk, ...]

    def risk(self, yardstick: str, output: str = "mean") -> Risk:
        """One row. Raises ValueError for a yardstick or output that the table has not."""
        for row in self.risks:
            if (row.yardstick, row.output) == (yardstick, output):
                return row
        raise ValueError(f"no risk is known of {yardstick!r}, output {output!r}")

    def constant(self, line: npt.ArrayLike, output: str = "mean") -> Risk:
        """The row of the constant predictor that answers `line` (2,): exact but for what it is compared with."""
        floor, reference = self.risk(FLOOR, output), self.risk(REFERENCE, output)
        return constant_risk(self.lines.constant_risk(line)[output], floor, reference)


def constant_risk(mse: float, floor: Risk, reference: Risk) -> Risk:
    """The row of a constant predictor with this MSE, which is exact."""
    ratio = mse / reference.mse
    return Risk(
        CONSTANT,
        floor.output,
        mse,
        0.0,
        mse - floor.mse,
        floor.mse_se,
        ratio,
        ratio * reference.mse_se / reference.mse,
    )


@cache
def known_risk() -> KnownRisk:
    """The committed table; a test holds it to the generator of images as it is."""
    record = json.loads(TABLE.read_text(encoding="utf-8"))
    moments = {name: tuple(values) for name, values in record["lines"].items()}
    rows = tuple(Risk(**row) for row in record["risks"])
    return KnownRisk(**{**record, "lines": LineMoments(**moments), "risks": rows})
