"""Global pooling: what turns feature maps `(N, C, H, W)` into a vector per image.

`POOLINGS` is the registry of the factor `pooling`: a constructor for each level. To add a level, write one
module and add one line; `features(C, dim)` says how long the vector is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Pooling:
    """A level of the factor: how to build the layers and how many features they give."""

    layers: Callable[[], nn.Module]
    features: Callable[[int, int], int]  # (channels, dim) -> length of the vector


def _per_channel(channels: int, dim: int) -> int:  # noqa: ARG001
    return channels


POOLINGS: dict[str, Pooling] = {
    "flatten": Pooling(lambda: nn.Flatten(), lambda channels, dim: channels * dim * dim),
    "max": Pooling(lambda: nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten()), _per_channel),
    "average": Pooling(lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), _per_channel),
}
