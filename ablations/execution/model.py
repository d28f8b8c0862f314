"""How long a step of a net takes on one ordinary core, from a count of its arithmetic: before anything was timed.

The constants were fitted by hand to `python -m benchmarks.fused_step` (results/speed/fused_step.json: AMD EPYC with
AVX-512, one thread, batches of 128) and to the cells of the shipped studies. Most nets take between half and twice what
is said here; those whose arithmetic is not in convolutions (sets, soft poolings) may take several times as long.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ablations.study.study import Cell, Variant
from linefit.images import LAB_DIM, SPLITS
from linefit.protocol import Engine, Loss, Protocol

if TYPE_CHECKING:
    from torch import nn

# Share of sites where a feature map differs from the background after 1, 2, 3, 4 convolutions of 3x3.
ACTIVE_SITES = (0.04, 0.09, 0.15, 0.20)
SMALL_WIDTHS = (4, 8, 12)  # nets of these are built to know those of any width
PARAMETERS_PER_SECOND = 4.5e8  # through Adam: read and written from memory
# How much longer a step takes where the gradient reaches all sites, not the maxima alone.
SUMMED = 2.3


@dataclass(frozen=True)
class Rates:
    """What a step takes beside its arithmetic, and how fast that is."""

    seconds: float
    flops: float  # a second


# The compiled step computes once what images share: nearly all of it where a site's place does not matter, much where
# only its row or its column does.
FUSED_ANYWHERE = Rates(0.2e-3, 5e12)
FUSED_LINES = Rates(0.5e-3, 2e12)
FUSED = Rates(0.6e-3, 3e11)
DELTA = Rates(4.8e-3, 2.5e11)
DENSE = Rates(13e-3, 1e11)


def forward_flops(weights: float, times: float) -> float:
    """Floating point operations of a layer whose weights are each used so many times: at every site of every image."""
    return 2 * weights * times


def training_flops(weights: float, times: float, *, reads_pixels: bool = False) -> float:
    """Of forward and backward, which is twice as much, but once for a layer that has no gradient to send further."""
    return (2 if reads_pixels else 3) * forward_flops(weights, times)


@dataclass(frozen=True)
class Size:
    """What the cost of a net is counted from."""

    rates: Rates
    convolutions: tuple[float, ...]  # weights of each, in the order of the net
    parameters: float
    summed: bool  # whether its pooling takes more than maxima

    def step(self, batch_size: int) -> float:
        """Seconds of a training step but for the update of the parameters."""
        flops = 0.0
        for layer, weights in enumerate(self.convolutions):
            active = ACTIVE_SITES[min(layer, len(ACTIVE_SITES) - 1)] + 1 / batch_size
            share = 1.0 if self.rates == DENSE else active
            sites = LAB_DIM**2 * batch_size * share
            flops += training_flops(weights, sites, reads_pixels=layer == 0)
        slower = SUMMED if self.summed and self.rates != DENSE else 1.0
        return self.rates.seconds + slower * flops / self.rates.flops

    def training(self, protocol: Protocol) -> float:
        """Seconds of a cell's training with its evaluation on val."""
        steps = protocol.epochs * protocol.steps_per_epoch
        update = self.parameters / PARAMETERS_PER_SECOND
        images = protocol.epochs * SPLITS["val"].size
        return steps * (self.step(protocol.batch_size) + update) + self.evaluation(protocol, images)

    def evaluation(self, protocol: Protocol, images: int) -> float:
        """Seconds of predictions: the forward pass is a third of a step."""
        return images / protocol.batch_size * self.step(protocol.batch_size) / 3


def sizes(variants: Iterable[Variant]) -> dict[str, Size]:
    """Name -> size of each variant's net.

    Of nets that differ in width alone three small ones are built, once: weights are polynomials of degree two in the
    width. Those of the user's own, and those that refuse such widths, are built as they are.
    """
    return {variant.name: _size(variant) for variant in variants}


def evaluated_images(cell: Cell) -> int:
    """Images that a cell predicts once it is trained; those of another size count by their sites."""
    splits = [SPLITS[split] for split in cell.evaluated]
    return sum(split.size * split.dim**2 for split in splits) // LAB_DIM**2


def _size(variant: Variant) -> Size:
    net, width = dict(variant.net), int(variant.levels["width"])
    del net["width"]
    if any(
        ":" in str(level) for level in net.values()
    ):  # whose file may have been edited meanwhile
        return _built(net, width, variant.protocol)
    small = _small(tuple(net.items()), variant.protocol.engine, variant.protocol.loss)
    return _between(small, width) if small else _built(net, width, variant.protocol)


@functools.cache
def _small(net: tuple[tuple[str, str], ...], engine: Engine, loss: Loss) -> dict[int, Size] | None:
    """Sizes at `SMALL_WIDTHS`, or None for a net that has no such widths."""
    try:
        protocol = Protocol(engine=engine, loss=loss)
        return {width: _built(dict(net), width, protocol) for width in SMALL_WIDTHS}
    except ValueError:
        return None


def _built(net_levels: dict[str, Any], width: int, protocol: Protocol) -> Size:
    # Plans are made where nobody asks for a time and torch would be imported for nothing.
    import torch

    from linefit.architectures import build

    net = build(**net_levels, width=width, seed=0)
    convolutions = [m.weight.numel() for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    parameters = sum(parameter.numel() for parameter in net.parameters())
    summed = net_levels["pooling"] not in ("max", "flatten", "none")
    rates = _rates(net, protocol)
    return Size(rates, tuple(map(float, convolutions)), float(parameters), summed)


def _rates(net: nn.Module, protocol: Protocol) -> Rates:
    """Those of the engine that trains a net on a CPU, as far as its modules tell without a trial."""
    from torch.nn import Conv2d

    from linefit.fused import LOSSES, instruction_set, recognise
    from linefit.fused.engine import input_classes

    layers = [module for module in net.modules() if isinstance(module, Conv2d)]
    if protocol.engine == "dense" or not layers or any(max(x.stride) > 1 for x in layers):
        return DENSE
    if protocol.engine == "auto" and protocol.loss in LOSSES and instruction_set() is not None:
        program = recognise(net, LAB_DIM, LAB_DIM)
        if program is not None:
            values, classes = input_classes(program)
            if len(values) == len(classes):
                return FUSED
            return FUSED_ANYWHERE if len(values) == 1 else FUSED_LINES
    return DELTA


def _between(small: Mapping[int, Size], width: int) -> Size:
    """The size at a width by Lagrange's polynomial through the others."""
    weights = {
        one: math.prod((width - other) / (one - other) for other in small if other != one)
        for one in small
    }

    def at(values: Mapping[int, float]) -> float:
        return sum(weights[one] * value for one, value in values.items())

    first = next(iter(small.values()))
    convolutions = tuple(
        at({w: size.convolutions[i] for w, size in small.items()})
        for i in range(len(first.convolutions))
    )
    parameters = at({w: size.parameters for w, size in small.items()})
    return Size(first.rates, convolutions, parameters, first.summed)
