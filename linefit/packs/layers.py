"""Layers of a pack: values of all cells in, values of all cells out, and how a gradient goes back.

A layer returns its output and a *pullback*, the function from the output's gradient to those of its inputs: forward
and backward are written out, so that a step is one fixed sequence of products and sums without autograd's help.
Values of depth `d` are `(P, A + R, C)`, see `sites.py`; every product is batched over the `P` cells.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from linefit.packs.sites import Batch
from linefit.packs.tables import copy_with_zero_row, take, with_zero_row


def at_sites(batch: Batch, depth: int, background: Tensor) -> Tensor:
    """The background `(P, A, C)` at every row's site, `(P, R, C)`."""
    return take(background, batch.flat(batch.rows(depth).site, batch.area))


def sum_by_site(batch: Batch, depth: int, rows: Tensor) -> Tensor:
    """Sums `(P, A, C)` of rows `(P, R, C)` of all images over each site."""
    cells, length, channels = rows.shape
    order, first = batch.by_site(depth)
    index = batch.flat(order, length).expand(cells, -1).reshape(-1)
    sums = batch.kernels.ragged_bag_sums(
        rows.reshape(-1, channels), index, batch.bounds(first, length)
    )
    return sums.view(cells, -1, channels)[:, : batch.area]


def sum_by_image(batch: Batch, depth: int, rows: Tensor) -> Tensor:
    """Sums `(P, B, C)` of rows `(P, R, C)` over each image."""
    cells, length, channels = rows.shape
    index = torch.arange(cells * length, device=rows.device)
    bounds = batch.bounds(batch.rows(depth).start, length)
    sums = batch.kernels.ragged_bag_sums(rows.reshape(-1, channels), index, bounds)
    return sums.view(cells, -1, channels)[:, : batch.size]


def deltas(batch: Batch, depth: int, values: Tensor) -> Tensor:
    """The values with the background taken off the rows, `(P, A + R, C)`."""
    background = values[:, : batch.area]
    rows = values[:, batch.area :] - at_sites(batch, depth, background)
    return torch.cat([background, rows], 1)


def pull_deltas(batch: Batch, depth: int, gradient: Tensor) -> Tensor:
    """The pullback of `deltas`, in place."""
    gradient[:, : batch.area] -= sum_by_site(batch, depth, gradient[:, batch.area :])
    return gradient


def by_taps(weight: Tensor) -> Tensor:
    """Weights `(P, out, in, height, width)` as `(P, in, taps * out)`."""
    return weight.permute(0, 2, 3, 4, 1).reshape(len(weight), weight.shape[2], -1)


def tap_products(values: Tensor, weight: Tensor) -> Tensor:
    """What each value gives to each tap: a table `(P * n * taps + 1, out)`, the last row zero."""
    cells, length, _ = values.shape
    out, _, height, width = weight.shape[1:]
    taps = height * width
    table, products = with_zero_row(cells, length * taps, out, values)
    torch.bmm(values, by_taps(weight), out=products.view(cells, length, taps * out))
    return table


def convolution(
    batch: Batch, layer: int, values: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Callable[..., tuple[Tensor | None, Tensor, Tensor]]]:
    """Convolution `layer`: values of its depth to those of the next; weight `(P, out, in, h, w)`, bias `(P, out)`.

    The pullback gives the gradients of values (None unless asked for), weight and bias.
    """
    source = deltas(batch, layer, values)
    cells, length, _ = source.shape
    out, _, height, width = weight.shape[1:]
    output = _add_taps(batch, layer, source, weight, bias)
    output[:, batch.area :] += at_sites(batch, layer + 1, output[:, : batch.area])

    def pullback(
        gradient: Tensor, *, to_values: bool = True
    ) -> tuple[Tensor | None, Tensor, Tensor]:
        table, gradient = copy_with_zero_row(gradient)
        gradient[:, : batch.area] += sum_by_site(batch, layer + 1, gradient[:, batch.area :])
        targets = batch.flat(batch.targets(layer), gradient.shape[1]).expand(cells, -1, -1)
        reached = table.index_select(0, targets.reshape(-1)).view(cells, length, -1)
        to_weight = torch.bmm(source.transpose(1, 2), reached)
        to_weight = to_weight.view(cells, -1, height, width, out).permute(0, 4, 1, 2, 3)
        to_bias = gradient[:, : batch.area].sum(1)
        if not to_values:
            return None, to_weight.contiguous(), to_bias
        to_source = torch.bmm(reached, by_taps(weight).transpose(1, 2))
        return pull_deltas(batch, layer, to_source), to_weight.contiguous(), to_bias

    return output, pullback


