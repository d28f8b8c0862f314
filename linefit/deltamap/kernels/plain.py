"""The reference: every kernel in plain torch, on any device, with no shape that depends on data if tables are padded.

Backgrounds come as one row a site, `(H * W, C)`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from linefit.deltamap.kernels.links import ActiveRows, Links


def gather_sites(
    first: Tensor, table: Tensor, indices: Tensor, capacity: int | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`start` `(B + 1,)` of a batch's images, then image, site and table entry of each of its `R` rows.

    Args: the data set's images start at `first` `(N + 1,)` in `table` `(total + 1,)`, whose last entry is a dummy for
    padding; `indices` `(B,)` are the batch's images; `capacity` is R, or None for as many as there are.
    """
    begin = first[indices]
    counts = first[indices + 1] - begin
    start = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    rows = int(start[-1]) if capacity is None else capacity
    row = torch.arange(rows, device=table.device)
    padding = rows - start[-1:]
    # Not for the host to see: too many rows would be written past the end of memory.
    torch._assert_async(
        (padding >= 0).all(), "more rows than a padded batch of distinct images can have"
    )
    # output_size spares the host from reading the counts.
    image = torch.repeat_interleave(torch.cat([counts, padding]), output_size=rows)
    shift = torch.cat([begin - start[:-1], begin.new_zeros(1)])
    entry = torch.where(image < len(indices), row + shift[image], len(table) - 1)
    return start, image, table[entry], entry


def gather_targets(
    links: Tensor, entries: Tensor, image: Tensor, start: Tensor, absent: int
) -> Tensor:
    """`(R, taps)`: absolute rows of what each row's taps reach, `absent` where that is outside.

    Args: `links` `(total + 1, taps)` of the data set, the rows' `entries` in it and `image`, `(R,)` each, and where
    each image of the target `start`s.
    """
    reached = links[entries]
    return torch.where(reached >= 0, reached + start[image][:, None], absent)


def place_rows(image: Tensor, site: Tensor, images: int, area: int) -> Tensor:
    """`(images, area)`: the row that holds a site, the number of rows where none does."""
    rows = len(site)
    table = site.new_full(((images + 1) * area,), rows)
    table[image * area + site] = torch.arange(rows, device=site.device)
    return table[: images * area].view(images, area)


def convolved_rows(
    source_background: Tensor, source_rows: Tensor, weight: Tensor, background: Tensor, links: Links
) -> Tensor:
    """Rows `(R, C)` of a convolution, given its background: background plus what the taps change.

    Zero padding needs no care: a tap outside the map reads zero in the background and in the image alike.
    """
    delta = source_rows - source_background.index_select(0, links.source.site)
    taps = delta @ weight.permute(1, 2, 3, 0).reshape(delta.shape[1], -1)
    targets, channels = links.targets, background.shape[1]
    # The last row takes what falls outside.
    change = background.new_zeros(links.target.rows + 1, channels)
    change = change.index_add(0, targets.view(-1), taps.view(targets.numel(), channels))
    return background.index_select(0, links.target.site) + change[:-1]


def convolved_maximum(
    source_background: Tensor,
    source_rows: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    background: Tensor,
    links: Links,
) -> Tensor:
    """Global maximum `(N, C)` of a convolution, given its background, whose gradient touches the arg-max patches alone.

    The arg-max is found without autograd, and only the patches under it are computed with it.
    """
    with torch.no_grad():
        rows = convolved_rows(source_background, source_rows, weight, background, links)
        target = links.target
        chosen = argmax_rows(
            background[None], rows, target.image, target.inactive[None], target.most
        )[:, 0]
    return _convolved_at(chosen, source_background, source_rows, weight, bias, links)


