"""How long a compiled step takes beside the best dense one and delta maps; `python -m benchmarks.fused_step`.

The ways take turns in one process, one thread, float32, batch 128. Wall time is what a user waits; processor time is
what neighbours on the machine distort least. Both are given for every round, and the machine's load.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ablations.comparison.layout import markdown_table
from benchmarks.machine import provenance
from benchmarks.training_step import BATCH, LAB, Case, delta_step, dense_step
from linefit.allocator import tune_allocator
from linefit.deltamap import DeltaImages
from linefit.fused import FusedImages, FusedTrainer, fused_predictions, instruction_set, recognise
from linefit.images import LineImages, lab_images, lab_split

STEPS = 8  # of the compiled program in one call
EVALUATED = 10_000  # images that are predicted, scaled to EVALUATION
EVALUATION = 50_000
CASES = [
    *[Case(*net, width) for width in (8, 16, 48) for net in LAB],
    *[
        Case("conv2", "cartesian", pooling, 48)
        for pooling in ("average", "logsumexp", "spatial_softmax", "attention", "grid4")
    ],
    Case("conv4", "cartesian", "max", 48),
]
Clock = dict[str, float]  # "wall" and "processor", in seconds


def clocked(function: Callable[[], object]) -> Clock:
    wall, processor = time.perf_counter(), time.thread_time()
    function()
    return {"wall": time.perf_counter() - wall, "processor": time.thread_time() - processor}


def fused_steps(case: Case, data: LineImages) -> Callable[[torch.Tensor], float]:
    """`STEPS` steps on the batches `(STEPS, BATCH)`: the sum over images of their losses."""
    program = recognise(case.net(), *data.pixels.shape[1:])
    if program is None:
        raise ValueError(f"{case} is no net that the compiled step knows")
    trainer, images = FusedTrainer(program), FusedImages(data.pixels, torch.float32)
    targets, rates = torch.from_numpy(data.params), np.full(STEPS, 1e-3)
    return lambda batches: trainer.take(images, targets, list(batches), rates)


def measure(case: Case, data: LineImages, rounds: int) -> dict[str, Any]:
    """Seconds a step of each way in each round, and medians with their ratios."""
    dense = {
        name: dense_step(case, data, tuned=True, channels_last=name == "dense_nhwc")
        for name in ("dense_nchw", "dense_nhwc")
    }
    delta, fused = delta_step(case, data, DeltaImages(data.pixels)), fused_steps(case, data)
    raw: dict[str, list[Clock]] = {name: [] for name in (*dense, "delta", "fused")}
    generator = torch.Generator().manual_seed(0)
    for turn in range(rounds + 1):
        order = torch.randperm(len(data), generator=generator)[: STEPS * BATCH]
        batches = order.view(STEPS, BATCH)
        times = {name: clocked(partial(step, batches[0])) for name, step in dense.items()}
        times["delta"] = clocked(partial(delta, batches[0]))
        fused(batches)
        of_all = clocked(partial(fused, batches))
        times["fused"] = {clock: seconds / STEPS for clock, seconds in of_all.items()}
        if turn:  # the first round compiles, allocates and builds tables
            for name, found in times.items():
                raw[name].append(found)
    row: dict[str, Any] = {**asdict(case), "rounds": raw}
    for clock in ("wall", "processor"):
        ms = {
            name: 1e3 * statistics.median(found[clock] for found in times)
            for name, times in raw.items()
        }
        best = min(ms["dense_nchw"], ms["dense_nhwc"])
        row[clock] = {
            **{f"{name}_ms": value for name, value in ms.items()},
            "best_dense_over_fused": best / ms["fused"],
            "delta_over_fused": ms["delta"] / ms["fused"],
        }
    return row


def measure_evaluation(case: Case) -> dict[str, Any]:
    """Seconds for `EVALUATION` images: index tables, then predictions."""
    data = lab_images(EVALUATED, random_offset=10_000_000)
    program = recognise(case.net(), *data.pixels.shape[1:])
    assert program is not None
    images = FusedImages(data.pixels, torch.float32)
    tables = clocked(lambda: images.tables(program))
    predictions = [clocked(lambda: fused_predictions(program, images, EVALUATED)) for _ in range(3)]
    scale = EVALUATION / EVALUATED
    return {
        **asdict(case),
        "measured_images": EVALUATED,
        "tables": {clock: scale * seconds for clock, seconds in tables.items()},
        "predictions": [
            {clock: scale * seconds for clock, seconds in found.items()} for found in predictions
        ],
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown, of processor time."""
    columns = ("net", "width", "best dense ms", "delta ms", "fused ms", "dense/fused", "wall")
    cells = []
    for row in rows:
        of = row["processor"]
        cells.append(
            [
                f"{row['architecture']} {row['coordinates']} {row['pooling']}",
                str(row["width"]),
                f"{min(of['dense_nchw_ms'], of['dense_nhwc_ms']):.1f}",
                f"{of['delta_ms']:.2f}",
                f"{of['fused_ms']:.2f}",
                f"{of['best_dense_over_fused']:.1f}x",
                f"{row['wall']['best_dense_over_fused']:.1f}x",
            ]
        )
    return markdown_table(columns, cells)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fused_step", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="turns of every way, per net")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all rounds")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds} is not a positive number of turns")
    if instruction_set() is None:
        parser.error("the compiled training step was not built when linefit was installed")
    torch.set_num_threads(1)
    tune_allocator()
    data = lab_split("train")
    load = [os.getloadavg()[0]]
    rows = []
    for case in CASES:
        rows.append(measure(case, data, options.rounds))
        ratio = rows[-1]["processor"]["best_dense_over_fused"]
        print(f"{case}: {ratio:.1f}x", file=sys.stderr)
    evaluation = measure_evaluation(Case("conv2", "cartesian", "max", 48))
    load.append(os.getloadavg()[0])
    print(table(rows))
    print(
        f"\nMedians of processor time over {options.rounds} interleaved rounds ({instruction_set()}, batch {BATCH},"
        f" float32, 1 thread; the last column of wall time). Load of the machine: {load[0]:.1f} before,"
        f" {load[1]:.1f} after, on {os.cpu_count()} cores."
    )
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        report = {
            "provenance": {**provenance("benchmarks.fused_step"), "batch": BATCH},
            "instruction_set": instruction_set(),
            "load_average": load,
            "cases": rows,
            "evaluation": evaluation,
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
