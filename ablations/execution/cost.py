"""What a cell will cost, before it is trained: for time ranges and a fair progress bar.

Estimates come from finished cells of the same variant where there are some, else from a count of the arithmetic.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ablations.study.study import Cell
from linefit.images import LAB_DIM

# Share of sites where a feature map differs from the background after 1, 2, 3, 4 convolutions of 3x3.
ACTIVE_SITES = (0.04, 0.09, 0.15, 0.20)
# Arithmetic and memory rates of one ordinary core. Only ratios matter once a cell of the study has been measured.
FLOPS_PER_SECOND = 2.5e10
PARAMETERS_PER_SECOND = 4e8
SECONDS_PER_STEP = 4e-3


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


def modelled_seconds(cell: Cell) -> float:
    """Training time of a cell on one ordinary core, from a count of its arithmetic."""
    # Plans are made where nobody asks for a time and torch would be imported for nothing.
    import torch

    from linefit.architectures import build

    protocol = cell.protocol
    own = any(":" in str(level) for level in cell.variant.net.values())
    # Shapes alone, no memory and no random numbers; code of the user's may not know of such a device.
    with contextlib.nullcontext() if own else torch.device("meta"):
        net = build(**cell.variant.net, seed=0)
    convolutions = [module for module in net.modules() if isinstance(module, torch.nn.Conv2d)]
    flops = 0.0
    for layer, convolution in enumerate(convolutions):
        active = ACTIVE_SITES[min(layer, len(ACTIVE_SITES) - 1)] + 1 / protocol.batch_size
        share = 1.0 if protocol.engine == "dense" else active
        flops += 6 * convolution.weight.numel() * LAB_DIM**2 * protocol.batch_size * share
    parameters = sum(parameter.numel() for parameter in net.parameters())
    steps = protocol.epochs * -(-protocol.train_size // protocol.batch_size)
    return steps * (
        SECONDS_PER_STEP + flops / FLOPS_PER_SECOND + parameters / PARAMETERS_PER_SECOND
    )


def cell_seconds(cells: Iterable[Cell], timings: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Key -> seconds: the median of the variant's finished cells (by variant's name), else the scaled model."""
    cells = list(cells)
    one_of_each = {cell.variant.name: cell for cell in cells}
    models = {name: modelled_seconds(cell) for name, cell in one_of_each.items()}
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
    seconds = cell_seconds(todo, timings)
    # No schedule ends before its longest cell.
    wall = max(sum(seconds.values()) / max(workers, 1), max(seconds.values(), default=0.0))
    measured = any(timings.values())
    low, high = (0.75, 1.33) if measured else (1 / 3, 3)
    return Estimate(low * wall, high * wall, measured)


def duration(seconds: float) -> str:
    """`45 s`, `3.2 min`, `1.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
