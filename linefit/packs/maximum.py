"""Global maximum behind a convolution: the arg-max is searched first, and backward visits the patches under it alone.

An image's maximum is the largest of its rows and of the background where the image shows it. Of the background only
some best sites of each channel are candidates; whether they were too few is a flag on the device, so that no host
waits for it, and whoever trains takes more of them and repeats what was done.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from linefit.packs.kernels.interface import Maps, Maxima
from linefit.packs.layers import deltas, tap_products
from linefit.packs.sites import Batch
from linefit.packs.tables import copy_with_zero_row

Pullback = Callable[..., tuple[Tensor | None, Tensor, Tensor]]


def maximum(
    batch: Batch, layer: int, values: Tensor, weight: Tensor, bias: Tensor, candidates: int
) -> tuple[Tensor, Tensor, Pullback]:
    """Convolution `layer` and its global maximum `(P, B, C)`, and the cells that needed more candidates `(P,)`."""
    found = search(batch, layer, values, weight, bias, candidates)

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
    batch: Batch, layer: int, values: Tensor, weight: Tensor, bias: Tensor, candidates: int
) -> Maxima:
    """The maxima of convolution `layer`, whose rows nobody keeps."""
    depth, taps = layer + 1, weight.shape[3] * weight.shape[4]
    source = deltas(batch, layer, values)
    products = tap_products(source, weight)
    index = batch.flat(batch.sources(layer), source.shape[1] * taps).expand(len(values), -1, -1)
    below, above = index[:, : batch.area], index[:, batch.area :]
    background = batch.kernels.bag_sums(products, below.reshape(-1, taps))
    background = background.view(len(values), batch.area, -1) + bias[:, None]
    rows = batch.rows(depth)
    site, start, indices = map(batch.of_cells, (rows.site, rows.start, batch.indices))
    position = batch.images.active(depth).position
    maps = Maps(background, products, above, site, start, position, indices)
    enough = candidates >= min(batch.area, batch.images.most(depth) + 1)
    return batch.kernels.maxima(maps, candidates, enough=enough)


def _patch_sums(
    batch: Batch, values: Tensor, patches: Tensor, gradient: Tensor, weight: Tensor
) -> Tensor:
    """The weight's gradient: for each channel and tap, the values under the arg-max of all images.

    patches `(P, B, C, taps)` into the values of a cell, -1 outside the map; gradient `(P, B, C)`.
    """
    index = batch.flat(patches, values.shape[1]).permute(0, 2, 3, 1)  # (P, C, taps, B)
    weights = gradient.transpose(1, 2)[:, :, None].expand(index.shape)
    table, _ = copy_with_zero_row(values)
    sums = batch.kernels.bag_sums(
        table, index.reshape(-1, batch.size), weights.reshape(-1, batch.size)
    )
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
    return batch.kernels.ragged_bag_sums(by_tap, row[order], bounds, weights[order]).view(
        values.shape
    )
