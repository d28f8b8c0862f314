"""Softmax over all sites of a delta map: weights that only a weighted sum can use.

The normaliser differs from image to image, so the weights themselves share no background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from linefit.deltamap import pooling
from linefit.deltamap.combine import common_sites, lifted, pooled_shape
from linefit.deltamap.convolution import site_table
from linefit.deltamap.deltamap import DeltaMap
from linefit.deltamap.dispatch import Handler, TensorLike
from linefit.deltamap.errors import unsupported


@dataclass(frozen=True, eq=False)
class SpatialSoftmax(TensorLike):
    """`softmax(logits)` over all sites times `values`; it can be multiplied, reshaped, and summed over all sites."""

    operations: ClassVar[dict[str, Handler]] = {}
    precedence: ClassVar[int] = 1

    logits: DeltaMap
    values: DeltaMap

    @classmethod
    def of(cls, logits: DeltaMap) -> SpatialSoftmax:
        ones = logits.like(torch.ones_like(logits.background), torch.ones_like(logits.rows))
        return cls(logits, ones)

    @property
    def dtype(self) -> torch.dtype:
        return self.logits.dtype

    @property
    def device(self) -> torch.device:
        return self.logits.device

    @property
    def shape(self) -> torch.Size:
        images, channels = self.values.shape[:2]
        return torch.Size((images, max(channels, self.logits.channels), *self.logits.shape[2:]))


def multiply(input: Any, other: Any) -> SpatialSoftmax:
    """The softmax times a map, a batch-constant tensor or a number, in either order."""
    weights, factor = (input, other) if isinstance(input, SpatialSoftmax) else (other, input)
    if isinstance(factor, SpatialSoftmax):
        unsupported("mul", "of two spatial softmaxes")
    return SpatialSoftmax(weights.logits, weights.values * factor)


def weighted_sum(
    input: SpatialSoftmax, dim: int | Sequence[int] | None = None, keepdim: bool = False
) -> Tensor:
    """`(N, C)`: the values averaged with the softmax's weights."""
    sites = common_sites([input.logits, input.values])
    background, rows = lifted(input.logits, sites)
    values_background, values_rows = lifted(input.values, sites)
    pooled_shape("sum", input.logits, dim, keepdim)  # raises unless all sites are summed
    values = (site_table(values_background), values_rows)
    pooled = pooling.weighted_total(site_table(background), rows, values, sites)
    return pooled.view(*pooled.shape, *([1] * (input.logits.ndim - 2) if keepdim else []))


def matmul(input: Any, other: Any) -> Tensor:
    """`(N, C, H * W)` softmax times a constant `(H * W, D)`: `(N, C, D)`."""
    if not isinstance(input, SpatialSoftmax) or not isinstance(other, Tensor) or other.ndim != 2:
        unsupported(
            "matmul",
            "of a spatial softmax with anything but a constant matrix (H * W, D) on its right",
        )
    return torch.stack(
        [weighted_sum(multiply(input, column), -1) for column in other.unbind(1)], dim=-1
    )


def reshape(input: SpatialSoftmax, *shape: Any) -> SpatialSoftmax:
    """To `(N, C, H, W)` or `(N, C, H * W)`."""
    logits = input.logits.reshape(*shape)
    return SpatialSoftmax(logits, input.values.with_axes(logits.ndim))
