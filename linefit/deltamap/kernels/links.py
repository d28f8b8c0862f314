"""What the kernels read of a batch: index tensors, and nothing of how they came about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.int64]


class ActiveRows(Protocol):
    """The `R` active sites of `N` images: row `r` is site `site[r]` of image `image[r]`, image after image.

    Rows of padding, if any, come last and belong to image `N`, which is nobody's.
    """

    @property
    def start(self) -> Tensor:
        """`(N + 1,)` int64: the rows of image `i` are `start[i]:start[i + 1]`."""

    @property
    def image(self) -> Tensor:
        """`(R,)` int64."""

    @property
    def site(self) -> Tensor:
        """`(R,)` int64: row * width + column."""

    @property
    def rows(self) -> int:
        """`R`."""

    @property
    def most(self) -> int:
        """No image has more active sites."""

    @property
    def row_of_site(self) -> Tensor:
        """`(N, H * W)` int64: the row that holds a site, `R` where the site is not active."""

    @property
    def inactive(self) -> Tensor:
        """`(N, H * W)` bool: the sites that show the background."""


@dataclass(frozen=True, eq=False)
class Links:
    """How a convolution ties the active sites that it reads to those that it changes."""

    source: ActiveRows
    target: ActiveRows
    targets: Tensor  # (R of source, taps) int64: the rows of target that each tap reaches; `target.rows` for none
    offsets: Tensor  # (taps, 2) int64: where each tap reads, relative to the output site
    source_size: tuple[int, int]  # height and width
    target_size: tuple[int, int]
