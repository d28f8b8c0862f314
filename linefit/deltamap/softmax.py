"""Softmax over all sites of a delta map: weights that only weighted sums can use, which is what attention does.

The normaliser differs from image to image, so the weights themselves share no background.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from linefit.deltamap import pooling
from linefit.deltamap.combine import common_sites, lifted
from linefit.deltamap.deltamap import DeltaMap
from linefit.deltamap.dispatch import Handler, TensorLike
from linefit.deltamap.errors import unsupported
from linefit.deltamap.reductions import (
    Axes,
    in_regions,
    log_sum_exps,
    pooled_axes,
    shaped,
    windows_of,
)
from linefit.deltamap.windows import Windows, regions, whole


@dataclass(frozen=True, eq=False)
class SpatialSoftmax(TensorLike):
    """`softmax(logits)` over all sites times `values`; it can be multiplied, reshaped, and summed over sites."""

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
    def ndim(self) -> int:
        return self.logits.ndim

    @property
    def channels(self) -> int:
        return max(self.values.channels, self.logits.channels)

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self.logits), self.channels, *self.logits.shape[2:]))

    def dim(self) -> int:
        return self.ndim

    def size(self, dim: int | None = None) -> torch.Size | int:
        return self.shape if dim is None else self.shape[dim]

    def __len__(self) -> int:
        return len(self.logits)

    def channel(self, k: int) -> SpatialSoftmax:
        """One channel, with an axis of length 1."""
        return SpatialSoftmax(_channel(self.logits, k), _channel(self.values, k))


def _channel(map: DeltaMap, k: int) -> DeltaMap:
    if map.channels == 1:
        return map
    return map.like(map.background[k : k + 1], map.rows[:, k : k + 1])


def spatial_softmax(
    input: DeltaMap, dim: int | None = None, _stacklevel: int = 3, dtype: torch.dtype | None = None
) -> SpatialSoftmax:
    if input.ndim != 3 or dim not in (2, -1) or dtype is not None:
        unsupported("softmax", "over anything but all sites of a map (N, C, H * W)")
    return SpatialSoftmax.of(input)


def multiply(input: Any, other: Any) -> SpatialSoftmax:
    """The softmax times a map, a batch-constant tensor or a number, in either order."""
    weights, factor = (input, other) if isinstance(input, SpatialSoftmax) else (other, input)
    if isinstance(factor, SpatialSoftmax):
        unsupported("mul", "of two spatial softmaxes")
    product = weights.values * factor
    if not isinstance(product, DeltaMap):
        unsupported("mul", "of a spatial softmax and a factor per image; scale its sum")
    return SpatialSoftmax(weights.logits, product)


def divide(input: Any, other: Any) -> SpatialSoftmax:
    if isinstance(other, TensorLike) and not isinstance(other, DeltaMap):
        unsupported("div", f"by a {type(other).__name__}")
    return multiply(input, 1 / other)


def weighted_sum(input: SpatialSoftmax, dim: Axes = None, keepdim: bool = False) -> Tensor:
    """The values averaged with the softmax's weights; over rows or columns alone, the marginals of the other."""
    axes = pooled_axes("sum", input.logits, dim)
    pooled = _weighted_sums(input, windows_of(input.logits, axes))
    return shaped(pooled, input.logits, axes, keepdim)


def _weighted_sums(input: SpatialSoftmax, windows: Windows) -> Tensor:
    """`(N, K, C)`."""
    sites = common_sites([input.logits, input.values])
    logits, values = lifted(input.logits, sites), lifted(input.values, sites)
    normaliser = log_sum_exps(DeltaMap(logits, sites), whole(sites.size))
    where = regions(sites, windows)
    return pooling.weighted_total(
        *in_regions(logits, where),
        in_regions(values, where),
        normaliser,
        where,
        padded=sites.batch.tables.padded,
    )


def products(weights: SpatialSoftmax, values: DeltaMap) -> Tensor:
    """`sum_s weights[n, k, s] values[n, c, s]`, `(N, K, C)`: attention with a head a channel."""
    values = values.with_axes(weights.ndim)
    sites = tuple(range(2, weights.ndim))
    heads = [
        weighted_sum(multiply(weights.channel(k), values), sites) for k in range(weights.channels)
    ]
    return torch.stack(heads, dim=1)


def constant_products(weights: SpatialSoftmax, values: Tensor) -> Tensor:
    """`sum_s weights[n, k, s] values[s, d]`, `(N, K, D)`."""
    flat = weights.logits.with_axes(3), weights.values.with_axes(3)
    columns = [
        weighted_sum(multiply(SpatialSoftmax(*flat), column), -1) for column in values.unbind(1)
    ]
    return torch.stack(columns, dim=-1)


def reshape(input: SpatialSoftmax, *shape: Any) -> SpatialSoftmax:
    """To `(N, C, H, W)` or `(N, C, H * W)`."""
    logits = input.logits.reshape(*shape)
    return SpatialSoftmax(logits, input.values.with_axes(logits.ndim))


def flatten(input: SpatialSoftmax, start_dim: int = 0, end_dim: int = -1) -> SpatialSoftmax:
    logits = input.logits.flatten(start_dim, end_dim)
    if logits.ndim == 2:
        unsupported("flatten", "of a spatial softmax into vectors")
    return SpatialSoftmax(logits, input.values.with_axes(logits.ndim))
