"""Gathering a batch's index tables on the CPU, compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

IntArray = NDArray[np.signedinteger[Any]]


def gather_sites(
    first: Tensor,
    table: Tensor,
    indices: Tensor,
    capacity: int | None,  # noqa: ARG001  (compiled tables are exact)
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    start, image, site, entry = _gather_sites(first.numpy(), table.numpy(), indices.numpy())
    return (
        torch.from_numpy(start),
        torch.from_numpy(image),
        torch.from_numpy(site),
        torch.from_numpy(entry),
    )


def gather_targets(
    links: Tensor, entries: Tensor, image: Tensor, start: Tensor, absent: int
) -> Tensor:
    arrays = (links.numpy(), entries.numpy(), image.numpy(), start.numpy())
    return torch.from_numpy(_gather_targets(*arrays, absent))


def place_rows(image: Tensor, site: Tensor, images: int, area: int) -> Tensor:
    return torch.from_numpy(_place_rows(image.numpy(), site.numpy(), images, area))


@njit(cache=True, nogil=True)
def _gather_sites(
    first: IntArray, table: IntArray, indices: IntArray
) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """`start` `(B + 1,)` of the batch's images, then image, site and table entry of each of its `R` rows."""
    start = np.zeros(len(indices) + 1, np.int64)
    for image in range(len(indices)):
        index = indices[image]
        start[image + 1] = start[image] + first[index + 1] - first[index]
    rows = start[-1]
    images = np.empty(rows, np.int64)
    sites = np.empty(rows, np.int64)
    entries = np.empty(rows, np.int64)
    for image in range(len(indices)):
        shift = first[indices[image]] - start[image]
        for row in range(start[image], start[image + 1]):
            images[row] = image
            entries[row] = row + shift
            sites[row] = table[row + shift]
    return start, images, sites, entries


@njit(cache=True, nogil=True)
def _gather_targets(
    links: IntArray, entries: IntArray, image: IntArray, start: IntArray, absent: int
) -> IntArray:
    """`(R, taps)`: absolute rows of what each row's taps reach, `absent` where that is outside."""
    taps = links.shape[1]
    targets = np.empty((len(entries), taps), np.int64)
    for row in range(len(entries)):
        entry, begin = entries[row], start[image[row]]
        for tap in range(taps):
            link = links[entry, tap]
            targets[row, tap] = link + begin if link >= 0 else absent
    return targets


@njit(cache=True, nogil=True)
def _place_rows(image: IntArray, site: IntArray, images: int, area: int) -> IntArray:
    """`(images, area)`: the row that holds a site, the number of rows where none does."""
    table = np.full((images, area), len(site), np.int64)
    for row in range(len(site)):
        table[image[row], site[row]] = row
    return table
