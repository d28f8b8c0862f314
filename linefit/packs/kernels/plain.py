"""Kernels in plain torch: what runs by default, and the reference of those in Triton."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from linefit.packs.kernels.interface import Maps, Maxima


def bag_sums(table: Tensor, index: Tensor, weights: Tensor | None = None) -> Tensor:
    return F.embedding_bag(
        index, table, mode="sum", per_sample_weights=weights, padding_idx=len(table) - 1
    )


def ragged_bag_sums(
    table: Tensor, index: Tensor, bounds: Tensor, weights: Tensor | None = None
) -> Tensor:
    return F.embedding_bag(
        index, table, bounds, mode="sum", per_sample_weights=weights, include_last_offset=True
    )


def maxima(maps: Maps, candidates: int, *, enough: bool) -> Maxima:
    background = maps.background
    cells, area, channels = background.shape
    images, count = maps.image.shape[1], maps.site.shape[1]
    site = maps.site.expand(cells, -1)
    rows = bag_sums(maps.products, maps.taps.flatten(0, 1)).view(cells, count, channels)
    rows = rows + background.gather(1, site[..., None].expand(-1, -1, channels))
    best, row = _best_rows(rows, maps.start)
    empty = (maps.start[:, 1:] == maps.start[:, :-1])[..., None]
    at = site.gather(1, row.flatten(1)).view(row.shape)

    top, top_site = background.topk(min(candidates, area), dim=1)  # (P, k, C)
    first = maps.image.expand(cells, -1)[..., None, None] * maps.position.shape[1]
    free = maps.position.view(-1)[first + top_site[:, None]] < 0  # (P, B, k, C)
    any_free, which = free.any(2), free.to(torch.uint8).argmax(2)
    shown = top.gather(1, which)
    from_background = any_free & (empty | (shown > best) | shown.isnan())
    unsure = ~any_free & (empty | (top[:, -1:] > best))
    return Maxima(
        torch.where(from_background, shown, best),
        torch.where(from_background, top_site.gather(1, which), at),
        unsure.view(cells, images * channels).any(1) & (not enough),
    )


def _best_rows(rows: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """The largest of each image's rows `(P, R, C)`, -inf where it has none, and the first that is it: `(P, B, C)`."""
    cells, count, channels = rows.shape
    shift = torch.arange(cells, device=rows.device)[:, None] * count
    bounds = F.pad((start + shift).view(-1), (0, 1), value=cells * count)
    flat = rows.view(-1, channels)
    row = torch.arange(cells * count, device=rows.device)
    largest = _segments(flat, "max", bounds, -torch.inf)
    segment = torch.searchsorted(bounds[1:], row, right=True)
    top = (flat == largest[segment]) | flat.isnan()
    place = (row - bounds[segment]).to(rows.dtype)[:, None]  # a small number: exact
    first = _segments(torch.where(top, place, torch.inf), "min", bounds, torch.inf)
    first = torch.where(first.isinf(), 0, first).long().view(cells, -1, channels)
    # Behind each cell's images stands its padding.
    row = (first[:, :-1] + start[:, :-1, None]).clamp_max(count - 1)
    return largest.view(cells, -1, channels)[:, :-1], row


def _segments(rows: Tensor, reduce: str, bounds: Tensor, initial: float) -> Tensor:
    # `unsafe` leaves out a check of the bounds, for which the host would wait.
    return torch.segment_reduce(rows, reduce, offsets=bounds, axis=0, unsafe=True, initial=initial)
