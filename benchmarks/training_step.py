"""How long a training step takes: plain eager, the best dense step, delta maps; `python -m benchmarks.training_step`.

All ways of training a net take turns in one process, one thread, float32. Times are medians over all rounds and, as
neighbours on the machine only ever slow a step down, lower deciles ("quiet"). The net's accuracy is no concern here.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ablations.comparison.layout import markdown_table
from ablations.execution.model import forward_flops, training_flops
from benchmarks.machine import MachineRates, provenance, timed
from linefit.allocator import default_allocator, tune_allocator
from linefit.architectures import HIDDEN, LineNet, build
from linefit.deltamap import DeltaImages, FusedAdam
from linefit.deltamap.footprints import LIT, Footprint, Kernel
from linefit.images import LineImages, lab_split

BATCH = 128
KERNEL = Kernel((3, 3), (1, 1))
TAPS = len(KERNEL.offsets)
Step = Callable[[Tensor], Tensor]  # indices of a batch -> loss


@dataclass(frozen=True)
class Case:
    """A net of `linefit.architectures`."""

    architecture: str
    coordinates: str
    pooling: str
    width: int

    @property
    def depth(self) -> int:
        return int(self.architecture.removeprefix("conv"))

    def net(self, seed: int = 0) -> LineNet:
        net = build(self.architecture, self.coordinates, self.pooling, self.width, seed=seed)
        assert isinstance(net, LineNet)
        return net

    def __str__(self) -> str:
        return f"{self.architecture} {self.coordinates} {self.pooling} {self.width}"


LAB = (("conv1", "none", "flatten"), ("conv2", "none", "max"), ("conv2", "cartesian", "max"))
LAB_CASES = [Case(*net, 48) for net in LAB]
CASES = [
    *[Case(*net, width) for width in (8, 16, 48, 96) for net in LAB],
    *[Case("conv4", coordinates, "max", 48) for coordinates in ("none", "cartesian")],
]


def dense_step(case: Case, data: LineImages, *, tuned: bool, channels_last: bool) -> Step:
    """A step on dense tensors kept on the device; `tuned` has fused Adam and the tuned allocator."""
    net = case.net()
    images = torch.from_numpy(data.pixels).float()[:, None]
    params = torch.from_numpy(data.params)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net.to(memory_format=layout)  # type: ignore[call-overload]
    optimiser = torch.optim.Adam(net.parameters(), fused=True if tuned else None)

    def step(indices: Tensor) -> Tensor:
        batch = images[indices].contiguous(memory_format=layout)
        loss = F.mse_loss(net(batch), params[indices])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        return loss.detach()

    return step


def delta_step(case: Case, data: LineImages, images: DeltaImages) -> Step:
    """The same step on delta maps."""
    net = case.net()
    params = torch.from_numpy(data.params)
    optimiser = FusedAdam(net.parameters())

    def step(indices: Tensor) -> Tensor:
        loss = F.mse_loss(net(images.batch(indices)), params[indices])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        return loss.detach()

    return step


def dense_flop(case: Case, area: int = 1600) -> float:
    """Floating point operations of a dense training step."""
    channels = 1 + 2 * (case.coordinates != "none")
    flop = 0.0
    for layer in range(case.depth):
        weights = TAPS * channels * case.width
        flop += training_flops(weights, BATCH * area, reads_pixels=layer == 0)
        channels = case.width
    features = channels * area if case.pooling == "flatten" else channels
    return flop + training_flops(HIDDEN * (features + 2), BATCH)


def delta_flop(case: Case, images: DeltaImages) -> float:
    """The same for delta maps: rows that a convolution reads, the background, and arg-max patches."""
    area = images.tables.height * images.tables.width
    channels = 1 + 2 * (case.coordinates != "none")
    footprint: Footprint = LIT
    flop = 0.0
    for layer in range(case.depth):
        rows = BATCH * len(images.tables.active(footprint).site) / len(images)
        weights = TAPS * channels * case.width
        if layer == case.depth - 1 and case.pooling == "max":
            flop += forward_flops(weights, rows + area) + 2 * forward_flops(weights, BATCH)
        else:
            flop += training_flops(weights, rows + area, reads_pixels=layer == 0)
        footprint, channels = KERNEL.dilate(footprint), case.width
    rows = BATCH * len(images.tables.active(footprint).site) / len(images)
    if case.pooling == "flatten":
        return flop + training_flops(HIDDEN, channels * (rows + area) + BATCH * 2)
    return flop + training_flops(HIDDEN * (channels + 2), BATCH)


def update_bytes(case: Case) -> int:
    """Memory traffic that no sparsity spares: weights read forward, backward and by Adam, and its moments."""
    parameters = sum(parameter.numel() for parameter in case.net().parameters())
    return 4 * parameters * (2 + 6)


def measure(
    case: Case, data: LineImages, images: DeltaImages, rounds: int, rates: MachineRates
) -> dict[str, Any]:
    """One row of the table: milliseconds of each way, ratios, arithmetic and traffic."""
    plain_torch = DeltaImages(data.pixels, kernels="torch")
    ways: dict[str, tuple[Callable[[], bool], Step, int]] = {
        "plain": (default_allocator, dense_step(case, data, tuned=False, channels_last=False), 1),
        "dense_nchw": (tune_allocator, dense_step(case, data, tuned=True, channels_last=False), 1),
        "dense_nhwc": (tune_allocator, dense_step(case, data, tuned=True, channels_last=True), 1),
        "delta_torch": (tune_allocator, delta_step(case, data, plain_torch), 2),
        "delta": (tune_allocator, delta_step(case, data, images), 5),
    }
    order = torch.Generator().manual_seed(0)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        indices = torch.randperm(len(images), generator=order)[:BATCH]
        rates.look()
        for name, (allocator, step, repeats) in ways.items():
            allocator()
            # One step that does not count brings this way's data back into the caches after the others' turns.
            took = timed(partial(step, indices), repeats + 1)[1:]
            if turn:  # the first round compiles, allocates and builds tables
                seconds[name] += took
    ms = {name: 1e3 * statistics.median(times) for name, times in seconds.items()}
    quiet = {name: 1e3 * lower_decile(times) for name, times in seconds.items()}
    best, best_quiet = (min(of["dense_nchw"], of["dense_nhwc"]) for of in (ms, quiet))
    return {
        **asdict(case),
        **{f"{name}_ms": value for name, value in ms.items()},
        **{f"{name}_quiet_ms": value for name, value in quiet.items()},
        **{f"{name}_iqr_ms": 1e3 * _iqr(times) for name, times in seconds.items()},
        "steps": {name: len(times) for name, times in seconds.items()},
        "best_dense_ms": best,
        "best_dense_quiet_ms": best_quiet,
        "plain_over_delta": ms["plain"] / ms["delta"],
        "best_dense_over_delta": best / ms["delta"],
        "best_dense_over_delta_quiet": best_quiet / quiet["delta"],
        "dense_gflop": dense_flop(case) / 1e9,
        "delta_gflop": delta_flop(case, images) / 1e9,
        "update_gb": update_bytes(case) / 1e9,
    }


def best_gflops(rows: list[dict[str, Any]], rates: MachineRates) -> float:
    """The best rate of float32 arithmetic that anything measured here has shown: a product or a whole step."""
    steps = [1e3 * row["dense_gflop"] / row["best_dense_quiet_ms"] for row in rows]
    steps += [1e3 * row["delta_gflop"] / row["delta_quiet_ms"] for row in rows]
    best: float = max(rates.sgemm_gflops, *steps)
    return best


def with_fractions(row: dict[str, Any], gflops: float, rates: MachineRates) -> dict[str, Any]:
    """How near a row comes to the machine's best rates: no bound on what another algorithm may need."""
    at_best = 1e3 * (row["delta_gflop"] / gflops + row["update_gb"] / rates.copy_gbs)
    return {
        **row,
        "best_dense_of_best_rate": 1e3 * row["dense_gflop"] / row["best_dense_quiet_ms"] / gflops,
        "delta_at_best_rate_ms": at_best,
        "delta_of_best_rate": at_best / row["delta_quiet_ms"],
    }