def argmax_rows(
    background: Tensor, rows: Tensor, group: Tensor, visible: Tensor, hidden: int
) -> Tensor:
    """Where each channel is largest in each of an image's K windows of M sites, `(N, K, C)` int64.

    Row `r` is `r`, background site `m` of window `k` is `R + k M + m`.

    Args: background `(K, M, C)`; rows `(R, C)`, each of a `group` `image * K + window` or of nobody's, `N * K`;
    `visible` `(K, N, M)` bool, where an image shows the background; no window has more than `hidden` other sites.
    """
    (windows, images, sites), channels = visible.shape, rows.shape[1]
    groups, count = images * windows, len(rows)
    index = group[:, None].expand(-1, channels)
    best = rows.new_full((groups + 1, channels), -torch.inf).scatter_reduce(0, index, rows, "amax")
    row = torch.arange(count, device=rows.device)[:, None]
    top = rows == best.index_select(0, group)
    row = torch.where(top | rows.isnan(), row, count)  # NaN wins, as in a dense pool
    chosen = index.new_full((groups + 1, channels), count).scatter_reduce(0, index, row, "amin")
    best, chosen = (table[:-1].view(images, windows, channels) for table in (best, chosen))
    # One more candidate than can be hidden: the best visible site is among them, if there is any.
    values, site = background.transpose(1, 2).topk(min(sites, hidden + 1))  # (K, C, candidates)
    at = site[:, None].expand(-1, images, -1, -1)
    free = visible[:, :, None].expand(-1, -1, channels, -1).gather(3, at)  # (K, N, C, candidates)
    first = free.to(torch.uint8).argmax(-1, keepdim=True)
    shown = values[:, None].expand_as(at).gather(3, first)[..., 0].transpose(0, 1)
    larger = (shown > best) | shown.isnan() | (chosen == count)
    from_background = free.any(-1).transpose(0, 1) & larger
    window = torch.arange(windows, device=rows.device)[:, None]
    of_background = at.gather(3, first)[..., 0].transpose(0, 1) + window * sites + count
    return torch.where(from_background, of_background, chosen)


def _convolved_at(
    chosen: Tensor,
    source_background: Tensor,
    source_rows: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    links: Links,
) -> Tensor:
    """The convolution `(N, C)` at one site per image and channel, as `argmax_rows` gives it."""
    source, target = links.source, links.target
    (height, width), (target_height, target_width) = links.source_size, links.target_size
    site_of_row = F.pad(target.site, (0, target_height * target_width))
    site = torch.where(chosen < target.rows, site_of_row[chosen], chosen - target.rows)
    y = (site // target_width)[..., None] + links.offsets[:, 0]  # (N, C, taps)
    x = (site % target_width)[..., None] + links.offsets[:, 1]
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    read = torch.where(inside, y * width + x, 0)
    row = source.row_of_site.gather(1, read.flatten(1)).view(read.shape)
    index = torch.where(row < source.rows, row, source.rows + read)
    index = torch.where(inside, index, source.rows + height * width)
    nothing = source_background.new_zeros(1, source_background.shape[1])
    table = torch.cat([source_rows, source_background, nothing])
    # (N, C, taps, channels of the source)
    patches = table.index_select(0, index.view(-1)).view(*index.shape, table.shape[1])
    values = torch.einsum("notc,otc->no", patches, weight.flatten(2).transpose(1, 2))
    return values if bias is None else values + bias


def dense(background: Tensor, rows: Tensor, index: ActiveRows) -> Tensor:
    """The maps in full, `(N, C, H * W)`."""
    area = len(background)
    site = torch.arange(area, device=rows.device)
    row = torch.where(index.row_of_site < index.rows, index.row_of_site, site + index.rows)
    table = torch.cat([rows, background])
    return table.index_select(0, row.view(-1)).view(*row.shape, table.shape[1]).transpose(1, 2)


def flat_linear(
    background: Tensor, rows: Tensor, weight: Tensor, bias: Tensor | None, index: ActiveRows
) -> Tensor:
    """`F.linear` `(N, out)` of flattened maps, for a weight `(out, C * H * W)`."""
    return F.linear(dense(background, rows, index).flatten(1), weight, bias)
