"""A delta map times a factor per image and channel, as squeeze-and-excitation makes it.

Its background differs from image to image, but only by the factor: it can be scaled on and pooled, not convolved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from linefit.deltamap.deltamap import DeltaMap
from linefit.deltamap.dispatch import Handler, TensorLike


@dataclass(frozen=True, eq=False)
class ScaledMap(TensorLike):
    """`map * factor`."""

    operations: ClassVar[dict[str, Handler]] = {}
    precedence: ClassVar[int] = 2

    map: DeltaMap
    factor: Tensor  # (N, C) or (N, 1)

    @property
    def dtype(self) -> torch.dtype:
        return torch.promote_types(self.map.dtype, self.factor.dtype)

    @property
    def device(self) -> torch.device:
        return self.map.device

    @property
    def ndim(self) -> int:
        return self.map.ndim

    @property
    def shape(self) -> torch.Size:
        return self.map.shape

    def dim(self) -> int:
        return self.ndim

    def size(self, dim: int | None = None) -> torch.Size | int:
        return self.shape if dim is None else self.shape[dim]

    def __len__(self) -> int:
        return len(self.map)


def per_image(map: DeltaMap, factor: object) -> Tensor | None:
    """A factor that may differ from image to image but not from site to site as `(N, C)` or `(N, 1)`, else None."""
    if not isinstance(factor, Tensor) or factor.ndim != map.ndim or map.ndim < 3:
        return None
    images, channels, *sites = factor.shape
    if images != len(map) or channels not in (1, map.channels) or any(side != 1 for side in sites):
        return None
    return None if images == 1 or factor.stride(0) == 0 else factor.flatten(1)
