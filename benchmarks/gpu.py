"""Trainings an hour on a GPU, one cell at a time and in packs: `python -m benchmarks.gpu`, at most 8 minutes.

Correctness comes first: kernels that differ from dense float64 are not timed. What fails is told and does not end the
rest. `--smoke` runs all of it on the CPU in a small form, whose figures say nothing.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ablations.comparison.layout import markdown_table
from ablations.execution.events import Finished
from ablations.execution.workers import run_cells
from ablations.study.reader import load_study
from ablations.study.study import Variant
from benchmarks.gpu_checks import correctness
from benchmarks.gpu_timing import EPOCHS, SMOKE, Size, an_hour, attempt, peaks
from benchmarks.gpu_ways import Way, dense_graph, packed, plain, vmapped
from benchmarks.machine import provenance
from benchmarks.training_step import LAB, Case, delta_flop, update_bytes
from linefit.deltamap import DeltaImages
from linefit.engines import set_precision
from linefit.images import LineImages, lab_images
from linefit.packs import PackImages, recognise
from linefit.packs.kernels.choice import KernelSet

TOLERANCE = 1e-9  # of outputs and gradients in float64, relative to the largest


def rows(
    size: Size,
    data: LineImages,
    device: torch.device,
    sets: list[KernelSet],
    left: Callable[[], float],
) -> list[dict[str, Any]]:
    """Trainings an hour of each net in each way, and the shares of the device's peaks."""
    flops, copy_rate = peaks(device, 8192 if device.type == "cuda" else 256)
    images = DeltaImages(data.pixels)
    found = []
    for net, width in itertools.product(LAB, size.widths):
        if left() < 0:
            break
        case = Case(*net, width)
        ways: dict[str, Callable[[], Way]] = {
            "plain": partial(plain, case, data, size.batch, device),
            "dense_graph": partial(dense_graph, case, data, size.batch, device),
            "vmap": partial(vmapped, case, data, size.batch, device, size.cells),
        }
        tables = tables_of(case, data, device)
        for name in sets:
            ways[f"pack_{name}"] = partial(
                packed, case, data, size.batch, device, size.cells, name, tables
            )
        seconds = {name: attempt(way, size, device) for name, way in ways.items()}
        best = min(
            (s for n, s in seconds.items() if n.startswith("pack") and isinstance(s, float)),
            default=None,
        )
        row: dict[str, Any] = {**asdict(case), "cells": size.cells, "seconds_per_step": seconds}
        row["trainings_an_hour"] = {name: an_hour(s, size) for name, s in seconds.items()}
        if best:
            row["share_of_arithmetic"] = delta_flop(case, images) / best / flops
            row["share_of_bandwidth"] = update_bytes(case) / best / copy_rate
        found.append(row)
        print(f"{case}: {row['trainings_an_hour']}", file=sys.stderr)
    return found


def tables_of(case: Case, data: LineImages, device: torch.device) -> PackImages:
    """The tables of a data set for the convolutions of a net."""
    return PackImages(
        data.pixels, recognise(case.net(0), data.pixels.shape[1]).convolutions, device
    )


def curve(
    size: Size,
    data: LineImages,
    device: torch.device,
    kernel_set: KernelSet,
    left: Callable[[], float],
) -> dict[int, float | str]:
    """Trainings an hour of the CoordConv net by the size of the pack."""
    case = Case(*LAB[2], 48 if 48 in size.widths else size.widths[0])
    tables, found = tables_of(case, data, device), {}
    for cells in size.curve:
        if left() < 0:
            break
        way = partial(packed, case, data, size.batch, device, cells, kernel_set, tables)
        seconds = attempt(way, size, device)
        found[cells] = an_hour(seconds, size)
    return found


