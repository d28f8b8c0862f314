"""Sums of table rows, the one sparse operation of a pack: each sum has a fixed order, so that bits repeat.

A *bag* is a list of rows of a table that are added up, each with a weight or 1. Convolutions add products of taps,
poolings add an image's rows, backward adds gradients by site and by patch; nothing needs `index_add` and its atomics.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def with_zero_row(cells: int, length: int, channels: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """An empty table `(cells * length + 1, channels)` whose last row is zero, and the rest of it by cells."""
    table = like.new_empty(cells * length + 1, channels)
    table[-1].zero_()
    return table, table[:-1].view(cells, length, channels)


def copy_with_zero_row(values: Tensor) -> tuple[Tensor, Tensor]:
    """The same, filled with values `(cells, length, channels)`."""
    cells, length, channels = values.shape
    table, view = with_zero_row(cells, length, channels, values)
    view.copy_(values)
    return table, view


def bag_sums(table: Tensor, index: Tensor, weights: Tensor | None = None) -> Tensor:
    """Sums `(bags, C)` of the rows `index` `(bags, K)` of a table `(n + 1, C)`, whose last row is zero."""
    return F.embedding_bag(
        index, table, mode="sum", per_sample_weights=weights, padding_idx=len(table) - 1
    )


def ragged_bag_sums(
    table: Tensor, index: Tensor, bounds: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Sums `(bags, C)` of rows of a table `(n, C)`: bag `i` is `index[bounds[i]:bounds[i + 1]]`."""
    return F.embedding_bag(
        index, table, bounds, mode="sum", per_sample_weights=weights, include_last_offset=True
    )


def take(values: Tensor, index: Tensor) -> Tensor:
    """Rows `(P, ..., C)` of values `(P, n, C)` by indices `(P, ...)` into all cells' values."""
    flat = values.reshape(-1, values.shape[-1])
    return flat.index_select(0, index.reshape(-1)).view(*index.shape, values.shape[-1])


def segment_extremes(rows: Tensor, bounds: Tensor) -> tuple[Tensor, Tensor]:
    """Largest value of each run of rows, `(segments, C)`, -inf where there is none, and the first row that has it.

    `rows` `(n, C)`, runs `bounds[i]:bounds[i + 1]`; a NaN is the largest. The place counts from the run's begin and
    means nothing where the run is empty.
    """
    largest = torch.segment_reduce(
        rows, "max", offsets=bounds, axis=0, unsafe=True, initial=-torch.inf
    )
    segment = torch.searchsorted(
        bounds[1:], torch.arange(len(rows), device=rows.device), right=True
    )
    top = (rows == largest[segment]) | rows.isnan()
    place = (torch.arange(len(rows), device=rows.device) - bounds[segment]).to(rows.dtype)
    first = torch.segment_reduce(
        torch.where(top, place[:, None], torch.inf),
        "min",
        offsets=bounds,
        axis=0,
        unsafe=True,
        initial=torch.inf,
    )
    return largest, torch.where(first.isinf(), 0, first).long()
