"""What the harness costs beside training: `python -m benchmarks.scale`, a grid of trivial cells through all of it.

A made-up back end hands back outcomes at once, one in a hundred a failure; planner, driver and database are the real
ones. Every size runs in a process of its own, so that its peak of memory is its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ablations.driver import plan_run, train
from ablations.execution.events import Finished, Progress
from ablations.execution.options import Options
from ablations.records.database import database_path
from ablations.records.state import study_state
from ablations.records.store import Store
from ablations.study.outcome import Outcome
from ablations.study.reader import parse_study
from ablations.study.selection import Selection
from ablations.study.study import Cell
from benchmarks.machine import provenance

SEEDS = 5
FAILURES = 100  # one cell in so many fails
EPOCHS = 20
GRID = """
seeds = {seeds}
[protocol]
epochs = {epochs}
[grid]
architecture = ["conv1", "conv2", "conv3", "conv4"]
coordinates = ["none", "cartesian"]
pooling = ["max", "average"]
width = {widths}
learning_rate = {rates}
[evaluation]
splits = ["test"]
"""


def study_text(cells: int) -> str:
    """A study of about so many cells, of nets that differ in all that grids vary."""
    variants = max(cells // SEEDS // 16, 1)
    widths = min(variants, 50)
    rates = [round(1e-3 * (1 + i), 6) for i in range(max(variants // widths, 1))]
    return GRID.format(seeds=SEEDS, epochs=EPOCHS, widths=list(range(8, 8 + widths)), rates=rates)


def made_up(
    cells: Sequence[Cell],
    seconds: Mapping[str, float],  # noqa: ARG001
    options: Options,  # noqa: ARG001
    directory: Path,  # noqa: ARG001
) -> Generator[Progress | Finished, None, None]:
    """A back end that trains nothing."""
    losses = np.linspace(2, 1, EPOCHS)
    predictions = {"test": np.zeros((500, 2), dtype=np.float32)}
    ok = Outcome("ok", seconds=1.0, train_loss=losses, val_mse=losses, predictions=predictions)
    failed = Outcome("error", "made up")
    for i, cell in enumerate(cells):
        yield Progress(cell, 0)
        yield Finished(cell, failed if i % FAILURES == FAILURES - 1 else ok)


def measure(cells: int) -> dict[str, Any]:
    """Seconds of every part, milliseconds a cell, and MiB at the peak."""
    figures: dict[str, Any] = {}
    last = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal last
        now = time.perf_counter()
        figures[name], last = round(now - last, 3), now

    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        study = parse_study(study_text(cells), name="scale", source="scale")
        lap("read_s")
        plan = plan_run(study, Selection(), results, "cpu")
        lap("plan_s")
        plan.estimate(2)
        lap("estimate_s")
        path = database_path(results, study.name)
        with Store.write(path) as store:
            lap("open_s")
            train(plan, store, made_up, Options("cpu", quiet=True))
        lap("train_s")
        again = plan_run(study, Selection(), results, "cpu")
        lap("resume_plan_s")
        study_state(study, results)
        lap("list_s")
        assert len(again.done) + len(again.failed) == len(plan.todo)
        assert not again.todo
        size = path.stat().st_size / 2**20
    overhead = (figures["train_s"] - figures["estimate_s"]) / len(plan.todo) * 1e3
    return {
        "cells": len(plan.todo),
        "variants": len(study.variants),
        **figures,
        "overhead_ms_a_cell": round(overhead, 3),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "database_mib": round(size, 1),
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--cells", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures")
    options = parser.parse_args(arguments)
    rows = []
    for cells in options.cells:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows.append(pool.apply(measure, (cells,)))
        print(json.dumps(rows[-1]), flush=True)
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        report = {"provenance": provenance("benchmarks.scale"), "runs": rows}
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
