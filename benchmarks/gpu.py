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
from benchmarks.gpu_checks import correctness, recorded, recorded_modules
from benchmarks.gpu_timing import EPOCHS, SMOKE, Size, an_hour, attempt, peaks
from benchmarks.gpu_traffic import step_bytes
from benchmarks.gpu_ways import Way, dense_graph, modules, packed, plain, vmapped
from benchmarks.machine import provenance
from benchmarks.training_step import LAB, Case, delta_flop, update_bytes
from linefit.deltamap import DeltaImages
from linefit.engines import set_precision
from linefit.images import LineImages, lab_images
from linefit.packs import PackImages, recognise
from linefit.packs.kernels.choice import KernelSet

TOLERANCE = 1e-9  # of outputs and gradients in float64, relative to the largest


# What is measured first says most; the last net has no delta form, and no pack but one of modules.
CASES = [*reversed(LAB), ("strided", "cartesian", "max")]
FIRST_WIDTH = 48


def rows(
    size: Size,
    data: LineImages,
    device: torch.device,
    sets: list[KernelSet],
    left: Callable[[], float],
    *,
    with_modules: bool = True,
) -> list[dict[str, Any]]:
    """Trainings an hour of each net in each way, and the shares of the device's peaks."""
    flops, copy_rate = peaks(device, 8192 if device.type == "cuda" else 256)
    images = DeltaImages(data.pixels)
    widths = sorted(size.widths, key=lambda width: width != FIRST_WIDTH)
    found = []
    for width, net in itertools.product(widths, CASES):
        if left() < 0:
            break
        case = Case(*net, width)
        ways = ways_of(case, size, data, device, sets)
        if not with_modules:
            del ways["modules"]
        seconds = {name: attempt(way, size, device) for name, way in ways.items()}
        row: dict[str, Any] = {**asdict(case), "cells": size.cells, "seconds_per_step": seconds}
        row["trainings_an_hour"] = {name: an_hour(s, size) for name, s in seconds.items()}
        if net in LAB:
            row |= shares(case, size, data, images, seconds, flops, copy_rate)
        found.append(row)
        print(f"{case}: {row['trainings_an_hour']}", file=sys.stderr)
    return found


def ways_of(
    case: Case, size: Size, data: LineImages, device: torch.device, sets: list[KernelSet]
) -> dict[str, Callable[[], Way]]:
    """The ways of training a net, by name."""
    ways: dict[str, Callable[[], Way]] = {
        "plain": partial(plain, case, data, size.batch, device),
        "dense_graph": partial(dense_graph, case, data, size.batch, device),
        "vmap": partial(vmapped, case, data, size.batch, device, size.cells),
        "modules": partial(modules, case, data, size.batch, device, size.cells),
    }
    if case.architecture == "strided":
        return ways
    tables = tables_of(case, data, device)
    for name in sets:
        ways[f"pack_{name}"] = partial(
            packed, case, data, size.batch, device, size.cells, name, tables
        )
    return ways


def shares(
    case: Case,
    size: Size,
    data: LineImages,
    images: DeltaImages,
    seconds: dict[str, float | str],
    flops: float,
    copy_rate: float,
) -> dict[str, float]:
    """How near packs come to the device's rates of products and of copies.

    `share_of_bandwidth` counts all that the operations of a step with plain kernels read and write,
    `share_of_bandwidth_by_parameters` what no kernel can spare: weights, read forward, backward and by Adam, and
    moments.
    """
    plain_kernels = seconds.get("pack_plain")
    best = min(
        (s for n, s in seconds.items() if n.startswith("pack") and isinstance(s, float)),
        default=None,
    )
    found = {}
    if best:
        found["share_of_arithmetic"] = delta_flop(case, images) / best / flops
        found["share_of_bandwidth_by_parameters"] = update_bytes(case) / best / copy_rate
    if isinstance(plain_kernels, float):
        moved = step_bytes(case, data, size.batch)
        found["bytes_per_step"] = moved
        found["share_of_bandwidth"] = moved / plain_kernels / copy_rate
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


def errors_of(name: str, check: Callable[[], dict[str, float]]) -> dict[str, float] | str:
    """Largest relative errors by net, or why there are none."""
    try:
        errors = check()
    except Exception as error:  # whatever a compiler may raise
        traceback.print_exc()
        return f"{type(error).__name__}: {error}".splitlines()[0]
    worst = max(errors.values())
    print(f"{name}: largest relative error {worst:.1e}", file=sys.stderr)
    return errors


def is_right(errors: dict[str, float] | str) -> bool:
    """Whether no error is above the tolerance; NaN is."""
    return not isinstance(errors, str) and all(e < TOLERANCE for e in errors.values())


def table(found: list[dict[str, Any]]) -> str:
    """Trainings an hour, as Markdown."""
    names = list(dict.fromkeys(name for row in found for name in row["trainings_an_hour"]))
    lines = [
        [f"{row['architecture']} {row['coordinates']} {row['pooling']}", row["width"]]
        + [
            cell if isinstance(cell, str) else f"{cell:,.0f}"
            for cell in (row["trainings_an_hour"].get(name, "") for name in names)
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

    def check(kernel_set: KernelSet) -> dict[str, float]:
        count = size.images_checked
        return correctness(count, device, kernel_set) | recorded(count, device, kernel_set)

    names = kernel_sets(device)
    errors = {name: errors_of(f"{name} kernels", partial(check, name)) for name in names}
    sets = [name for name in names if is_right(errors[name])]
    of_modules = errors_of("modules", lambda: recorded_modules(size.images_checked, device))
    if "plain" not in sets:
        raise SystemExit(f"packs differ from dense float64: {errors['plain']}")
    data = lab_images(size.train)
    with_modules = is_right(of_modules)
    found = rows(size, data, device, sets, until(size.nets_until), with_modules=with_modules)
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
        "relative_errors": {
            **{str(name): each for name, each in errors.items()},
            "modules": of_modules,
        },
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
