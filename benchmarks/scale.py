"""What the harness costs beside training: `python -m benchmarks.scale`, a grid of trivial cells through all of it.

A made-up back end hands back outcomes at once, one in a hundred a failure; planner, driver and database are the real
ones. Every size runs in a process of its own, so that its peak of memory is its own. Then equal cells are trained for
real, by one worker and by two.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ablations.driver import plan_run, train
from ablations.execution.events import Finished, Progress
from ablations.execution.options import Options
from ablations.execution.workers import run_cells
from ablations.records.database import database_path
from ablations.records.files import write_text
from ablations.records.folder import STUDY_FILE
from ablations.records.state import study_state
from ablations.records.store import Store
from ablations.study.outcome import Outcome
from ablations.study.reader import parse_study
from ablations.study.selection import Selection
from ablations.study.study import Cell
from benchmarks.machine import provenance

SEEDS = 5
WIDTHS = 50  # most of a grid
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
EQUAL = """
seeds = {seeds}
[protocol]
epochs = {epochs}
[grid]
architecture = "conv2"
coordinates = "cartesian"
pooling = "max"
width = 16
[evaluation]
splits = ["test"]
"""


def study_text(cells: int) -> str:
    """A study of about so many cells, of nets that differ in all that grids vary."""
    variants = max(cells // SEEDS // 16, 1)
    widths = max(n for n in range(1, WIDTHS + 1) if variants % n == 0)
    rates = [round(1e-3 * (1 + i), 6) for i in range(variants // widths)]
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
    """Seconds of every part in this process and of commands as they are typed, milliseconds a cell, MiB at the peak."""
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
        write_text(path.with_name(STUDY_FILE), study.text)
        file = results / f"{study.name}.toml"
        write_text(file, study.text)
        command(results, "run", str(file), "--dry-run")
        lap("dry_run_command_s")
        begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with Store.write(path) as store:
            lap("open_s")
            train(plan, store, made_up, Options("cpu", quiet=True))
        lap("train_s")
        again = plan_run(study, Selection(), results, "cpu")
        lap("resume_plan_s")
        study_state(study, results)
        lap("list_s")
        command(results, "run", str(file), "--dry-run")
        lap("resume_dry_run_command_s")
        command(results, "list")
        lap("list_command_s")
        assert len(again.done) + len(again.failed) == len(plan.todo)
        assert not again.todo
        size = path.stat().st_size / 2**20
    overhead = (figures["train_s"] - figures["estimate_s"]) / len(plan.todo) * 1e3
    return {
        "cells": len(plan.todo),
        "variants": len(study.variants),
        **figures,
        "overhead_ms_a_cell": round(overhead, 3),
        "planned_peak_mib": round(begun / 1024, 1),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "database_mib": round(size, 1),
    }


def command(results: Path, *arguments: str) -> None:
    """A command in a process of its own, Python's start and imports included."""
    line = [sys.executable, "-m", "ablations", *arguments, "--results", str(results)]
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode not in (0, 1):  # 1: some cells failed, as they were to
        raise RuntimeError(f"{line}: {done.stderr}")


def equal_cells(cells: int, epochs: int) -> dict[str, Any]:
    """Seconds that equal cells take with one worker and with two, from the first process to the last cell."""
    text = EQUAL.format(seeds=cells, epochs=epochs)
    todo = parse_study(text, name="equal", source="equal").cells()
    took, training = [], []
    for workers in (1, 2):
        begun = time.perf_counter()
        ends = [
            e for e in run_cells(todo, device="cpu", workers=workers) if isinstance(e, Finished)
        ]
        took.append(time.perf_counter() - begun)
        training.append(float(np.median([end.outcome.seconds for end in ends])))
        assert all(end.outcome.status == "ok" for end in ends)
    return {
        "cells": cells,
        "net": "conv2-cartesian-max-w16",
        "epochs": epochs,
        "one_worker_s": round(took[0], 2),
        "two_workers_s": round(took[1], 2),
        "ratio": round(took[0] / took[1], 3),
        "median_training_s": [round(seconds, 3) for seconds in training],
    }


def table(runs: Sequence[Mapping[str, Any]]) -> str:
    """Sizes side by side, as Markdown."""
    lines = [
        "| cells | plan | `run --dry-run` | again, all stored | `list` | a cell | driver's memory | database |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for run in runs:
        seconds = (
            run["read_s"] + run["plan_s"],
            run["dry_run_command_s"],
            run["resume_dry_run_command_s"],
            run["list_command_s"],
        )
        shown = [f"{run['cells']:,}", *(f"{x:.1f} s" for x in seconds)]
        shown += [f"{run['overhead_ms_a_cell']:.2f} ms"]
        shown += [f"{run[name]:.0f} MiB" for name in ("peak_mib", "database_mib")]
        lines.append(f"| {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    sizes = [1_000, 3_000, 10_000, 30_000, 100_000]
    parser.add_argument("--cells", type=int, nargs="*", default=sizes)
    parser.add_argument("--equal", type=int, default=16, help="cells for one worker and for two")
    parser.add_argument("--epochs", type=int, default=20, help="of each of these")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures")
    options = parser.parse_args(arguments)
    rows, load = [], [round(os.getloadavg()[0], 1)]
    for cells in options.cells:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows.append(pool.apply(measure, (cells,)))
        print(json.dumps(rows[-1]), flush=True)
    print(table(rows))
    load.append(round(os.getloadavg()[0], 1))
    report: dict[str, Any] = {"provenance": provenance("benchmarks.scale"), "runs": rows}
    if options.equal:
        report["equal_cells"] = equal_cells(options.equal, options.epochs)
        print(json.dumps(report["equal_cells"]), flush=True)
    # What else the machine was at, in processes: before all, before the equal cells and at the end.
    report["load"] = [*load, round(os.getloadavg()[0], 1)]
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
