"""Pooling of delta maps over windows, in plain torch: maxima, sums, log-sum-exps and softmax-weighted sums.

Backgrounds come as `(K, M, C)` and rows as `(R', C)`, as `Regions` gives them; results are `(N, K, C)`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from linefit.deltamap.windows import Regions


def maximum(
    background: Tensor, rows: Tensor, regions: Regions, argmax_rows: Callable[..., Tensor]
) -> Tensor:
    """Largest values; the gradient reaches one site of each, which the kernel `argmax_rows` finds.

    Of several sites that share the maximum any may be chosen.
    """
    with torch.no_grad():
        chosen = argmax_rows(background, rows, regions.group, regions.visible, regions.hidden)
    values = torch.cat([rows, background.flatten(0, 1)])
    return values.gather(0, chosen.flatten(0, 1)).view(chosen.shape)


def total(background: Tensor, rows: Tensor, regions: Regions) -> Tensor:
    """Sums: of rows, and of the background where no row hides it.

    The product with the mask adds the visible sites themselves: no cancellation, even where every site is active.
    """
    return _visible_sum(background, regions) + _sum_of_rows(rows, regions)


def _visible_sum(background: Tensor, regions: Regions) -> Tensor:
    visible = regions.visible.to(background.dtype)
    if len(visible) == 1:
        return (visible[0] @ background[0])[:, None]
    return (visible @ background).transpose(0, 1)


def _sum_of_rows(rows: Tensor, regions: Regions) -> Tensor:
    groups = regions.images * regions.windows
    added = rows.new_zeros(groups + 1, rows.shape[1]).index_add(0, regions.group, rows)
    return added[:groups].view(regions.images, regions.windows, rows.shape[1])


def _peak_is_hidden(visible: Tensor, *, padded: bool) -> bool:
    """Whether sums `(N, K, C)` of visible background terms, shifted by the peak, may have lost terms to underflow.

    It happens where rows hide the background's peak and all else is far below. A sum above the root of the smallest
    number has lost nothing that counts. Padded tables take the answer for granted: asking would need the host.
    """
    return padded or bool((visible < torch.finfo(visible.dtype).tiny ** 0.5).any())


def _shown(background: Tensor, regions: Regions, hidden: float) -> Tensor:
    """The background `(N, K, C, M)` as each image shows it, with `hidden` at its active sites."""
    hides = ~regions.visible.transpose(0, 1)[:, :, None]
    return background.transpose(1, 2).masked_fill(hides, hidden)


def log_sum_exp(background: Tensor, rows: Tensor, regions: Regions, *, padded: bool) -> Tensor:
    """Log-sum-exps.

    Rows are shifted by their window's largest, the background by its own, or by each image's where that is hidden.
    """
    groups, channels = regions.images * regions.windows, rows.shape[1]
    tiny = torch.finfo(rows.dtype).tiny
    group = regions.group[:, None].expand(-1, channels)
    lowest = torch.finfo(rows.dtype).min
    shift = rows.new_full((groups + 1, channels), lowest)
    shift = shift.scatter_reduce(0, group, rows.detach(), "amax")
    terms = torch.exp(rows - shift.index_select(0, regions.group))
    of_rows = _sum_of_rows(terms, regions)
    # A window without rows, or without a visible site, has a sum of zero: its logarithm must stay finite for autograd.
    of_rows = of_rows.clamp_min(tiny).log() + shift.clamp_min(lowest / 2)[:-1].view(of_rows.shape)
    peak = background.detach().amax(1, keepdim=True)  # (K, 1, C)
    visible = _visible_sum(torch.exp(background - peak), regions)
    if _peak_is_hidden(visible, padded=padded):
        of_background = _shown(background, regions, lowest / 2).logsumexp(-1)
    else:
        of_background = visible.log() + peak[:, 0]
    return torch.logaddexp(of_rows, of_background)


def weighted_total(
    background: Tensor,
    rows: Tensor,
    values: tuple[Tensor, Tensor],
    normaliser: Tensor,
    regions: Regions,
    *,
    padded: bool,
) -> Tensor:
    """Sums of values (background, rows) with the weights `exp(map - normaliser)`, normaliser `(N, 1, C)`."""
    peak = background.detach().amax((0, 1))
    image = torch.div(regions.group, regions.windows, rounding_mode="floor")
    shift = torch.cat([normaliser[:, 0], peak[None]]).index_select(0, image)
    of_rows = _sum_of_rows(torch.exp(rows - shift) * values[1], regions)
    weights = torch.exp(background - peak)
    if _peak_is_hidden(_visible_sum(weights.detach(), regions), padded=padded):
        weights = torch.exp(_shown(background, regions, -torch.inf) - normaliser[..., None])
        return of_rows + (weights * values[0].transpose(1, 2)).sum(-1)
    return of_rows + torch.exp(peak - normaliser) * _visible_sum(weights * values[0], regions)
