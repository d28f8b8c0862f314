"""How long a grid of 1,000 cells takes, from a sample of it: `python -m benchmarks.grid_sample`.

The sample goes through the harness's own queue and worker processes, evaluation on all splits included; what the driver
adds at the end (tables, figures, page) is the same for few cells and for many and is left out. The time of 1,000 cells
is that of the sample, start of the workers included, times 1,000 over its cells.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from ablations.comparison.layout import markdown_table
from ablations.execution.events import Finished
from ablations.execution.plan import make_plan
from ablations.execution.workers import run_cells
from ablations.study.reader import parse_study
from ablations.study.selection import selection
from ablations.study.study import Study
from benchmarks.machine import provenance
from linefit.fused import instruction_set

GRID_CELLS = 1000
STUDY = """
title = "A sample of a grid of two convolutions, 48 channels wide"
seeds = {seeds}
[protocol]
epochs = {epochs}
[grid]
architecture = "conv2"
coordinates = ["none", "constant", "cartesian", "cartesian_unit", "sinusoidal"]
pooling = ["max", "average"]
width = {width}
"""


def sample(seeds: int, epochs: int, width: int) -> Study:
    """Ten variants with so many seeds each."""
    text = STUDY.format(seeds=seeds, epochs=epochs, width=width)
    return parse_study(text, name="sample", source="the sample's study")


def measure(study: Study, workers: int) -> dict[str, Any]:
    """Wall time of all cells of a study, and for each when it ended, in seconds. Raises RuntimeError."""
    plan = make_plan(study, selection(), statuses={}, timings={}, device="cpu")
    queue, rows = plan.queue(plan.seconds()), []
    start = time.perf_counter()
    for event in run_cells(queue, device="cpu", workers=workers):
        if isinstance(event, Finished):
            outcome = event.outcome
            if outcome.status != "ok":
                raise RuntimeError(f"{event.cell.variant.name}: {outcome.message}")
            rows.append(
                {
                    "variant": event.cell.variant.name,
                    "seed": event.cell.seed,
                    "engine": outcome.engine,
                    "training": outcome.seconds,
                    "ended": time.perf_counter() - start,
                    "peak_memory_mib": outcome.peak_memory_mib,
                }
            )
    return {"wall": time.perf_counter() - start, "cells": rows}


def summary(found: dict[str, Any], workers: int) -> dict[str, float]:
    """What the sample says of a grid, with the share of the workers' time that is not training."""
    training = [row["training"] for row in found["cells"]]
    return {
        "cells": len(training),
        "seconds_a_cell_and_worker": found["wall"] * workers / len(training),
        "training_seconds_a_cell": statistics.mean(training),
        "not_training": 1 - sum(training) / (found["wall"] * workers),
        "minutes_for_1000_cells": found["wall"] * GRID_CELLS / len(training) / 60,
    }


def table(told: dict[str, float]) -> str:
    columns = ["cells", "s a cell and worker", "training", "not training", "1,000 cells"]
    cells = [
        f"{told['cells']:.0f}",
        f"{told['seconds_a_cell_and_worker']:.2f}",
        f"{told['training_seconds_a_cell']:.2f}",
        f"{told['not_training']:.0%}",
        f"{told['minutes_for_1000_cells']:.1f} min",
    ]
    return markdown_table(columns, [cells])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.grid_sample", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="of each of the ten variants")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--width", type=int, default=48)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every cell's times")
    options = parser.parse_args(arguments)
    for name in ("seeds", "epochs", "width", "workers"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} {getattr(options, name)} is not a positive number")
    study = sample(options.seeds, options.epochs, options.width)
    load = [os.getloadavg()[0]]
    found = measure(study, options.workers)
    load.append(os.getloadavg()[0])
    told = summary(found, options.workers)
    print(table(told))
    print(
        f"\n{options.epochs} epochs, width {options.width}, {options.workers} workers, splits"
        f" {', '.join(study.splits)}; load of the machine {load[0]:.1f} before, {load[1]:.1f} after,"
        f" on {os.cpu_count()} cores.",
        file=sys.stderr,
    )
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        report = {
            "provenance": {**provenance("benchmarks.grid_sample"), "workers": options.workers},
            "instruction_set": instruction_set(),
            "load_average": load,
            "study": study.text,
            "summary": told,
            **found,
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
