"""Rows of a convolution on the CPU, compiled.

Both directions go through a few images at a time, so that the products of rows and taps stay in cache. Backward
leaves out the rows that no gradient reaches: behind a max pool that is most of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from linefit.deltamap.kernels.links import FloatArray, IntArray, Links

CHUNK = 1 << 19  # bytes of products that are alive at a time: half of a core's second-level cache

# In these kernels arrays are indexed in place: a slice kept in a variable costs a counted reference per turn.


def convolved_rows(
    source_background: Tensor, source_rows: Tensor, weight: Tensor, background: Tensor, links: Links
) -> Tensor:
    rows: Tensor = _ConvolvedRows.apply(  # type: ignore[no-untyped-call]
        source_background, source_rows, weight, background, links
    )
    return rows


def chunks(start: list[int], row_bytes: int) -> list[tuple[int, int, int, int]]:
    """Runs of images `(first, last, begin row, end row)` whose rows take about `CHUNK` bytes."""
    runs = []
    first = 0
    for last in range(1, len(start)):
        if last == len(start) - 1 or (start[last + 1] - start[first]) * row_bytes > CHUNK:
            runs.append((first, last, start[first], start[last]))
            first = last
    return runs


def by_taps(weight: Tensor) -> Tensor:
    """A weight `(out, in, height, width)` as a matrix `(in, taps * out)`."""
    return weight.permute(1, 2, 3, 0).reshape(weight.shape[1], -1)


class _ConvolvedRows(Function):
    @staticmethod
    def forward(
        ctx: Any,
        source_background: Tensor,
        source_rows: Tensor,
        weight: Tensor,
        background: Tensor,
        links: Links,
    ) -> Tensor:
        source, targets = links.source, links.targets
        delta = source_rows - source_background.index_select(0, source.site)
        taps = by_taps(weight)
        rows = background.index_select(0, links.target.site)
        runs = chunks(source.start.tolist(), taps.shape[1] * rows.element_size())
        longest = max((end - begin for *_, begin, end in runs), default=0)
        products = rows.new_empty(longest, taps.shape[1])
        products_view = products.view(len(products), targets.shape[1], len(weight)).numpy()
        targets_view, rows_view = targets.numpy(), rows.numpy()
        for _, _, begin, end in runs:
            torch.mm(delta[begin:end], taps, out=products[: end - begin])
            _add_products(begin, end, products_view, targets_view, rows_view)
        ctx.save_for_backward(delta, weight)
        ctx.links, ctx.areas = links, (len(source_background), len(background))
        return rows

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        delta, weight = ctx.saved_tensors
        source, target, targets = ctx.links.source, ctx.links.target, ctx.links.targets
        taps = by_taps(weight.detach())
        gradient = gradient.contiguous()
        reached = np.empty(len(gradient), np.bool_)
        to_background = gradient.new_zeros(ctx.areas[1], gradient.shape[1])
        _add_reached(gradient.numpy(), target.site.numpy(), reached, to_background.numpy())

        to_taps, to_delta = torch.zeros_like(taps), torch.zeros_like(delta)
        runs = chunks(source.start.tolist(), taps.shape[1] * taps.element_size())
        longest = max((end - begin for *_, begin, end in runs), default=0)
        gathered = gradient.new_empty(longest, taps.shape[1])
        kept = torch.empty(longest, dtype=torch.int64)
        arrays = (gradient, targets, gathered.view(longest, targets.shape[1], len(weight)), kept)
        views = [array.numpy() for array in arrays]
        for _, _, begin, end in runs:
            count = _gather(begin, end, reached, *views)
            found, places = gathered[:count], kept[:count]
            to_taps.addmm_(delta.index_select(0, places).t(), found)
            if ctx.needs_input_grad[1]:
                to_delta.index_copy_(0, places, found @ taps.t())
        height, width = weight.shape[2:]
        to_weight = to_taps.view(weight.shape[1], height, width, -1).permute(3, 0, 1, 2)
        if not ctx.needs_input_grad[1]:
            return None, None, to_weight, to_background, None
        to_source = torch.zeros(ctx.areas[0], delta.shape[1], dtype=delta.dtype)
        to_source.index_add_(0, source.site, to_delta, alpha=-1)
        return to_source, to_delta, to_weight, to_background, None


@njit(cache=True, nogil=True)
def _add_products(
    begin: int,
    end: int,
    products: FloatArray,  # (rows of the source from begin on, taps, C)
    targets: IntArray,  # (rows of the source, taps)
    rows: FloatArray,  # (R, C), added to
) -> None:
    channels = rows.shape[1]
    for row in range(begin, end):
        for tap in range(targets.shape[1]):
            target = targets[row, tap]
            if target < len(rows):
                for c in range(channels):
                    rows[target, c] += products[row - begin, tap, c]


@njit(cache=True, nogil=True)
def _add_reached(
    gradient: FloatArray, site: IntArray, reached: NDArray[np.bool_], to_background: FloatArray
) -> None:
    """Which rows have a gradient at all; their sum by site."""
    channels = gradient.shape[1]
    for row in range(len(gradient)):
        any_gradient = False
        for c in range(channels):
            any_gradient |= gradient[row, c] != 0
        reached[row] = any_gradient
        if any_gradient:
            for c in range(channels):
                to_background[site[row], c] += gradient[row, c]


@njit(cache=True, nogil=True)
def _gather(
    begin: int,
    end: int,
    reached: NDArray[np.bool_],
    gradient: FloatArray,
    targets: IntArray,
    gathered: FloatArray,  # (rows, taps, C), written
    kept: IntArray,  # (rows,), written
) -> int:
    """The gradients that each row's taps reach, for the rows whose taps reach any; their number."""
    count = 0
    taps = targets.shape[1]
    channels = gradient.shape[1]
    for row in range(begin, end):
        needed = False
        for tap in range(taps):
            target = targets[row, tap]
            needed |= target < len(reached) and reached[target]
        if not needed:
            continue
        for tap in range(taps):
            target = targets[row, tap]
            if target < len(reached):
                for c in range(channels):
                    gathered[count, tap, c] = gradient[target, c]
            else:
                for c in range(channels):
                    gathered[count, tap, c] = 0
        kept[count] = row
        count += 1
    return count
