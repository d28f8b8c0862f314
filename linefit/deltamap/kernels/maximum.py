"""Global maximum of a convolution on the CPU, compiled.

Forward multiplies a few images' rows at a time by all taps (sgemm), adds the products up in cache and keeps each
channel's arg-max. Backward visits the arg-max patches alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from linefit.deltamap.kernels.argmax import CANDIDATES
from linefit.deltamap.kernels.convolution import by_taps, chunks
from linefit.deltamap.kernels.links import FloatArray, IntArray, Links


def convolved_maximum(
    source_background: Tensor,
    source_rows: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    background: Tensor,
    links: Links,
) -> Tensor:
    maximum: Tensor = _ConvolvedMaximum.apply(  # type: ignore[no-untyped-call]
        source_background, source_rows, weight, bias, background, links
    )
    return maximum


class _ConvolvedMaximum(Function):
    @staticmethod
    def forward(
        ctx: Any,
        source_background: Tensor,
        source_rows: Tensor,
        weight: Tensor,
        bias: Tensor | None,  # noqa: ARG004  (autograd asks for one parameter per tensor)
        background: Tensor,  # without a gradient: where it holds a maximum, the patch under it has one
        links: Links,
    ) -> Tensor:
        source, target, targets = links.source, links.target, links.targets
        below = background.contiguous()
        values, candidates = below.t().topk(min(CANDIDATES, len(below)))
        delta = source_rows - source_background.index_select(0, source.site)
        taps = by_taps(weight)
        images, channels = len(source.start) - 1, len(weight)
        best = source_rows.new_empty(images, channels)
        chosen = torch.empty(images, channels, dtype=torch.int64)
        runs = chunks(source.start.tolist(), taps.shape[1] * taps.element_size())
        longest = max((end - begin for *_, begin, end in runs), default=0)
        products = source_rows.new_empty(longest, taps.shape[1])
        arrays = (
            products.view(longest, targets.shape[1], channels),
            targets,
            source.start,
            target.start,
            target.site,
            target.row_of_site,
            below,
            values,
            candidates,
            best,
            chosen,
        )
        views = [array.numpy() for array in arrays]
        for first, last, begin, end in runs:
            torch.mm(delta[begin:end], taps, out=products[: end - begin])
            _search(first, last, *views)
        ctx.save_for_backward(source_background, source_rows, weight, chosen)
        ctx.links = links
        return best

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        background, rows, weight, chosen = ctx.saved_tensors
        by_tap = weight.detach().flatten(2).transpose(1, 2).contiguous()  # (out, taps, in)
        to_weight = torch.zeros_like(by_tap)
        to_background, to_rows = torch.zeros_like(background), torch.zeros_like(rows)
        links: Links = ctx.links
        _scatter(
            gradient.contiguous().numpy(),
            chosen.numpy(),
            links.target.site.numpy(),
            links.source.row_of_site.numpy(),
            links.offsets.numpy(),
            np.array((*links.source_size, links.target_size[1])),
            background.detach().contiguous().numpy(),
            rows.detach().contiguous().numpy(),
            by_tap.numpy(),
            to_background.numpy(),
            to_rows.numpy(),
            to_weight.numpy(),
        )
        bias = gradient.sum(0) if ctx.needs_input_grad[3] else None
        to_weight = to_weight.transpose(1, 2).reshape(weight.shape)
        return to_background, to_rows, to_weight, bias, None, None


@njit(cache=True, nogil=True)
def _search(
    first_image: int,
    last_image: int,
    products: FloatArray,  # (rows of the source in these images, taps, C)
    targets: IntArray,  # (rows of the source, taps)
    source_start: IntArray,
    start: IntArray,
    site: IntArray,
    row_of_site: IntArray,  # (N, H * W)
    background: FloatArray,  # (H * W, C)
    values: FloatArray,  # (C, candidates)
    candidates: IntArray,
    best: FloatArray,  # (N, C), written
    chosen: IntArray,
) -> None:
    area, channels = background.shape
    taps = targets.shape[1]
    absent = len(site)
    most = 0
    for image in range(first_image, last_image):
        most = max(most, start[image + 1] - start[image])
    sums = np.empty((most, channels), background.dtype)
    where = np.empty(channels, np.int32)
    before = source_start[first_image]
    for image in range(first_image, last_image):
        begin = start[image]
        count = start[image + 1] - begin
        for row in range(count):
            for c in range(channels):
                sums[row, c] = background[site[begin + row], c]
        for row in range(source_start[image], source_start[image + 1]):
            for tap in range(taps):
                target = targets[row, tap]
                if target != absent:
                    for c in range(channels):
                        sums[target - begin, c] += products[row - before, tap, c]
        top = best[image]
        top[:] = -np.inf
        where[:] = -1
        for row in range(count):
            for c in range(channels):
                value = sums[row, c]
                larger = (value > top[c]) | (value != value)  # NaN wins, as in a dense pool
                top[c] = value if larger else top[c]
                where[c] = row if larger else where[c]
        for c in range(channels):
            chosen[image, c] = begin + where[c]
            shown = -1
            exhausted = True
            for k in range(values.shape[1]):
                if where[c] >= 0 and (values[c, k] <= top[c] or top[c] != top[c]):
                    exhausted = False
                    break
                if row_of_site[image, candidates[c, k]] == absent:
                    shown = candidates[c, k]
                    exhausted = False
                    break
            if exhausted:
                largest = top[c]
                for s in range(area):
                    if row_of_site[image, s] == absent and (
                        (shown < 0 and where[c] < 0)
                        or background[s, c] > largest
                        or background[s, c] != background[s, c]
                    ):
                        shown = s
                        largest = background[s, c]
            if shown >= 0:
                top[c] = background[shown, c]
                chosen[image, c] = absent + shown


@njit(cache=True, nogil=True)
def _scatter(
    gradient: FloatArray,  # (N, C)
    chosen: IntArray,
    site: IntArray,
    row_of_site: IntArray,  # of the source, (N, H * W)
    offsets: IntArray,  # (taps, 2)
    size: IntArray,  # height and width of the source, width of the target
    background: FloatArray,  # of the source, (H * W, in)
    rows: FloatArray,
    weight: FloatArray,  # (C, taps, in)
    to_background: FloatArray,
    to_rows: FloatArray,
    to_weight: FloatArray,
) -> None:
    images, channels = gradient.shape
    height, width, target_width = size
    inner = weight.shape[2]
    for image in range(images):
        for c in range(channels):
            g = gradient[image, c]
            if g == 0:
                continue
            where = chosen[image, c]
            at = site[where] if where < len(site) else where - len(site)
            for tap in range(len(offsets)):
                y = at // target_width + offsets[tap, 0]
                x = at % target_width + offsets[tap, 1]
                if y < 0 or y >= height or x < 0 or x >= width:
                    continue
                at_source = y * width + x
                row = row_of_site[image, at_source]
                if row < len(rows):
                    for i in range(inner):
                        to_weight[c, tap, i] += g * rows[row, i]
                    for i in range(inner):
                        to_rows[row, i] += g * weight[c, tap, i]
                else:
                    for i in range(inner):
                        to_weight[c, tap, i] += g * background[at_source, i]
                    for i in range(inner):
                        to_background[at_source, i] += g * weight[c, tap, i]
