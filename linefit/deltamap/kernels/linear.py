"""Flatten followed by a linear layer on the CPU, compiled: active rows are grouped by site, so a weight is read once.

The weight must be stored input-major (`by_site`), so that what one channel at one site feeds is contiguous.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.utils._pytree import tree_map_only

from linefit.deltamap.kernels import plain
from linefit.deltamap.kernels.links import ActiveRows, FloatArray, IntArray

# Sums of products may be reassociated and contracted; NaN and infinity keep their meaning: a run may diverge.
FAST = {"reassoc", "contract", "nsz"}


@dataclass(frozen=True)
class InputBySite:
    """A flattened delta map as the kernels read it: rows in the order of their sites."""

    background: FloatArray  # (C, H * W)
    delta: FloatArray  # (C, R): row minus background
    image: IntArray  # (R,)
    first: IntArray  # (H * W + 1,): rows first[s]:first[s + 1] are those of site s

    @classmethod
    def of(
        cls, background: Tensor, rows: Tensor, index: ActiveRows
    ) -> tuple[InputBySite, IntArray]:
        """From background `(H * W, C)` and rows `(R, C)`; also the row that stands at each place."""
        shape = (rows.shape[1], len(rows))
        kind = rows.detach().numpy().dtype
        order, image = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
        delta, first = np.empty(shape, kind), np.zeros(len(background) + 1, np.int64)
        by_channel = background.detach().t().contiguous().numpy()
        _group(
            index.site.numpy(),
            index.image.numpy(),
            rows.detach().numpy(),
            by_channel,
            order,
            image,
            first,
            delta,
        )
        return cls(by_channel, delta, image, first), order


class FactoredGradient(Tensor):
    """The gradient of a weight that `is_by_site`, as the factors that it is a product of: 39 MB in a few hundred KB.

    `factors` is there until somebody asks for numbers. Then, and from then on, this is the dense gradient: any
    operation of torch works on it, clipping and foreign optimisers included.
    """

    factors: tuple[InputBySite, FloatArray] | None  # the input, and the output's gradient (N, out)
    _dense: Tensor | None

    @staticmethod
    def __new__(cls, factors: tuple[InputBySite, FloatArray], weight: Tensor) -> FactoredGradient:
        gradient: FactoredGradient = torch.Tensor._make_wrapper_subclass(
            cls, weight.shape, strides=weight.stride(), dtype=weight.dtype, device=weight.device
        )
        gradient.factors, gradient._dense = factors, None
        return gradient

    # Only what reaches the arithmetic matters here.
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        # Autograd detaches what it puts into `.grad`.
        if func is torch.ops.aten.detach.default and args[0].factors is not None:
            return cls(args[0].factors, args[0])
        dense = partial(tree_map_only, cls, cls.dense)
        return func(*dense(args), **dense(kwargs or {}))

    def dense(self) -> Tensor:
        """The gradient `(out, C * H * W)`, input-major; what is done to it in place stays."""
        if self._dense is None:
            assert self.factors is not None
            by_site, output = self.factors
            gradient = torch.zeros(self.shape[::-1], dtype=self.dtype)
            _add_gradient(
                by_site.background,
                by_site.delta,
                by_site.image,
                by_site.first,
                output,
                output.sum(0),
                gradient.numpy(),
            )
            self._dense, self.factors = gradient.t(), None
        return self._dense


def is_by_site(weight: Tensor) -> bool:
    """Whether a weight `(out, C * H * W)` is stored input-major."""
    return weight.t().is_contiguous()


def flat_linear(
    background: Tensor, rows: Tensor, weight: Tensor, bias: Tensor | None, index: ActiveRows
) -> Tensor:
    """The weight's gradient is a `FactoredGradient` if it is stored by site; otherwise this is the plain form."""
    if not is_by_site(weight):
        return plain.flat_linear(background, rows, weight, bias, index)
    output: Tensor = _Linear.apply(background, rows, weight, index)  # type: ignore[no-untyped-call]
    return output if bias is None else output + bias


