"""Kernels in Triton, for CUDA; `TRITON_INTERPRET=1` runs them anywhere, slowly.

Where plain torch would write a table and read it back, these keep it in registers: a search for maxima reads the
products of taps once and writes two numbers an image and channel. A bag is read several rows at a time, where
`embedding_bag` waits for one row after another.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from linefit.packs.kernels.interface import Maps, Maxima

CHUNK = 16  # rows of a table that a program reads at a time
CHANNELS = 64  # channels of a program, at most


def bag_sums(table: Tensor, index: Tensor, weights: Tensor | None = None) -> Tensor:
    return _launch_bags(table, index, None, weights)


def ragged_bag_sums(
    table: Tensor, index: Tensor, bounds: Tensor, weights: Tensor | None = None
) -> Tensor:
    return _launch_bags(table, index, bounds, weights)


def _launch_bags(
    table: Tensor, index: Tensor, bounds: Tensor | None, weights: Tensor | None
) -> Tensor:
    bags = len(index) if bounds is None else len(bounds) - 1
    channels = table.shape[1]
    sums = table.new_empty(bags, channels)
    block = _block(channels)
    sum_bags[bags, triton.cdiv(channels, block)](
        table,
        index.contiguous(),
        index if bounds is None else bounds.contiguous(),
        index if weights is None else weights.contiguous(),
        sums,
        # Rows of padding, of a table that ends with one: they are not read.
        len(table) - 1 if bounds is None else len(table),
        index.shape[1] if bounds is None else 0,
        channels,
        RAGGED=bounds is not None,
        WEIGHTED=weights is not None,
        CHUNK=CHUNK,
        BLOCK=block,
    )
    return sums


def _block(channels: int) -> int:
    return min(1 << (channels - 1).bit_length(), CHANNELS)


@triton.jit
def sum_bags(
    table,  # (n, channels)
    index,  # (entries,) int64
    bounds,  # (bags + 1,) int64, not read unless RAGGED
    weights,  # (entries,), not read unless WEIGHTED
    sums,  # (bags, channels), written
    length,
    per_bag,
    channels,
    RAGGED: tl.constexpr,
    WEIGHTED: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    bag = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = channel < channels
    if RAGGED:
        begin = tl.load(bounds + bag)
        end = tl.load(bounds + bag + 1)
    else:
        begin = bag * per_bag
        end = begin + per_bag
    total = tl.zeros((BLOCK,), dtype=sums.dtype.element_ty)
    for first in range(begin, end, CHUNK):
        entry = first + tl.arange(0, CHUNK)
        row = tl.load(index + entry, mask=entry < end, other=length)
        present = (row < length)[:, None] & inside[None, :]
        values = tl.load(table + row[:, None] * channels + channel[None, :], mask=present, other=0)
        if WEIGHTED:
            weight = tl.load(weights + entry, mask=entry < end, other=0)
            values = tl.where(present, values * weight[:, None], 0)
        total += tl.sum(values, axis=0)
    tl.store(sums + bag * channels + channel, total, mask=inside)


def maxima(maps: Maps, candidates: int, *, enough: bool) -> Maxima:  # noqa: ARG001
    """The same; candidates are never too few, as a program that finds them so goes on to all sites."""
    cells, area, channels = maps.background.shape
    images = maps.image.shape[1]
    top, top_site = maps.background.topk(min(candidates, area), dim=1)
    value = maps.background.new_empty(cells, images, channels)
    site = torch.empty(value.shape, dtype=torch.int64, device=value.device)
    block = _block(channels)
    find_maxima[cells, images, triton.cdiv(channels, block)](
        maps.background.contiguous(),
        maps.products,
        maps.taps.contiguous(),
        maps.site.contiguous(),
        maps.start.contiguous(),
        maps.position,
        maps.image.contiguous(),
        top.contiguous(),
        top_site.contiguous(),
        value,
        site,
        area,
        channels,
        maps.site.shape[1],
        images,
        top.shape[1],
        0 if len(maps.site) == 1 else 1,
        len(maps.products) - 1,
        TAPS=maps.taps.shape[2],
        CHUNK=CHUNK,
        BLOCK=block,
    )
    exhausted = torch.zeros(cells, dtype=torch.bool, device=value.device)
    return Maxima(value, site, exhausted)


@triton.jit
def find_maxima(
    background,  # (P, area, channels)
    products,
    taps,  # (P, rows, TAPS) int64
    sites,  # (T, rows) int64
    start,  # (T, images + 1) int64
    position,  # (data set + 1, area + 1)
    image_of,  # (T, images) int64
    top,  # (P, candidates, channels), largest first
    top_site,
    value,  # (P, images, channels), written
    site,
    area,
    channels,
    rows,
    images,
    candidates,
    own_order,  # 0 where T is 1
    absent,  # the zero row of products
    TAPS: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    cell = tl.program_id(0).to(tl.int64)
    image = tl.program_id(1)
    order = cell * own_order
    channel = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    inside = channel < channels
    below = background + cell * area * channels + channel
    begin = tl.load(start + order * (images + 1) + image)
    end = tl.load(start + order * (images + 1) + image + 1)
    shown_by = position + tl.load(image_of + order * images + image) * (area + 1)

    # NaN takes part as infinity, and is put back behind the search.
    lowest = -float("inf")
    best = tl.full((BLOCK,), lowest, dtype=value.dtype.element_ty)
    where = tl.zeros((BLOCK,), dtype=tl.int64)
    has_nan = tl.zeros((BLOCK,), dtype=tl.int32)
    for first in range(begin, end, CHUNK):
        row = first + tl.arange(0, CHUNK)
        real = (row < end)[:, None] & inside[None, :]
        at = tl.load(sites + order * rows + row, mask=row < end, other=0)
        total = tl.load(below[None, :] + at[:, None] * channels, mask=real, other=0)
        for tap in range(TAPS):
            of = taps + (cell * rows + row) * TAPS + tap
            product = tl.load(of, mask=row < end, other=absent)
            present = real & (product < absent)[:, None]
            total += tl.load(
                products + product[:, None] * channels + channel[None, :], mask=present, other=0
            )
        is_nan = total != total
        has_nan = tl.maximum(has_nan, tl.max((is_nan & real).to(tl.int32), axis=0))
        total = tl.where(real, tl.where(is_nan, float("inf"), total), lowest)
        largest = tl.max(total, axis=0)
        # The first row of the chunk that is the largest.
        place = tl.where(total == largest[None, :], tl.arange(0, CHUNK)[:, None], CHUNK)
        place = tl.min(place, axis=0)
        chosen = tl.sum(
            tl.where(tl.arange(0, CHUNK)[:, None] == place[None, :], at[:, None], 0), axis=0
        )
        larger = (largest > best) | ((best == lowest) & (first == begin))
        where = tl.where(larger, chosen, where)
        best = tl.where(larger, largest, best)
    best = tl.where(has_nan > 0, float("nan"), best)

    empty = begin == end
    found = tl.zeros((BLOCK,), dtype=tl.int32)
    shown = tl.full((BLOCK,), lowest, dtype=value.dtype.element_ty)
    shown_at = tl.zeros((BLOCK,), dtype=tl.int64)
    last = tl.full((BLOCK,), lowest, dtype=value.dtype.element_ty)
    for k in range(candidates):
        of = (cell * candidates + k) * channels + channel
        last = tl.load(top + of, mask=inside, other=lowest)
        at_k = tl.load(top_site + of, mask=inside, other=0)
        free = tl.load(shown_by + at_k, mask=inside, other=0) < 0
        take = free & (found == 0)
        shown = tl.where(take, last, shown)
        shown_at = tl.where(take, at_k, shown_at)
        found = tl.where(free, 1, found)
    unsure = (found == 0) & (empty | (last > best)) & inside
    if tl.max(unsure.to(tl.int32), axis=0) > 0:
        for s in range(area):
            free = tl.load(shown_by + s) < 0
            v = tl.load(below + s * channels, mask=inside, other=lowest)
            take = unsure & free & ((v > shown) | (v != v) | (found == 0))
            shown = tl.where(take, v, shown)
            shown_at = tl.where(take, s, shown_at)
            found = tl.where(take, 1, found)
    use = (found > 0) & (empty | (shown > best) | (shown != shown))
    out = (cell * images + image) * channels + channel
    tl.store(value + out, tl.where(use, shown, best), mask=inside)
    tl.store(site + out, tl.where(use, shown_at, where), mask=inside)
