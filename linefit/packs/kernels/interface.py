"""What a set of kernels has, and what it is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Maps:
    """Output maps of a convolution whose global maxima are sought: background plus what the taps add at rows.

    `T` is 1 or `P`, as in `linefit.packs.sites.Batch`.
    """

    background: Tensor  # (P, A, C)
    products: Tensor  # (m + 1, C), the last row zero
    taps: Tensor  # (P, R, taps): the products that each row adds to its site's background
    site: Tensor  # (T, R)
    start: Tensor  # (T, B + 1): rows of image b are start[b]:start[b + 1]
    position: Tensor  # (images + 1, A + 1) of the data set: negative where a site is not active
    image: Tensor  # (T, B): whose rows of `position` are meant


@dataclass(frozen=True)
class Maxima:
    """The largest value of each image and channel, where it is, and which cells had too few candidates."""

    value: Tensor  # (P, B, C)
    site: Tensor  # (P, B, C)
    exhausted: Tensor  # (P,) bool


class Kernels(Protocol):
    """What a set of kernels has."""

    def bag_sums(self, table: Tensor, index: Tensor, weights: Tensor | None = None) -> Tensor:
        """Sums `(bags, C)` of the rows `index` `(bags, K)` of a table `(n + 1, C)`, whose last row is zero."""
        ...

    def ragged_bag_sums(
        self, table: Tensor, index: Tensor, bounds: Tensor, weights: Tensor | None = None
    ) -> Tensor:
        """Sums `(bags, C)` of rows of a table `(n, C)`: bag `i` is `index[bounds[i]:bounds[i + 1]]`.

        `bounds` `(bags + 1,)` go from 0 to the length of `index`, whatever the device.
        """
        ...

    def maxima(self, maps: Maps, candidates: int, *, enough: bool) -> Maxima:
        """Global maxima. Rows win ties against the background, the first row among rows; a NaN wins against all.

        Of the background, the best `candidates` sites of each channel are asked; they are `enough` where they must
        hold one that is not active.
        """
        ...
