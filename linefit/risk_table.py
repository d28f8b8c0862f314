"""The making of the table of `linefit.known_risk`: `python -m linefit.risk_table`, minutes on one core."""

from __future__ import annotations

import csv
import json
import math
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from linefit.closed_form import FloatArray
from linefit.images import lab_split
from linefit.known_risk import (
    CONSTANT,
    FLOOR,
    OUTPUTS,
    REFERENCE,
    TABLE,
    KnownRisk,
    Risk,
    constant_risk,
)
from linefit.population import fingerprint, integrate, line_moments, regrets, strata
from linefit.yardsticks import YARDSTICKS

COMMAND = "python -m linefit.risk_table"


def compute(images: int, seed: int) -> KnownRisk:
    """The table, from about `images` images, each looked at by every yardstick."""
    train = lab_split("train")
    estimators = {
        name: make(train) for name, make in YARDSTICKS.items() if name not in (FLOOR, CONSTANT)
    }
    found = integrate(regrets(estimators), images, np.random.default_rng(seed), strata())
    moments = line_moments()
    names = [FLOOR, *estimators]
    risks: list[Risk] = []
    for o, output in enumerate(OUTPUTS):
        column = {name: o + len(OUTPUTS) * i for i, name in enumerate(names)}
        rows = [_risk(name, output, column, found.mean, found.covariance) for name in names]
        by_name = {row.yardstick: row for row in rows}
        line = train.params.mean(axis=0, dtype=np.float64)
        constant = moments.constant_risk(line)[output]
        by_name[CONSTANT] = constant_risk(constant, by_name[FLOOR], by_name[REFERENCE])
        risks += [by_name[name] for name in YARDSTICKS]
    return KnownRisk(
        f"{COMMAND} --images {images} --seed {seed}",
        fingerprint(),
        found.enumerated,
        found.enumerated_probability,
        found.sampled,
        moments,
        tuple(risks),
    )


def _risk(
    name: str, output: str, column: Mapping[str, int], mean: FloatArray, covariance: FloatArray
) -> Risk:
    """The row of an estimator whose regret and that of others stand in `column`; the floor's holds its risk."""

    def weights(*columns: int) -> FloatArray:
        found: FloatArray = np.zeros(len(mean))
        found[list(columns)] = 1
        return found

    def se(of: FloatArray) -> float:
        # rounding may leave a variance of 0 slightly below it
        return math.sqrt(max(float(of @ covariance @ of), 0.0))

    floor = column[FLOOR]
    mse = weights(floor, column[name])
    reference = weights(floor, column[REFERENCE])
    regret = weights() if name == FLOOR else weights(column[name])
    ratio = float(mean @ mse / (mean @ reference))
    return Risk(
        name,
        output,
        float(mean @ mse),
        se(mse),
        float(mean @ regret),
        se(regret),
        ratio,
        se(mse - ratio * reference) / float(mean @ reference),
    )


def markdown(table: KnownRisk) -> str:
    """The table for people."""
    lines = [
        "# What the yardsticks err on average over all images of the lab",
        "",
        f"Made by `{table.command}`. Generator of images: `{table.fingerprint[:16]}`.",
        "",
        "Population values under the lab's prior, not estimates from a split. MSE = floor + regret, where the floor",
        "is the posterior mean; `ratio` is that to least squares. Slope has no unit, intercept is in pixels; `mean` is",
        "the mean of the two squared errors. The constant is the mean line of the lab's 5,000 training images.",
        f"{table.enumerated:,} images, {table.enumerated_probability:.0%} of the population, were enumerated, the "
        f"others sampled in strata ({table.sampled:,}).",
        "± is one standard error; where none stands the value is exact.",
        "",
        "| output | yardstick | MSE | regret | ratio |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in table.risks:
        figures = [
            _with_error(row.mse, row.mse_se),
            _with_error(row.regret, row.regret_se),
            _with_error(row.ratio, row.ratio_se),
        ]
        lines.append(f"| {row.output} | {row.yardstick} | {' | '.join(figures)} |")
    return "\n".join(lines) + "\n"


def _with_error(value: float, se: float) -> str:
    if se == 0:
        return f"{value:.6g}"
    return f"{value:.5g} ± {se:.1g} ({se / value:.2%})" if value else f"{value:.5g}"


def write(table: KnownRisk, directory: Path) -> None:
    """Write the module's own table, and the same as CSV and Markdown into `directory`."""
    record: dict[str, Any] = asdict(table)
    TABLE.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "population.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(record["risks"][0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(record["risks"])
    (directory / "population.md").write_text(markdown(table), encoding="utf-8")


def main(
    images: Annotated[int, typer.Option(min=1, help="About so many are looked at.")] = 4_000_000,
    seed: Annotated[int, typer.Option(help="Of all random numbers.")] = 2026,
    output: Annotated[Path, typer.Option(help="Directory of the tables for people.")] = Path(
        "results/yardsticks"
    ),
) -> None:
    """Compute what every yardstick errs on average over all images of the lab."""
    start = time.perf_counter()
    table = compute(images, seed)
    write(table, output)
    risk = table.risk(REFERENCE)
    print(
        f"least squares {risk.mse:.6g} ± {risk.mse_se:.2g} ({risk.mse_se / risk.mse:.2%}) from "
        f"{table.enumerated + table.sampled:,} images in {time.perf_counter() - start:.0f} s: {output}",
        file=sys.stderr,
    )


if __name__ == "__main__":
    typer.run(main)
