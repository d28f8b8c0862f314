"""Global maximum behind a convolution: the arg-max is searched first, and backward visits the patches under it alone.

An image's maximum is the largest of its rows and of the background where the image shows it. Of the background only
some best sites of each channel are candidates; whether they were too few is a flag on the device, so that no host
waits for it, and whoever trains takes more of them and repeats what was done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from linefit.packs.bags import bag_sums, copy_with_zero_row, ragged_bag_sums, segment_extremes
from linefit.packs.layers import at_sites, convolve_deltas, deltas
from linefit.packs.sites import Batch

Pullback = Callable[..., tuple[Tensor | None, Tensor, Tensor]]


@dataclass(frozen=True)
class Found:
    """The maxima of a batch, each `(P, B, C)`, and which cells had too few candidates `(P,)`."""

    value: Tensor
    site: Tensor
    exhausted: Tensor


def maximum(
    batch: Batch, layer: int, values: Tensor, weight: Tensor, bias: Tensor, candidates: int
) -> tuple[Tensor, Tensor, Pullback]:
    """Convolution `layer` and its global maximum `(P, B, C)`, and the cells that needed more candidates `(P,)`."""
    found = search(batch, layer, deltas(batch, layer, values), weight, bias, candidates)

    def pullback(
        gradient: Tensor, *, to_values: bool = True
    ) -> tuple[Tensor | None, Tensor, Tensor]:
        patches = batch.patches(layer, found.site)
        to_weight = _patch_sums(batch, values, patches, gradient, weight)
        to_bias = gradient.sum(1)
        if not to_values:
            return None, to_weight, to_bias
        return _scatter_patches(batch, values, patches, gradient, weight), to_weight, to_bias

    return found.value, found.exhausted, pullback


def search(
    batch: Batch, layer: int, source: Tensor, weight: Tensor, bias: Tensor, candidates: int
) -> Found:
    """The maxima of the convolution of deltas, in plain torch."""
    depth, channels = layer + 1, weight.shape[1]
    output = convolve_deltas(batch, layer, source, weight, bias)
    cells, background = len(output), output[:, : batch.area]
    rows = output[:, batch.area :] + at_sites(batch, depth, background)
    start = batch.rows(depth).start
    bounds = batch.bounds(start, rows.shape[1])
    best, place = segment_extremes(rows.view(-1, channels), bounds)
    best = best.view(cells, -1, channels)[:, : batch.size]
    row = place.view(cells, -1, channels)[:, : batch.size] + start[:, :-1, None]
    no_rows = (start[:, 1:] == start[:, :-1])[..., None]
    site = (
        batch.rows(depth)
        .site.expand(cells, -1)
        .gather(1, row.clamp_max(rows.shape[1] - 1).flatten(1))
    )
    site = site.view(row.shape)

    top, top_site = background.topk(min(candidates, batch.area), dim=1)  # (P, k, C)
    asked = top_site[:, None].expand(-1, batch.size, -1, -1)
    free = ~batch.is_active(depth, asked)
    any_free, first = free.any(2), free.to(torch.uint8).argmax(2)
    shown = top.gather(1, first)
    # Rows win ties, and a NaN wins against all, as in a dense pool.
    from_background = any_free & (no_rows | (shown > best) | shown.isnan())
    value = torch.where(from_background, shown, best)
    site = torch.where(from_background, top_site.gather(1, first), site)
    unsure = ~any_free & (no_rows | (top[:, -1:] > best))
    all_asked = candidates >= min(batch.area, batch.images.most(depth) + 1)
    exhausted = unsure.flatten(1).any(1) & (not all_asked)
    return Found(value, site, exhausted)


def _patch_sums(
    batch: Batch, values: Tensor, patches: Tensor, gradient: Tensor, weight: Tensor
) -> Tensor:
    """The weight's gradient: for each channel and tap, the values under the arg-max of all images.

    patches `(P, B, C, taps)` into the values of a cell, -1 outside the map; gradient `(P, B, C)`.
    """
    index = batch.flat(patches, values.shape[1]).permute(0, 2, 3, 1)  # (P, C, taps, B)
    weights = gradient.transpose(1, 2)[:, :, None].expand(index.shape)
    table, _ = copy_with_zero_row(values)
    sums = bag_sums(table, index.reshape(-1, batch.size), weights.reshape(-1, batch.size))
    sums = sums.view(*index.shape[:2], *weight.shape[3:], -1)
    return sums.permute(0, 1, 4, 2, 3).contiguous()


def _scatter_patches(
    batch: Batch, values: Tensor, patches: Tensor, gradient: Tensor, weight: Tensor
) -> Tensor:
    """The values' gradient `(P, n, in)`: each patch gives its channel's weights, times its gradient, to what it read.

    Sorted by what they read, these are ragged bags of rows of the weight.
    """
    cells, images, channels, taps = patches.shape
    inside = patches >= 0
    centre = patches[..., taps // 2, None]
    # A bag of all that lies outside would be by far the longest: it goes, with weight 0, where the centre goes.
    read = batch.flat(torch.where(inside, patches, centre), values.shape[1])
    read, order = read.view(-1).sort(stable=True)
    edges = torch.arange(values.shape[0] * values.shape[1] + 1, device=read.device)
    by_tap = weight.flatten(3).transpose(2, 3).reshape(-1, weight.shape[2])  # (P * C * taps, in)
    row = torch.arange(len(by_tap), device=read.device).view(cells, 1, channels, taps)
    row = row.expand(-1, images, -1, -1).reshape(-1)
    weights = torch.where(inside, gradient[..., None], 0).view(-1)
    bounds = torch.searchsorted(read, edges)
    return ragged_bag_sums(by_tap, row[order], bounds, weights[order]).view(values.shape)
