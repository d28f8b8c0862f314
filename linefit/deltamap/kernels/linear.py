"""Flatten followed by a linear layer on the CPU, compiled: active rows are grouped by site, so a weight is read once.

The weight must be stored input-major (`by_site`), so that what one channel at one site feeds is contiguous.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

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


@dataclass(frozen=True)
class FactoredGradient:
    """The gradient of the weight as the factors that it is a product of: 39 MB in a few hundred KB."""

    input: InputBySite
    output: FloatArray  # (N, out)

    def add_to(self, gradient: FloatArray) -> None:
        """Add to a gradient `(C * H * W, out)`."""
        total = self.output.sum(0)
        _add_gradient(
            self.input.background,
            self.input.delta,
            self.input.image,
            self.input.first,
            self.output,
            total,
            gradient,
        )


def is_by_site(weight: Tensor) -> bool:
    """Whether a weight `(out, C * H * W)` is stored input-major."""
    return weight.t().is_contiguous()


def flat_linear(
    background: Tensor, rows: Tensor, weight: Tensor, bias: Tensor | None, index: ActiveRows
) -> Tensor:
    """The plain form for a weight that is not stored by site.

    A weight whose attribute `factored_gradients` is a list receives its gradient there and none in `.grad`.
    """
    if not is_by_site(weight):
        return plain.flat_linear(background, rows, weight, bias, index)
    output: Tensor = _Linear.apply(  # type: ignore[no-untyped-call]
        background, rows, weight, index, getattr(weight, "factored_gradients", None)
    )
    return output if bias is None else output + bias


class _Linear(Function):
    @staticmethod
    def forward(
        ctx: Any,
        background: Tensor,
        rows: Tensor,
        weight: Tensor,
        index: ActiveRows,
        factored: list[FactoredGradient] | None,
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
        ctx.by_site, ctx.order, ctx.factored = by_site, order, factored
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
            factors = FactoredGradient(by_site, output)
            if ctx.factored is not None:
                ctx.factored.append(factors)
            else:
                dense = torch.zeros_like(weight.detach().t())
                factors.add_to(dense.numpy())
                to_weight = dense.t()
        return to_background, to_rows, to_weight, None, None


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