def lower_decile(values: list[float]) -> float:
    return float(np.quantile(values, 0.1))


def _iqr(values: list[float]) -> float:
    if len(values) < 2:
        return 0.0
    lower, _, upper = statistics.quantiles(values, n=4, method="inclusive")
    return upper - lower


COLUMNS = {
    "net": "{architecture} {coordinates} {pooling}",
    "width": "{width}",
    "plain ms": "{plain_ms:.1f}",
    "best dense ms": "{best_dense_ms:.1f}",
    "delta, torch ms": "{delta_torch_ms:.1f}",
    "delta ms": "{delta_ms:.2f}",
    "quiet: dense ms": "{best_dense_quiet_ms:.1f}",
    "quiet: delta ms": "{delta_quiet_ms:.2f}",
    "plain/delta": "{plain_over_delta:.1f}x",
    "dense/delta": "{best_dense_over_delta:.1f}x",
    "quiet: dense/delta": "{best_dense_over_delta_quiet:.1f}x",
    "GFLOP dense": "{dense_gflop:.2f}",
    "GFLOP delta": "{delta_gflop:.3f}",
    "of best rate: dense": "{best_dense_of_best_rate:.0%}",
    "of best rate: delta": "{delta_of_best_rate:.0%}",
}
BRIEF = ("net", "width", "plain ms", "best dense ms", "delta ms", "plain/delta", "dense/delta")


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = tuple(COLUMNS)) -> str:
    """Markdown."""
    return markdown_table(
        columns, [[COLUMNS[column].format(**row) for column in columns] for row in rows]
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_step", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="the lab's three nets only, about a minute"
    )
    parser.add_argument(
        "--rounds", type=int, help="turns of every way, per net (default 9; 5 with --quick)"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write all figures and their provenance"
    )
    options = parser.parse_args(arguments)
    if options.rounds is not None and options.rounds < 1:
        parser.error(f"--rounds {options.rounds} is not a positive number of turns")
    torch.set_num_threads(1)
    rounds = options.rounds or (5 if options.quick else 9)
    data = lab_split("train")
    images = DeltaImages(data.pixels)
    rates = MachineRates()
    rows = []
    for case in LAB_CASES if options.quick else CASES:
        rows.append(measure(case, data, images, rounds, rates))
        print(f"{case}: {rows[-1]['best_dense_over_delta']:.1f}x", file=sys.stderr)
    gflops = best_gflops(rows, rates)
    rows = [with_fractions(row, gflops, rates) for row in rows]
    print(table(rows))
    print(
        f"\nMedians and lower deciles (quiet) of {rounds} interleaved rounds, batch {BATCH}, float32, 1 thread."
        f" Best rate in anything measured {gflops:.0f} GFLOP/s (sgemm {rates.sgemm_gflops:.0f}),"
        f" copy {rates.copy_gbs:.0f} GB/s. Of best rate: the time that the arithmetic at this rate and the parameters'"
        " traffic at the copy rate would take, over the quiet step."
    )
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        report = {
            "provenance": {
                **provenance("benchmarks.training_step"),
                "batch": BATCH,
                "dtype": "float32",
            },
            "rates": {**asdict(rates), "best_gflops": gflops},
            "rounds": rounds,
            "cases": rows,
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
