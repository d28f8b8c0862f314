"""What a cell will cost, before it is trained: for time ranges and a fair progress bar.

Estimates come from finished cells of the same variant where there are some, else from a count of the arithmetic.
"""

from __future__ import annotations

import contextlib
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ablations.study.study import Cell, Variant
from linefit.images import LAB_DIM, SPLITS
from linefit.protocol import Protocol

# Share of sites where a feature map differs from the background after 1, 2, 3, 4 convolutions of 3x3.
ACTIVE_SITES = (0.04, 0.09, 0.15, 0.20)
# Arithmetic and memory rates of one ordinary core. Only ratios matter once a cell of the study has been measured.
FLOPS_PER_SECOND = 2.5e10
PARAMETERS_PER_SECOND = 4e8
SECONDS_PER_STEP = 4e-3
START_SECONDS = 5.0  # of workers, and of what is drawn at the end


@dataclass(frozen=True)
class Estimate:
    """A range of wall time in seconds for all cells together."""

    low: float
    high: float
    measured: bool  # whether finished cells stand behind it

    def __str__(self) -> str:
        basis = (
            "from finished cells" if self.measured else "no cell has been timed yet: a rough guess"
        )
        return f"{duration(self.low)} to {duration(self.high)} ({basis})"


@dataclass(frozen=True)
class Size:
    """What the cost of a net is counted from."""

    convolutions: tuple[float, ...]  # weights of each, in the order of the net
    parameters: float

    def seconds(self, protocol: Protocol) -> float:
        """Training time on one ordinary core."""
        flops = 0.0
        for layer, weights in enumerate(self.convolutions):
            active = ACTIVE_SITES[min(layer, len(ACTIVE_SITES) - 1)] + 1 / protocol.batch_size
            share = 1.0 if protocol.engine == "dense" else active
            flops += 6 * weights * LAB_DIM**2 * protocol.batch_size * share
        steps = protocol.epochs * protocol.steps_per_epoch
        return steps * (
            SECONDS_PER_STEP + flops / FLOPS_PER_SECOND + self.parameters / PARAMETERS_PER_SECOND
        )


def modelled_seconds(variants: Iterable[Variant]) -> dict[str, float]:
    """Name -> training time of a cell of each variant on one ordinary core, from a count of its arithmetic.

    Building a net takes 20 ms. Of nets that differ in width alone three are built: weights are polynomials of degree
    two in the width.
    """
    groups: dict[tuple[Any, ...], list[Variant]] = {}
    for variant in variants:
        rest = tuple(x for factor, x in variant.net.items() if factor != "width")
        groups.setdefault(rest, []).append(variant)
    seconds = {}
    for group in groups.values():
        of_width = {int(variant.levels["width"]): variant for variant in group}
        widths = sorted(of_width)
        few = widths if len(widths) <= 3 else [widths[0], widths[len(widths) // 2], widths[-1]]
        sizes = {width: _size(of_width[width]) for width in few}
        for variant in group:
            width = int(variant.levels["width"])
            size = sizes[width] if width in sizes else _between(sizes, width)
            seconds[variant.name] = size.seconds(variant.protocol)
    return seconds


def _size(variant: Variant) -> Size:
    # Plans are made where nobody asks for a time and torch would be imported for nothing.
    import torch

    from linefit.architectures import build

    own = any(":" in str(level) for level in variant.net.values())
    # Shapes alone, no memory and no random numbers; code of the user's may not know of such a device.
    with contextlib.nullcontext() if own else torch.device("meta"):
        net = build(**variant.net, seed=0)
    convolutions = [m.weight.numel() for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    parameters = sum(parameter.numel() for parameter in net.parameters())
    return Size(tuple(map(float, convolutions)), float(parameters))


def _between(sizes: Mapping[int, Size], width: int) -> Size:
    """The size at a width by Lagrange's polynomial through the others."""
    weights = {
        one: math.prod((width - other) / (one - other) for other in sizes if other != one)
        for one in sizes
    }

    def at(values: Mapping[int, float]) -> float:
        return sum(weights[one] * value for one, value in values.items())

    layers = range(min(len(size.convolutions) for size in sizes.values()))
    convolutions = tuple(at({w: s.convolutions[i] for w, s in sizes.items()}) for i in layers)
    return Size(convolutions, at({w: s.parameters for w, s in sizes.items()}))


def cell_seconds(cells: Iterable[Cell], timings: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Key -> seconds: the median of the variant's finished cells (by variant's name), else the scaled model."""
    cells = list(cells)
    models = modelled_seconds({cell.variant.name: cell.variant for cell in cells}.values())
    ratios = [
        statistics.median(times) / models[name]
        for name, times in timings.items()
        if name in models and times
    ]
    scale = statistics.median(ratios) if ratios else 1.0
    return {
        cell.key: statistics.median(timings[cell.variant.name])
        if timings.get(cell.variant.name)
        else scale * models[cell.variant.name]
        for cell in cells
    }


def estimate(
    todo: Sequence[Cell], timings: Mapping[str, Sequence[float]], workers: int
) -> Estimate:
    """Wall time of the cells still to do: measured within a third, modelled within a factor of three."""
    training = cell_seconds(todo, timings)
    seconds = [training[cell.key] * (1 + _evaluation_share(cell)) for cell in todo]
    # No schedule ends before its longest cell.
    wall = max(sum(seconds) / max(workers, 1), max(seconds, default=0.0))
    wall += START_SECONDS if todo else 0.0
    measured = any(timings.values())
    low, high = (0.75, 1.33) if measured else (1 / 3, 3)
    return Estimate(low * wall, high * wall, measured)


def _evaluation_share(cell: Cell) -> float:
    """Time of the evaluation splits, which a forward pass sees once, over that of training, forward and backward."""
    images = sum(SPLITS[split].size for split in cell.splits)
    return images / (3 * cell.protocol.epochs * cell.protocol.train_size)


def duration(seconds: float) -> str:
    """`45 s`, `3.2 min`, `1.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
