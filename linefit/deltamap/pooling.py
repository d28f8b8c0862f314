"""Global pooling of delta maps, in plain torch: maxima, sums, log-sum-exps and softmax-weighted sums."""

from __future__ import annotations

import torch
from torch import Tensor

from linefit.deltamap.kernels.plain import argmax_rows
from linefit.deltamap.sites import Sites


def maximum(background: Tensor, rows: Tensor, sites: Sites) -> Tensor:
    """Global maximum `(N, C)`; the gradient reaches one site per image and channel."""
    with torch.no_grad():
        chosen = argmax_rows(background, rows, sites)
    return torch.cat([rows, background]).gather(0, chosen)


def total(background: Tensor, rows: Tensor, sites: Sites) -> Tensor:
    """Global sum `(N, C)`: rows, and the background where no row hides it.

    The product with the mask adds the visible sites themselves: no cancellation, even where every site is active.
    """
    visible = sites.inactive.to(background.dtype) @ background
    images = len(sites.batch)
    added = rows.new_zeros(images + 1, rows.shape[1]).index_add(0, sites.image, rows)
    return visible + added[:images]


def _peak_is_hidden(visible: Tensor, sites: Sites) -> bool:
    """Whether sums `(N, C)` of visible background terms, shifted by the global peak, may have lost terms to underflow.

    It happens where rows hide the background's peak and all else is far below. A sum above the root of the smallest
    number has lost nothing that counts. Padded tables take the answer for granted: asking would need the host.
    """
    return sites.batch.tables.padded or bool(
        (visible < torch.finfo(visible.dtype).tiny ** 0.5).any()
    )


def _shown(background: Tensor, sites: Sites, hidden: float) -> Tensor:
    """The background `(N, C, H * W)` as each image shows it, with `hidden` at its active sites."""
    return background.t().masked_fill(~sites.inactive[:, None], hidden)


def log_sum_exp(background: Tensor, rows: Tensor, sites: Sites) -> Tensor:
    """Global log-sum-exp `(N, C)`.

    Rows are shifted by their image's largest, the background by its own, or by each image's where that is hidden.
    """
    images, channels = len(sites.batch), rows.shape[1]
    tiny = torch.finfo(rows.dtype).tiny
    image = sites.image[:, None].expand(-1, channels)
    lowest = torch.finfo(rows.dtype).min
    shift = rows.new_full((images + 1, channels), lowest)
    shift = shift.scatter_reduce(0, image, rows.detach(), "amax")
    terms = torch.exp(rows - shift.index_select(0, sites.image))
    of_rows = rows.new_zeros(images + 1, channels).index_add(0, sites.image, terms)
    # An image without rows, or without a visible site, has a sum of zero: its logarithm must stay finite for autograd.
    of_rows = (of_rows.clamp_min(tiny).log() + shift.clamp_min(lowest / 2))[:images]
    peak = background.detach().amax(0)
    visible = sites.inactive.to(background.dtype) @ torch.exp(background - peak)
    if _peak_is_hidden(visible, sites):
        of_background = _shown(background, sites, lowest / 2).logsumexp(-1)
    else:
        of_background = visible.log() + peak
    return torch.logaddexp(of_rows, of_background)


def weighted_total(
    background: Tensor, rows: Tensor, values: tuple[Tensor, Tensor], sites: Sites
) -> Tensor:
    """Sum `(N, C)` of values (background, rows) with the weights softmax(map) over all sites."""
    normaliser = log_sum_exp(background, rows, sites)
    images = len(sites.batch)
    peak = background.detach().amax(0)
    shift = torch.cat([normaliser, peak[None]]).index_select(0, sites.image)
    terms = torch.exp(rows - shift) * values[1]
    of_rows = terms.new_zeros(images + 1, terms.shape[1]).index_add(0, sites.image, terms)[:images]
    inactive = sites.inactive.to(background.dtype)
    weights = torch.exp(background - peak)
    if _peak_is_hidden(inactive @ weights.detach(), sites):
        weights = torch.exp(_shown(background, sites, -torch.inf) - normaliser[..., None])
        return of_rows + (weights * values[0].t()).sum(-1)
    return of_rows + torch.exp(peak - normaliser) * (inactive @ (weights * values[0]))
