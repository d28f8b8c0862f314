"""Windows of a map that are pooled apart: all sites, rows, columns, or the cells of a grid. They may overlap."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from linefit.deltamap.footprints import Size
from linefit.deltamap.sites import Sites

Ranges = tuple[tuple[int, int], ...]
"""Begin and end of each."""


@dataclass(frozen=True)
class Windows:
    """All pairs of a range of rows and a range of columns, in the order of the output's sites."""

    rows: Ranges
    columns: Ranges

    @property
    def shape(self) -> Size:
        return len(self.rows), len(self.columns)

    @cached_property
    def areas(self) -> NDArray[np.int64]:
        """Sites of each window, `(K,)`."""
        heights, widths = (np.diff(ranges)[:, 0] for ranges in (self.rows, self.columns))
        return np.outer(heights, widths).reshape(-1)


def whole(size: Size) -> Windows:
    return Windows(((0, size[0]),), ((0, size[1]),))


@lru_cache
def adaptive(size: Size, output: Size) -> Windows:
    """As torch's adaptive pools have them: `floor(i H / k)` to `ceil((i + 1) H / k)`."""
    rows, columns = (
        tuple((i * side // cells, -(-(i + 1) * side // cells)) for i in range(cells))
        for side, cells in zip(size, output, strict=True)
    )
    return Windows(rows, columns)


@lru_cache
def sliding(size: Size, kernel: Size, stride: Size, padding: Size) -> Windows:
    """As torch's local pools have them; what reaches over the border is cut off."""
    rows, columns = (
        tuple(
            (max(begin, 0), min(begin + length, side))
            for begin in range(-margin, side + margin - length + 1, step)
        )
        for side, length, step, margin in zip(size, kernel, stride, padding, strict=True)
    )
    return Windows(rows, columns)


def kept(size: Size, axes: tuple[int, ...]) -> Windows:
    """What is left when some of the axes (2: rows, 3: columns) are pooled."""
    rows, columns = (
        ((0, side),) if axis in axes else tuple((i, i + 1) for i in range(side))
        for axis, side in zip((2, 3), size, strict=True)
    )
    return Windows(rows, columns)


@dataclass(frozen=True, eq=False)
class Regions:
    """Windows of a batch: `K` of each image, each of at most `M` sites."""

    shape: Size  # of the windows, K = height * width
    site: Tensor  # (K, M) int64: the sites of each window, some site where it has fewer
    visible: Tensor  # (K, N, M) bool: which of them show the background
    row: (
        Tensor | None
    )  # (R',) int64: rows, repeated where windows overlap; None for all rows in order
    group: Tensor  # (R',) int64: image * K + window of each, N * K for nobody's
    hidden: int  # of no window's M sites more are not visible

    @property
    def images(self) -> int:
        return self.visible.shape[1]

    @property
    def windows(self) -> int:
        return len(self.site)

    def of_background(self, background: Tensor) -> Tensor:
        """`(K, M, C)` from a background `(H * W, C)`."""
        if self.windows == 1:
            return background[None]
        return background.index_select(0, self.site.view(-1)).view(*self.site.shape, -1)

    def of_rows(self, rows: Tensor) -> Tensor:
        """`(R', C)` from rows `(R, C)`."""
        return rows if self.row is None else rows.index_select(0, self.row)


def regions(sites: Sites, windows: Windows) -> Regions:
    if windows == whole(sites.size):
        everywhere = torch.arange(sites.size[0] * sites.size[1], device=sites.site.device)
        return Regions(
            (1, 1), everywhere[None], sites.inactive[None], None, sites.image, sites.most
        )
    tables = _tables(windows, sites.size)
    site, present, windows_of_site = map(sites.batch.tables.resident, tables)
    visible = sites.inactive[:, site] & present  # (N, K, M)
    images, count = len(sites.batch), len(site)
    window = windows_of_site[sites.site]  # (R, most windows that share a site)
    group = sites.image[:, None] * count + window
    nobody = (window < 0) | (sites.image == images)[:, None]
    group = torch.where(nobody, images * count, group).view(-1)
    row = None
    if window.shape[1] != 1:
        row = torch.arange(sites.rows, device=site.device)
        row = row[:, None].expand(-1, window.shape[1]).reshape(-1)
    longest, shortest = int(windows.areas.max()), int(windows.areas.min())
    hidden = sites.most + longest - shortest
    return Regions(windows.shape, site, visible.transpose(0, 1), row, group, hidden)


@lru_cache
def _tables(
    windows: Windows, size: Size
) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """Sites of each window `(K, M)`, which of these entries are any, and the windows of each site `(H * W, most)`."""
    height, width = size
    lists = [
        (np.arange(top, bottom)[:, None] * width + np.arange(left, right)).reshape(-1)
        for top, bottom in windows.rows
        for left, right in windows.columns
    ]
    longest = max(map(len, lists))
    site = np.stack([np.pad(sites, (0, longest - len(sites))) for sites in lists])
    present = np.arange(longest) < np.array([len(sites) for sites in lists])[:, None]
    members: list[list[int]] = [[] for _ in range(height * width)]
    for window, sites in enumerate(lists):
        for s in sites:
            members[s].append(window)
    most = max(map(len, members))
    table = np.array([own + [-1] * (most - len(own)) for own in members], np.int64)
    return site, present, table.reshape(height * width, most)