def harness(
    study: str, size: Size, device: torch.device, left: Callable[[], float]
) -> dict[str, Any]:
    """Cells of a study that the harness trains and evaluates in the time that is left."""
    cells = load_study(study).cells(range(size.seeds) if study == "lab5" else None)
    if size.smoke:
        small = {"epochs": 1, "train_size": size.train, "width": size.widths[0]}
        cells = [
            replace(cell, variant=with_levels(cell.variant, small), splits=("test",))
            for cell in cells[:3]
        ]
    start, statuses = time.perf_counter(), []
    events = run_cells(
        cells, device=str(device), workers=1, pack=size.cells if size.smoke else None
    )
    with closing(events):
        for event in events:
            if isinstance(event, Finished):
                statuses.append(event.outcome.status)
            if left() < 0:
                break
    seconds = time.perf_counter() - start
    ended = {status: statuses.count(status) for status in sorted(set(statuses))}
    return {"study": study, "cells": len(cells), "seconds": seconds, "ended": ended}


def with_levels(variant: Variant, levels: dict[str, Any]) -> Variant:
    return replace(variant, levels={**variant.levels, **levels})


def device_facts(device: torch.device) -> dict[str, Any]:
    if device.type != "cuda":
        return {"device": str(device)}
    facts = torch.cuda.get_device_properties(device)
    return {"device": facts.name, "memory_gib": facts.total_memory / 2**30}


def kernel_sets(device: torch.device) -> list[KernelSet]:
    with_triton = device.type == "cuda" and importlib.util.find_spec("triton")
    return ["plain", "fused"] if with_triton else ["plain"]


def errors_of(kernel_set: KernelSet, size: Size, device: torch.device) -> dict[str, float] | str:
    """Largest relative errors by net, or why there are none."""
    try:
        errors = correctness(size.images_checked, device, kernel_set)
    except Exception as error:  # whatever a compiler may raise
        traceback.print_exc()
        return f"{type(error).__name__}: {error}".splitlines()[0]
    worst = max(errors.values())
    print(f"{kernel_set} kernels: largest relative error {worst:.1e}", file=sys.stderr)
    return errors


def is_right(errors: dict[str, float] | str) -> bool:
    """Whether no error is above the tolerance; NaN is."""
    return not isinstance(errors, str) and all(e < TOLERANCE for e in errors.values())


def table(found: list[dict[str, Any]]) -> str:
    """Trainings an hour, as Markdown."""
    names = list(found[0]["trainings_an_hour"]) if found else []
    lines = [
        [f"{row['architecture']} {row['coordinates']} {row['pooling']}", row["width"]]
        + [
            cell if isinstance(cell, str) else f"{cell:,.0f}"
            for cell in map(row["trainings_an_hour"].get, names)
        ]
        for row in found
    ]
    return markdown_table(["net", "width", *names], lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures")
    parser.add_argument(
        "--smoke", action="store_true", help="a small run on the CPU; its figures say nothing"
    )
    options = parser.parse_args(arguments)
    if not options.smoke and not torch.cuda.is_available():
        parser.error(
            f"torch {torch.__version__} finds no CUDA device here; --smoke runs on the CPU"
        )
    device = torch.device("cpu" if options.smoke else "cuda")
    size = SMOKE if options.smoke else Size()
    set_precision(tf32=False, device=device)
    start = time.monotonic()

    def until(share: float) -> Callable[[], float]:
        """Seconds that are left until that share of all has passed."""
        return lambda: start + share * size.seconds - time.monotonic()

    errors = {name: errors_of(name, size, device) for name in kernel_sets(device)}
    sets = [name for name, error in errors.items() if is_right(error)]
    if "plain" not in sets:
        raise SystemExit(f"packs differ from dense float64: {errors['plain']}")
    data = lab_images(size.train)
    found = rows(size, data, device, sets, until(size.nets_until))
    by_size = {name: curve(size, data, device, name, until(size.curve_until)) for name in sets}
    studies = [
        harness("lab5", size, device, until(size.lab5_until)),
        harness("factorial", size, device, until(1)),
    ]
    report = {
        "provenance": {
            **provenance("benchmarks.gpu"),
            **device_facts(device),
            "smoke": options.smoke,
        },
        "size": asdict(size),
        "relative_errors": errors,
        "nets": found,
        "trainings_an_hour_by_cells": by_size,
        "harness": studies,
    }
    print(table(found))
    print(
        f"\nTrainings of {EPOCHS} epochs an hour, evaluation apart. By cells of a pack: {by_size}"
    )
    print(f"The harness: {studies}")
    if options.smoke:
        print("A smoke run: these figures say nothing about a GPU.")
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
