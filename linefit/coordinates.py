"""Coordinate encodings: constant channels that tell a convolution where it is.

An encoding is a function from the image's side length to channels `(C, dim, dim)`; `COORDINATES` is the
registry of the factor `coordinates`. To add a level, write one function and add one line.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def none(dim: int) -> Tensor:
    """No coordinate channels: `(0, dim, dim)`."""
    return torch.zeros(0, dim, dim)


def cartesian(dim: int) -> Tensor:
    """The lab's two channels, along columns and along rows: `arange(-dim/2, dim/2) / dim`, `(2, dim, dim)`.

    Source: Liu et al., "An intriguing failing of convolutional neural networks and the CoordConv solution", 2018.
    """
    axis = torch.arange(-(dim // 2), dim - dim // 2) / dim
    return torch.stack([axis.expand(dim, dim), axis[:, None].expand(dim, dim)])


COORDINATES: dict[str, Callable[[int], Tensor]] = {"none": none, "cartesian": cartesian}


class ConcatCoordinates(nn.Module):
    """Concatenate an encoding's channels to images `(N, C, dim, dim)`, the same for every image."""

    channels: Tensor

    def __init__(self, encoding: str, dim: int) -> None:
        super().__init__()
        self.encoding = encoding
        self.register_buffer("channels", COORDINATES[encoding](dim), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        # expand keeps stride 0 over the batch: the engine of delta maps knows by it that all images share the channels.
        return torch.cat([images, self.channels.expand(len(images), -1, -1, -1)], dim=1)

    def extra_repr(self) -> str:
        return f"{self.encoding!r}, channels={len(self.channels)}"
