"""Tables that kernels read: values of all cells behind each other, with a last row of zeros for what is absent."""

from __future__ import annotations

from torch import Tensor


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


def take(values: Tensor, index: Tensor) -> Tensor:
    """Rows `(P, ..., C)` of values `(P, n, C)` by indices `(P, ...)` into all cells' values."""
    flat = values.reshape(-1, values.shape[-1])
    return flat.index_select(0, index.reshape(-1)).view(*index.shape, values.shape[-1])
