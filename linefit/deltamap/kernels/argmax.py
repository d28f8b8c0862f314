"""Where maxima of given rows and background are, compiled for the CPU."""

from __future__ import annotations

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from linefit.deltamap.kernels.links import FloatArray, IntArray

CANDIDATES = 16  # best background sites per channel that are tried before all are searched


def argmax_rows(
    background: Tensor,
    rows: Tensor,
    group: Tensor,
    visible: Tensor,
    hidden: int,  # noqa: ARG001  (all sites are searched where the candidates are hidden)
) -> Tensor:
    windows, images, sites = visible.shape
    values, candidates = background.transpose(1, 2).topk(min(CANDIDATES, sites))
    chosen = torch.full((images, windows, rows.shape[1]), -1)
    _argmax(
        rows.numpy(),
        group.numpy(),
        visible.numpy(),
        background.numpy(),
        values.numpy(),
        candidates.numpy(),
        chosen.numpy(),
    )
    return chosen


@njit(cache=True, nogil=True)
def _argmax(
    rows: FloatArray,  # (R, C)
    group: IntArray,
    visible: NDArray[np.bool_],  # (K, N, M)
    background: FloatArray,  # (K, M, C)
    values: FloatArray,  # (K, C, candidates)
    candidates: IntArray,
    chosen: IntArray,  # (N, K, C), written; -1 before
) -> None:
    images, windows, channels = chosen.shape
    sites = background.shape[1]
    best = np.full((images, windows, channels), -np.inf, rows.dtype)
    for row in range(len(rows)):
        image, window = group[row] // windows, group[row] % windows
        if image == images:
            continue
        for c in range(channels):
            value = rows[row, c]
            first = chosen[image, window, c] < 0
            # NaN wins, as in a dense pool.
            if first or value > best[image, window, c] or value != value:
                best[image, window, c] = value
                chosen[image, window, c] = row
    for image in range(images):
        for window in range(windows):
            for c in range(channels):
                top = best[image, window, c]
                found = chosen[image, window, c] >= 0
                shown = -1
                exhausted = values.shape[2] < sites
                for k in range(values.shape[2]):
                    if found and (values[window, c, k] <= top or top != top):
                        exhausted = False
                        break
                    if visible[window, image, candidates[window, c, k]]:
                        shown = candidates[window, c, k]
                        exhausted = False
                        break
                if exhausted:
                    for site in range(sites):
                        value = background[window, site, c]
                        if visible[window, image, site] and (
                            not found or value > top or value != value
                        ):
                            found, shown, top = True, site, value
                if shown >= 0:
                    chosen[image, window, c] = len(rows) + window * sites + shown