def _add_taps(batch: Batch, layer: int, source: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The convolution of deltas: its background, and what the rows add to it."""
    cells, length, _ = source.shape
    table = tap_products(source, weight)
    taps = weight.shape[3] * weight.shape[4]
    index = batch.flat(batch.sources(layer), length * taps).expand(cells, -1, -1)
    output = batch.kernels.bag_sums(table, index.reshape(-1, taps)).view(cells, -1, weight.shape[1])
    output[:, : batch.area] += bias[:, None]
    return output


def relu(values: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    output = values.relu()
    return output, lambda gradient: gradient.masked_fill(output <= 0, 0)


def average(batch: Batch, depth: int, values: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """The mean `(P, B, C)` of each image over all sites.

    The product with the mask adds the sites that show the background: no cancellation, even where all are active.
    """
    mask = batch.inactive(depth, values.dtype)
    background, rows = values[:, : batch.area], values[:, batch.area :]
    total = torch.matmul(mask, background) + sum_by_image(batch, depth, rows)

    def pullback(gradient: Tensor) -> Tensor:
        gradient = gradient / batch.area
        table, _ = copy_with_zero_row(gradient)
        image = batch.rows(depth).image
        image = batch.flat(torch.where(image < batch.size, image, -1), batch.size)
        image = image.expand(len(gradient), -1)
        to_rows = table.index_select(0, image.reshape(-1)).view(*image.shape, -1)
        return torch.cat([torch.matmul(mask.transpose(1, 2), gradient), to_rows], 1)

    return total / batch.area, pullback


def linear(
    values: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]]:
    """Values `(P, B, in)` to `(P, B, out)`; weight `(P, out, in)`, bias `(P, out)`."""

    def pullback(gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        to_weight = torch.bmm(gradient.transpose(1, 2), values)
        return torch.bmm(gradient, weight), to_weight, gradient.sum(1)

    return torch.baddbmm(bias[:, None], values, weight.transpose(1, 2)), pullback


def flattened_linear(
    batch: Batch, depth: int, values: Tensor, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]]:
    """A linear layer behind a flattened map: `(P, B, out)`; weight `(P, A, C, out)`, stored by site.

    Rows of one site share a block of the weight: they stand in its slots `1..K`, the background in slot 0, and one
    batched product over cells and sites reads every weight once. The dense map never exists.
    """
    cells, area, channels, out = weight.shape
    slots = batch.capacity.per_site + 1
    source = deltas(batch, depth, values)
    table, _ = copy_with_zero_row(source)
    value_of_slot, slot_of_row, image_of_slot = _slots(batch, depth)
    held = take(table[None], batch.flat(value_of_slot, source.shape[1]).expand(cells, -1, -1))
    held = held.view(cells * area, slots, channels)
    blocks = weight.view(cells * area, channels, out)
    products = torch.bmm(held, blocks).view(cells, area * slots, out)
    shared = products.view(cells, area, slots, out)[:, :, 0].sum(1)
    rows = batch.flat(slot_of_row, area * slots).clamp_max(cells * area * slots - 1)
    output = sum_by_image(batch, depth, take(products, rows.expand(cells, -1)))
    output = output + (shared + bias)[:, None]

    def pullback(gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        total = gradient.sum(1)
        table, _ = copy_with_zero_row(gradient)
        image = batch.flat(image_of_slot, batch.size).expand(cells, -1, -1)
        reached = take(table[None], image)
        reached[:, :, 0] = total[:, None]
        reached = reached.view(cells * area, slots, out)
        to_weight = torch.bmm(held.transpose(1, 2), reached).view(weight.shape)
        to_held = torch.bmm(reached, blocks.transpose(1, 2)).view(cells, area * slots, channels)
        to_rows = take(to_held, rows.expand(cells, -1))
        padding = batch.of_cells(batch.rows(depth).image == batch.size)[..., None]
        to_rows = to_rows.masked_fill(padding, 0)
        to_background = to_held.view(cells, area, slots, channels)[:, :, 0]
        to_values = pull_deltas(batch, depth, torch.cat([to_background, to_rows], 1))
        return to_values, to_weight, total

    return output, pullback


def _slots(batch: Batch, depth: int) -> tuple[Tensor, Tensor, Tensor]:
    """Values `(T, A, slots)` and images `(T, A, slots)` of each site's slots, and the slot `(T, R)` of each row.

    Slot 0 is the background's, an image of nobody; -1 where a slot is empty or a row is padding.
    """
    rows, (order, first) = batch.rows(depth), batch.by_site(depth)
    area, per_site = batch.area, batch.capacity.per_site
    place = first[:, :area, None] + torch.arange(per_site, device=first.device)
    taken = place < first[:, 1:, None]
    row = order.gather(1, place.clamp_max(order.shape[1] - 1).flatten(1)).view(place.shape)
    background = torch.arange(area, device=row.device).view(1, -1, 1).expand(len(row), -1, -1)
    value = torch.cat([background, torch.where(taken, row + area, -1)], 2)
    image = rows.image.gather(1, row.flatten(1)).view(row.shape)
    image = torch.cat([torch.full_like(background, -1), torch.where(taken, image, -1)], 2)
    sorted_site = rows.site.gather(1, order)
    step = torch.arange(order.shape[1], device=order.device) - first.gather(1, sorted_site)
    slot = torch.empty_like(order).scatter_(1, order, sorted_site * (per_site + 1) + 1 + step)
    return value, torch.where(rows.image < batch.size, slot, -1), image
