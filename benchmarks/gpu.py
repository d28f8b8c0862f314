"""Trainings an hour on a GPU, one cell at a time and in packs: `python -m benchmarks.gpu`, at most 8 minutes.

Correctness comes first: nothing is timed if a pack differs from dense float64. `--smoke` runs all of it on the CPU in
a small form, whose figures say nothing.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ablations.comparison.layout import markdown_table
from ablations.execution.workers import Finished, run_cells
from ablations.study.reader import load_study
from ablations.study.study import Variant
from benchmarks.gpu_checks import correctness
from benchmarks.gpu_ways import Way, dense_graph, packed, plain, vmapped
from benchmarks.machine import provenance
from benchmarks.training_step import LAB, Case, delta_flop, update_bytes
from linefit.deltamap import DeltaImages
from linefit.engines import set_precision
from linefit.images import LineImages, lab_images
from linefit.packs.kernels.choice import KernelSet

EPOCHS = 100  # of the training that an hour is counted in
TOLERANCE = 1e-9  # of outputs and gradients in float64, relative to the largest


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    train: int = 5000
    batch: int = 128
    widths: tuple[int, ...] = (8, 16, 48, 96)
    cells: int = 64  # of a pack, and of stacked modules
    curve: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256)
    images_checked: int = 64
    study: str = "lab5"
    seeds: int = 20
    seconds: float = 440.0  # after which nothing new is begun
    smoke: bool = False


SMOKE = Size(48, 16, (2,), 2, (1, 2), 4, "quick", 2, 1000.0, smoke=True)


def seconds_per_step(way: Way, size: Size, device: torch.device) -> float:
    """Seconds of a step of one cell: an epoch of whole batches, after one that does not count."""
    whole = size.train // size.batch * size.batch
    orders = [
        np.stack(
            [np.random.default_rng((turn, c)).permutation(size.train) for c in range(way.cells)]
        )
        for turn in (0, 1)
    ]
    way.epoch(orders[0][:, :whole])
    wait(device)
    start = time.perf_counter()
    way.epoch(orders[1][:, :whole])
    wait(device)
    if not bool(torch.isfinite(way.losses()).all()):
        raise RuntimeError("a loss is not finite: what was timed is no training")
    return (time.perf_counter() - start) / (whole // size.batch) / way.cells


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peaks(device: torch.device, side: int) -> tuple[float, float]:
    """FLOP/s of a float32 product of `side`^3 and bytes/s of a copy: the best of five."""
    a, b = (torch.randn(side, side, device=device) for _ in range(2))
    source = torch.randn(side * side * 8, device=device)
    target = torch.empty_like(source)

    def best(run: Callable[[], object]) -> float:
        seconds = []
        for _ in range(6):
            wait(device)
            start = time.perf_counter()
            run()
            wait(device)
            seconds.append(time.perf_counter() - start)
        return min(seconds[1:])

    flops = 2 * side**3 / best(lambda: torch.mm(a, b))
    return flops, 2 * source.nbytes / best(lambda: target.copy_(source))


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
        for name in sets:
            ways[f"pack_{name}"] = partial(packed, case, data, size.batch, device, size.cells, name)
        seconds = {name: attempt(way, size, device) for name, way in ways.items()}
        best = min(
            (s for name, s in seconds.items() if name.startswith("pack") and s), default=None
        )
        row: dict[str, Any] = {**asdict(case), "cells": size.cells, "seconds_per_step": seconds}
        row["trainings_an_hour"] = {name: an_hour(s, size) for name, s in seconds.items()}
        if best:
            row["share_of_arithmetic"] = delta_flop(case, images) / best / flops
            row["share_of_bandwidth"] = update_bytes(case) / best / copy_rate
        found.append(row)
        print(f"{case}: {row['trainings_an_hour']}", file=sys.stderr)
    return found


def attempt(way: Callable[[], Way], size: Size, device: torch.device) -> float | None:
    """Seconds a step, None where the device has not the memory."""
    try:
        return seconds_per_step(way(), size, device)
    except torch.OutOfMemoryError:
        return None


def an_hour(seconds: float | None, size: Size) -> float | None:
    """Trainings of 100 epochs an hour, evaluation apart."""
    steps = EPOCHS * -(-size.train // size.batch)
    return None if seconds is None else 3600 / (steps * seconds)


def curve(
    size: Size,
    data: LineImages,
    device: torch.device,
    kernel_set: KernelSet,
    left: Callable[[], float],
) -> dict[int, float | None]:
    """Trainings an hour of the CoordConv net by the size of the pack."""
    case = Case(*LAB[2], 48 if 48 in size.widths else size.widths[0])
    found = {}
    for cells in size.curve:
        if left() < 0:
            break
        way = partial(packed, case, data, size.batch, device, cells, kernel_set)
        seconds = attempt(way, size, device)
        found[cells] = an_hour(seconds, size)
    return found


def harness(size: Size, device: torch.device, left: Callable[[], float]) -> dict[str, Any]:
    """Cells of a study that the harness trains and evaluates in the time that is left."""
    cells = load_study(size.study).cells(range(size.seeds))
    if size.smoke:
        small = {"epochs": 1, "train_size": size.train, "width": size.widths[0]}
        cells = [
            replace(cell, variant=with_levels(cell.variant, small), splits=("test",))
            for cell in cells
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
    return {"study": size.study, "cells": len(cells), "seconds": seconds, "ended": ended}


def with_levels(variant: Variant, levels: dict[str, Any]) -> Variant:
    return replace(variant, levels={**variant.levels, **levels})


def device_facts(device: torch.device) -> dict[str, Any]:
    if device.type != "cuda":
        return {"device": str(device)}
    facts = torch.cuda.get_device_properties(device)
    return {"device": facts.name, "memory_gib": facts.total_memory / 2**30}


def table(found: list[dict[str, Any]]) -> str:
    """Trainings an hour, as Markdown."""
    names = list(found[0]["trainings_an_hour"]) if found else []
    lines = [
        [f"{row['architecture']} {row['coordinates']} {row['pooling']}", row["width"]]
        + [
            "no memory"
            if row["trainings_an_hour"][name] is None
            else f"{row['trainings_an_hour'][name]:,.0f}"
            for name in names
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
    deadline = time.monotonic() + size.seconds

    def left() -> float:
        return deadline - time.monotonic()

    sets: list[KernelSet] = ["plain"]
    if device.type == "cuda" and importlib.util.find_spec("triton"):
        sets.append("fused")
    errors = {name: correctness(size.images_checked, device, name) for name in sets}
    for name, error in errors.items():
        print(f"{name} kernels: largest relative error {max(error.values()):.1e}", file=sys.stderr)
        if not max(error.values()) < TOLERANCE:
            raise SystemExit(f"{name} kernels differ from dense float64: {error}")
    data = lab_images(size.train)
    # The harness has its minutes at the end.
    found = rows(size, data, device, sets, lambda: left() - 0.4 * size.seconds)
    by_size = {
        name: curve(size, data, device, name, lambda: left() - 0.3 * size.seconds) for name in sets
    }
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
        "harness": harness(size, device, left),
    }
    print(table(found))
    print(
        f"\nTrainings of {EPOCHS} epochs an hour, evaluation apart. By cells of a pack: {by_size}"
    )
    print(f"The harness: {report['harness']}")
    if options.smoke:
        print("A smoke run: these figures say nothing about a GPU.")
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
