"""What every pack's epoch is made of: batches that are known beforehand, and steps that are recorded once for all.

Who takes the steps is `pack.py` and `modules.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from linefit.packs.graphs import Capture, Step
from linefit.packs.images import Capacity, HostSites, copy_from_host

NO_ROWS = Capacity((), 0)  # of dense batches


@dataclass(frozen=True)
class HostExamples:
    """Images and their targets on the host, as they are drawn."""

    pixels: NDArray[np.bool_]  # (N, H, W)
    targets: NDArray[np.floating]  # (N, outputs)


@dataclass(frozen=True)
class Part:
    """An epoch's batches of one size, on the host."""

    order: Tensor  # (steps, T, size) indices
    needs: Capacity  # of the largest of them
    room: Capacity  # to record a step with: later epochs most likely fit too


@dataclass(frozen=True)
class EpochPlan:
    """An epoch's batches, in order: the whole ones, then the remainder if there is one; and its images, if new."""

    parts: tuple[Part, ...]
    fresh: HostExamples | None = None
    sites: HostSites | None = None  # of the fresh images

    @property
    def images(self) -> int:
        """Images that a cell is trained on."""
        return sum(part.order.shape[0] * part.order.shape[2] for part in self.parts)


def pieces(orders: NDArray[np.int64], batch_size: int) -> list[tuple[NDArray[np.int64], int]]:
    """Orders `(T, N)` as those of the whole batches and that of the remainder, each with the size of its batches."""
    whole = orders.shape[1] // batch_size * batch_size
    rest = orders.shape[1] - whole
    return [
        (order, size)
        for order, size in ((orders[:, :whole], batch_size), (orders[:, whole:], rest))
        if order.shape[1]
    ]


def by_steps(orders: NDArray[np.int64], size: int) -> Tensor:
    """Orders `(T, N)` as batches `(steps, T, size)`."""
    return torch.from_numpy(orders).view(len(orders), -1, size).transpose(0, 1).contiguous()


class Feed:
    """Batches of one size: the order of an epoch on the device and the place in it, which a step itself moves on."""

    def __init__(self, part: Part, device: torch.device) -> None:
        self.size = part.order.shape[2]
        self.order = torch.zeros_like(part.order, device=device)
        self.counter = torch.zeros(1, dtype=torch.int64, device=device)
        self.capacity = part.room
        self.replay: Step | None = None

    def holds(self, part: Part) -> bool:
        return self.capacity.holds(part.needs) and len(self.order) >= len(part.order)

    def fill(self, order: Tensor) -> None:
        copy_from_host(self.order[: len(order)], order)
        self.counter.zero_()

    def next(self) -> Tensor:
        """Indices `(T, B)`."""
        indices = self.order.index_select(0, self.counter % len(self.order))[0]
        self.counter.add_(1)
        return indices


class Recordings:
    """Steps on batches of each size, recorded when they are first taken and as often as something moves."""

    def __init__(self, capture: Capture, device: torch.device) -> None:
        self._capture, self._device = capture, device
        self._feeds: dict[int, Feed] = {}

    def run(
        self, parts: Sequence[Part], step: Callable[[Feed], None], state: Sequence[Tensor]
    ) -> None:
        """Take the steps of an epoch. Once they are recorded, nothing waits for the device.

        `step` takes a feed's next batch; `state` is all that it changes, but for the place in the order. Neither is
        kept: a pack's memory is free as soon as the pack is gone, and not when Python next looks for cycles.
        """
        feeds = [self._feed(part) for part in parts]
        # All copies before any step: the host would wait for the steps before it.
        for feed, part in zip(feeds, parts, strict=True):
            feed.fill(part.order)
        for feed, part in zip(feeds, parts, strict=True):
            if feed.replay is None:
                feed.replay = self._capture(partial(step, feed), [*state, feed.counter])
            for _ in range(len(part.order)):
                feed.replay()

    def forget(self) -> None:
        """All recordings, as they share memory, which is then free for those to come."""
        for feed in self._feeds.values():
            feed.replay = None

    def _feed(self, part: Part) -> Feed:
        """The feed of batches of that size, with room for what they need."""
        size = part.order.shape[2]
        if size not in self._feeds or not self._feeds[size].holds(part):
            self._feeds[size] = Feed(part, self._device)
            self.forget()
        return self._feeds[size]