class _Linear(Function):
    @staticmethod
    def forward(
        ctx: Any,
        background: Tensor,
        rows: Tensor,
        weight: Tensor,
        index: ActiveRows,
    ) -> Tensor:
        by_site, order = InputBySite.of(background, rows, index)
        output = rows.new_zeros(len(index.start) - 1, len(weight))
        _forward(
            by_site.background,
            by_site.delta,
            by_site.image,
            by_site.first,
            weight.detach().t().numpy(),
            output.numpy(),
        )
        ctx.save_for_backward(weight)
        ctx.by_site, ctx.order = by_site, order
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        by_site: InputBySite = ctx.by_site
        output = gradient.contiguous().numpy()
        to_background = to_rows = to_weight = None
        if ctx.needs_input_grad[0] or ctx.needs_input_grad[1]:
            channels, area = by_site.background.shape
            to_background = gradient.new_empty(area, channels)
            to_rows = gradient.new_empty(len(by_site.image), channels)
            _backward(
                by_site.image,
                by_site.first,
                ctx.order,
                weight.detach().t().numpy(),
                output,
                output.sum(0),
                to_background.numpy(),
                to_rows.numpy(),
            )
        if ctx.needs_input_grad[2]:
            to_weight = FactoredGradient((by_site, output), weight)
        return to_background, to_rows, to_weight, None


@njit(cache=True, nogil=True)
def _group(
    site: IntArray,
    row_image: IntArray,
    rows: FloatArray,
    background: FloatArray,
    order: IntArray,
    image: IntArray,
    first: IntArray,
    delta: FloatArray,
) -> None:
    """Counting sort of rows by site."""
    for s in site:
        first[s + 1] += 1
    for s in range(len(first) - 1):
        first[s + 1] += first[s]
    place = first.copy()
    for row in range(len(site)):
        s = site[row]
        at = place[s]
        place[s] += 1
        order[at] = row
        image[at] = row_image[row]
        for c in range(len(delta)):
            delta[c, at] = rows[row, c] - background[c, s]


@njit(cache=True, nogil=True, fastmath=FAST)
def _forward(
    background: FloatArray,
    delta: FloatArray,
    image: IntArray,
    first: IntArray,
    weight: FloatArray,  # (C * H * W, out)
    output: FloatArray,  # (N, out), zeros
) -> None:
    channels, area = background.shape
    outs = weight.shape[1]
    shared = np.zeros(outs, weight.dtype)
    for c in range(channels):
        for s in range(area):
            index = c * area + s
            value = background[c, s]
            if value != 0:
                for o in range(outs):
                    shared[o] += value * weight[index, o]
            for at in range(first[s], first[s + 1]):
                change = delta[c, at]
                if change != 0:
                    n = image[at]
                    for o in range(outs):
                        output[n, o] += change * weight[index, o]
    for n in range(len(output)):
        for o in range(outs):
            output[n, o] += shared[o]


@njit(cache=True, nogil=True, fastmath=FAST)
def _backward(
    image: IntArray,
    first: IntArray,
    order: IntArray,
    weight: FloatArray,
    gradient: FloatArray,  # (N, out)
    total: FloatArray,  # (out,): of all images
    to_background: FloatArray,  # (H * W, C), written
    to_rows: FloatArray,  # (R, C), written
) -> None:
    area, channels = to_background.shape
    outs = weight.shape[1]
    for c in range(channels):
        for s in range(area):
            index = c * area + s
            rest = weight.dtype.type(0)
            for o in range(outs):
                rest += total[o] * weight[index, o]
            for at in range(first[s], first[s + 1]):
                n = image[at]
                value = weight.dtype.type(0)
                for o in range(outs):
                    value += gradient[n, o] * weight[index, o]
                to_rows[order[at], c] = value
                rest -= value
            to_background[s, c] = rest


@njit(cache=True, nogil=True, fastmath=FAST)
def _add_gradient(
    background: FloatArray,
    delta: FloatArray,
    image: IntArray,
    first: IntArray,
    output: FloatArray,
    total: FloatArray,
    gradient: FloatArray,  # (C * H * W, out), added to
) -> None:
    channels, area = background.shape
    outs = gradient.shape[1]
    for c in range(channels):
        for s in range(area):
            index = c * area + s
            value = background[c, s]
            if value != 0:
                for o in range(outs):
                    gradient[index, o] += value * total[o]
            for at in range(first[s], first[s + 1]):
                change = delta[c, at]
                if change != 0:
                    n = image[at]
                    for o in range(outs):
                        gradient[index, o] += change * output[n, o]
