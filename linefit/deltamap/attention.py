"""Attention as it is written: softmaxes and maps with their sites first, and their products by bmm, `@` and einsum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from linefit.deltamap.convolution import site_table
from linefit.deltamap.deltamap import DeltaMap
from linefit.deltamap.dispatch import Handler, TensorLike, call
from linefit.deltamap.errors import unsupported
from linefit.deltamap.softmax import SpatialSoftmax, constant_products, products


@dataclass(frozen=True, eq=False)
class SitesFirst(TensorLike):
    """A map or softmax `(N, C, H * W)` transposed, `(N, H * W, C)`: each site a token."""

    operations: ClassVar[dict[str, Handler]] = {}
    precedence: ClassVar[int] = 3

    of: DeltaMap | SpatialSoftmax

    @property
    def dtype(self) -> torch.dtype:
        return self.of.dtype

    @property
    def device(self) -> torch.device:
        return self.of.device

    @property
    def ndim(self) -> int:
        return 3

    @property
    def shape(self) -> torch.Size:
        images, channels, sites = self.of.shape
        return torch.Size((images, sites, channels))

    def dim(self) -> int:
        return 3

    def size(self, dim: int | None = None) -> torch.Size | int:
        return self.shape if dim is None else self.shape[dim]

    def __len__(self) -> int:
        return len(self.of)


def transpose(input: Any, dim0: int, dim1: int) -> Any:
    if input.ndim != 3 or {dim0 % 3, dim1 % 3} != {1, 2}:
        unsupported("transpose", f"of axes {dim0} and {dim1} of {input.ndim}")
    return input.of if isinstance(input, SitesFirst) else SitesFirst(input)


def permute(input: Any, *dims: Any) -> Any:
    order = tuple(dims[0]) if len(dims) == 1 and not isinstance(dims[0], int) else dims
    if input.ndim != 3 or tuple(axis % 3 for axis in order) != (0, 2, 1):
        unsupported("permute", f"of {input.ndim} axes to {order}")
    return transpose(input, 1, 2)


def tokenwise(name: str) -> Handler:
    """An operation on the channels-first form, for operands that have their sites first."""
    function = getattr(torch, name, None) or getattr(F, name)

    def apply(input: Any, *args: Any, **kwargs: Any) -> SitesFirst:
        operands = [input, *args]
        if any(isinstance(operand, Tensor | DeltaMap | SpatialSoftmax) for operand in operands):
            unsupported("this operation", "of tensors whose sites are first with others")
        operands = [
            operand.of if isinstance(operand, SitesFirst) else operand for operand in operands
        ]
        return SitesFirst(call(function, tuple(operands), kwargs))

    return apply


def over_tokens(name: str) -> Handler:
    """A reduction over axis 1, the sites."""

    def apply(input: SitesFirst, dim: Any = None, keepdim: bool = False) -> Any:
        if dim not in (1, -2, (1,), [1]):
            unsupported(name, f"over axes {dim}; only sites, axis 1, can be pooled")
        pooled = call(getattr(torch, name), (input.of, 2))
        return pooled[:, None] if keepdim else pooled

    return apply


def softmax(
    input: SitesFirst,
    dim: int | None = None,
    _stacklevel: int = 3,
    dtype: torch.dtype | None = None,
) -> SitesFirst:
    if dim not in (1, -2) or dtype is not None:
        unsupported("softmax", "over anything but all sites, axis 1 of (N, H * W, C)")
    return SitesFirst(call(torch.softmax, (input.of, 2)))


def linear(input: SitesFirst, weight: Tensor, bias: Tensor | None = None) -> SitesFirst:
    """Over channels: a convolution of 1x1."""
    if not isinstance(input.of, DeltaMap):
        unsupported("linear", "of a spatial softmax")
    background = F.linear(site_table(input.of.background), weight, bias)
    background = background.t().view(-1, *input.of.area)
    return SitesFirst(input.of.like(background, F.linear(input.of.rows, weight, bias)))


def matmul(input: Any, other: Any) -> Tensor:
    """A softmax `(N, K, S)` times values `(N, S, C)` or `(S, D)`, or the transposed product."""
    if isinstance(input, SpatialSoftmax) and input.ndim == 3:
        if isinstance(other, SitesFirst) and isinstance(other.of, DeltaMap):
            return products(input, other.of)
        if isinstance(other, Tensor) and other.ndim == 2:
            return constant_products(input, other)
    if isinstance(input, DeltaMap) and input.ndim == 3:
        weights = other.of if isinstance(other, SitesFirst) else None
        if isinstance(weights, SpatialSoftmax):
            return products(weights, input).transpose(1, 2)
    return unsupported("matmul", "of anything but a spatial softmax and values at the same sites")


def einsum(equation: str, *operands: Any) -> Tensor:
    """One softmax and one map or constant, summed over sites."""
    inputs, _, output = equation.replace(" ", "").partition("->")
    subscripts, pair = inputs.split(","), _unpacked(operands)
    if len(pair) != 2 or len(subscripts) != 2 or "." in equation or not output:
        unsupported("einsum", f"{equation!r}: only a spatial softmax with one other operand")
    (weights, own), (values, theirs) = sorted(
        map(_channels_first, pair, subscripts), key=lambda operand: _is_softmax(operand[0])
    )[::-1]
    batch, head, sites = own[0], own[1], own[2:]
    if not _is_softmax(weights) or _is_softmax(values) or set(sites) & set(output):
        unsupported("einsum", f"{equation!r}: one spatial softmax is summed over its sites")
    if isinstance(values, DeltaMap) and theirs[0] == batch and theirs[2:] == sites:
        pooled, letters = products(weights, values), batch + head + theirs[1]
    elif isinstance(values, Tensor) and set(theirs) >= set(sites) and batch not in theirs:
        rest = "".join(letter for letter in theirs if letter not in sites)
        flat = torch.einsum(f"{theirs}->{sites}{rest}", values).flatten(0, len(sites) - 1)
        pooled = constant_products(weights, flat.reshape(len(flat), -1))
        pooled = pooled.view(*pooled.shape[:2], *flat.shape[1:])
        letters = batch + head + rest
    else:
        unsupported("einsum", f"{equation!r}: values stand at the softmax's sites, batch first")
    return torch.einsum(f"{letters}->{output}", pooled)


def _unpacked(operands: Sequence[Any]) -> Sequence[Any]:
    return operands[0] if len(operands) == 1 and isinstance(operands[0], list | tuple) else operands


def _channels_first(operand: Any, subscripts: str) -> tuple[Any, str]:
    if isinstance(operand, SitesFirst):
        return operand.of, subscripts[0] + subscripts[2] + subscripts[1]
    return operand, subscripts


def _is_softmax(operand: Any) -> bool:
    return isinstance(operand, SpatialSoftmax)
