"""What the cells of a pack share, and their parameters as stacked tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from linefit.deltamap.sites import Kernel


@dataclass(frozen=True)
class Shape:
    """What the cells of a pack have in common."""

    dim: int  # side length of the images
    convolutions: tuple[Kernel, ...]
    channels: tuple[int, ...]  # of the input, then of each convolution
    pooling: str  # "max", "average" or "flatten"
    hidden: int  # units between the two linear layers
    outputs: int

    @property
    def parameters(self) -> list[tuple[int, ...]]:
        """Shapes of a cell's parameters: weight and bias of each convolution, then of the two linear layers.

        The weight behind a flattened map is stored by site, `(H * W, C, hidden)`, see `layers.flattened_linear`.
        """
        shapes: list[tuple[int, ...]] = []
        for kernel, inner, outer in zip(
            self.convolutions, self.channels[:-1], self.channels[1:], strict=True
        ):
            shapes += [(outer, inner, *kernel.size), (outer,)]
        channels = self.channels[-1]
        first: tuple[int, ...] = (self.hidden, channels)
        if self.pooling == "flatten":
            first = (self.dim**2, channels, self.hidden)
        return [*shapes, first, (self.hidden,), (self.outputs, self.hidden), (self.outputs,)]


def stack(
    nets: Sequence[nn.Module],
    shape: Shape,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> list[Tensor]:
    """The nets' parameters as tensors `(P, ...)` of `shape.parameters`, copied; on their own device by default."""
    values = [[p.detach().to(device, dtype) for p in net.parameters()] for net in nets]
    stacked = [torch.stack(group) for group in zip(*values, strict=True)]
    if shape.pooling == "flatten":
        weight = stacked[-4].view(
            *stacked[-4].shape[:2], shape.channels[-1], -1
        )  # (P, hidden, C, A)
        stacked[-4] = weight.permute(0, 3, 2, 1).contiguous()
    return stacked


def unstack(stacked: Sequence[Tensor], shape: Shape, nets: Sequence[nn.Module]) -> None:
    """Write parameters of a pack back into the nets."""
    stacked = list(stacked)
    if shape.pooling == "flatten":
        stacked[-4] = stacked[-4].permute(0, 3, 2, 1).flatten(2)
    for cell, net in enumerate(nets):
        for parameter, values in zip(net.parameters(), stacked, strict=True):
            parameter.data.copy_(values[cell])
