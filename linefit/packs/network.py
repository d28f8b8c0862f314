"""A step of a pack's net written out: forward, and the gradients of every parameter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from linefit.packs import layers
from linefit.packs.maximum import maximum
from linefit.packs.shape import Shape
from linefit.packs.sites import Batch


def input_values(background: Tensor, batch: Batch) -> Tensor:
    """Values of depth 0 `(P, A + R, 1 + C)` of images in front of constant channels `background` `(P, A, C)`."""
    cells = len(background)
    empty = torch.cat([torch.zeros_like(background[..., :1]), background], 2)
    if background.shape[2] == 0:
        empty = background.new_zeros(cells, batch.area, 1)
    rows = layers.at_sites(batch, 0, empty)
    rows[..., 0] = 1
    return torch.cat([empty, rows], 1)


@dataclass(frozen=True)
class Predictions:
    """Forward's result: slope and intercept `(P, B, 2)`, the cells whose maxima need more candidates `(P,)`."""

    values: Tensor
    exhausted: Tensor
    gradients: Callable[[Tensor], list[Tensor]]  # that of values (P, B, 2) -> of every parameter


def forward(
    shape: Shape, parameters: Sequence[Tensor], background: Tensor, batch: Batch, candidates: int
) -> Predictions:
    """All cells of a pack on a batch, with parameters as `stack` gives them.

    `background` `(P, A, C)` holds the constant channels; `candidates` is for `maximum`.
    """
    depth = len(shape.convolutions)
    pairs = list(zip(parameters[::2], parameters[1::2], strict=True))
    exhausted = torch.zeros(len(background), dtype=torch.bool, device=background.device)
    tape = _Tape()
    values = input_values(background, batch)
    for layer, (weight, bias) in enumerate(pairs[:depth]):
        if shape.pooling == "max" and layer == depth - 1:
            values, exhausted, pullback = maximum(batch, layer, values, weight, bias, candidates)
        else:
            values, pullback = layers.convolution(batch, layer, values, weight, bias)
        tape.with_parameters(pullback if layer else partial(pullback, to_values=False))
        values = tape.without(*layers.relu(values))
    if shape.pooling == "average":
        values = tape.without(*layers.average(batch, depth, values))
    if shape.pooling == "flatten":
        values, pullback = layers.flattened_linear(batch, depth, values, *pairs[depth])
    else:
        values, pullback = layers.linear(values, *pairs[depth])
    tape.with_parameters(pullback)
    values = tape.without(*layers.relu(values))
    values, pullback = layers.linear(values, *pairs[-1])
    tape.with_parameters(pullback)
    return Predictions(values, exhausted, tape.gradients)


class _Tape:
    """The pullbacks of a net's layers, first to last."""

    def __init__(self) -> None:
        self._pullbacks: list[Callable[[Tensor], tuple[Tensor | None, ...]]] = []

    def with_parameters(self, pullback: Callable[..., tuple[Tensor | None, ...]]) -> None:
        """A layer whose pullback gives the gradients of its values, weight and bias."""
        self._pullbacks.append(pullback)

    def without(self, output: Tensor, pullback: Callable[[Tensor], Tensor]) -> Tensor:
        """The output of a layer that has no parameters."""
        self._pullbacks.append(lambda gradient: (pullback(gradient),))
        return output

    def gradients(self, gradient: Tensor) -> list[Tensor]:
        """Of every parameter, given that of the last output."""
        found: list[Tensor] = []
        reached: Tensor | None = gradient
        for pullback in reversed(self._pullbacks):
            assert reached is not None
            reached, *to_parameters = pullback(reached)
            found = [each for each in to_parameters if each is not None] + found
        return found
