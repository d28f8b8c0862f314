"""A pack: cells of one shape that take their steps together, each with its own order, weights and Adam state."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from linefit.packs.graphs import Capture, Step, capture_for, put_back
from linefit.packs.kernels.choice import KernelSet, kernels
from linefit.packs.network import forward
from linefit.packs.recognition import background_of
from linefit.packs.shape import Shape, stack, unstack
from linefit.packs.sites import Batch, Capacity, PackImages

FIRST_CANDIDATES = (
    16  # background sites a channel that a maximum tries; doubled where an epoch shows too few
)
PREDICTION_BATCH = 500  # images at most
PREDICTION_BYTES = 1 << 30  # of the largest table of a batch of predictions, all cells together


@dataclass(frozen=True)
class PackExamples:
    """Images and what a net is to say of each, resident on the pack's device."""

    images: PackImages
    targets: Tensor  # (N, 2) slope and intercept

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Part:
    """An epoch's batches of one size, on the host."""

    order: Tensor  # (steps, T, size) indices
    needs: Capacity  # of the largest of them
    room: Capacity  # to record a step with: later epochs most likely fit too


@dataclass(frozen=True)
class EpochPlan:
    """An epoch's batches, in order: the whole ones, then the remainder if there is one."""

    parts: tuple[Part, ...]


class Pack:
    """`P` cells in training. A step reads and writes tensors that stay where they are, and asks the host nothing.

    Args:
        nets: the cells' nets, all of `shape`; their parameters are copied.
        learning_rates: one a cell.
        training: the examples of every epoch, in the dtype and on the device of the pack.
        batch_size: the last batch of an epoch is the remainder.
        kernel_set: see `linefit.packs.kernels`.
        capture: how a step is recorded; default: a CUDA graph on CUDA, else not at all.
    """

    def __init__(
        self,
        nets: Sequence[nn.Module],
        shape: Shape,
        learning_rates: Sequence[float],
        training: PackExamples,
        batch_size: int,
        kernel_set: KernelSet = "plain",
        capture: Capture | None = None,
    ) -> None:
        targets = training.targets
        self.shape, self.training, self.batch_size = shape, training, batch_size
        self.parameters = [p.to(targets.device, targets.dtype) for p in stack(nets, shape)]
        self.background = background_of(nets, shape, targets.dtype, targets.device)
        self.optimiser = _adam(self.parameters, learning_rates)
        self.candidates = FIRST_CANDIDATES
        # Of the epoch so far: loss summed over images, and whether a maximum lacked candidates.
        self.loss = torch.zeros(len(nets), dtype=torch.float64, device=targets.device)
        self.exhausted = torch.zeros(len(nets), dtype=torch.bool, device=targets.device)
        self._kernels = kernels(kernel_set)
        self._capture = capture or capture_for(targets.device)
        self._feeds: dict[int, _Feed] = {}

    def __len__(self) -> int:
        return len(self.background)

    def state(self) -> list[Tensor]:
        """All tensors that a step changes, but for the place in the order."""
        moments = [t for s in self.optimiser.state.values() for t in s.values()]
        return [*self.parameters, *moments, self.loss, self.exhausted]

    def plan(self, orders: NDArray[np.int64]) -> EpochPlan:
        """An epoch in the orders `(T, N)` of images, `T` 1 or the number of cells.

        It asks the device nothing, and may be made in a thread of its own while an earlier epoch runs.
        """
        whole = orders.shape[1] // self.batch_size * self.batch_size
        images, per_site = self.training.images, self.shape.pooling == "flatten"
        parts = []
        if whole:
            order = orders[:, :whole]
            needs = images.capacity(order, self.batch_size, per_site=per_site)
            parts.append(Part(_by_steps(order, self.batch_size), needs, needs.with_room()))
        if rest := orders.shape[1] - whole:
            order = orders[:, whole:]
            needs = images.capacity(order, rest, per_site=per_site)
            parts.append(Part(_by_steps(order, rest), needs, images.room_for_one(needs, rest)))
        return EpochPlan(tuple(parts))

    def epoch(self, plan: EpochPlan) -> None:
        """Take an epoch's steps.

        Once its steps are recorded, nothing waits for the device; `loss` and `exhausted` say on it what came of them.
        """
        self.loss.zero_()
        self.exhausted.zero_()
        feeds = [self._feed(part) for part in plan.parts]
        # All copies before any step: the host would wait for the steps before it.
        for feed, part in zip(feeds, plan.parts, strict=True):
            feed.fill(part.order)
        for feed, part in zip(feeds, plan.parts, strict=True):
            if feed.replay is None:
                feed.replay = self._record(feed)
            for _ in range(len(part.order)):
                feed.replay()

    def _feed(self, part: Part) -> _Feed:
        """The feed of batches of that size, with room for what they need."""
        size = part.order.shape[2]
        if size not in self._feeds or not self._feeds[size].holds(part):
            self._feeds[size] = _Feed(part, self.training.targets.device)
            self._forget_recordings()
        return self._feeds[size]

    def _record(self, feed: _Feed) -> Step:
        return self._capture(lambda: self._step(feed), [*self.state(), feed.counter])

    def _forget_recordings(self) -> None:
        """All of them, as they share memory, which is then free for those to come."""
        for feed in self._feeds.values():
            feed.replay = None

    def _step(self, feed: _Feed) -> None:
        """One step on the feed's next batch."""
        indices = feed.next()
        batch = self._batch(self.training.images, indices, feed.capacity)
        found = forward(self.shape, self.parameters, self.background, batch, self.candidates)
        error = found.values - self.training.targets[indices]
        gradients = found.gradients(error * (2 / error[0].numel()))
        self.loss += error.square().mean((1, 2)).double() * feed.size
        self.exhausted |= found.exhausted
        _set_gradients(self.optimiser, self.parameters, gradients)
        self.optimiser.step()

    def _batch(self, images: PackImages, indices: Tensor, capacity: Capacity) -> Batch:
        return Batch(images, indices, len(self), capacity, self._kernels)

    def more_candidates(self) -> None:
        """From now on twice as many of them; recorded steps are recorded anew."""
        self.candidates *= 2
        self._forget_recordings()

    def predict(self, images: PackImages) -> tuple[Tensor, Tensor]:
        """Predictions `(P, N, 2)` for all images, and the cells whose maxima need more candidates `(P,)`."""
        bytes_of_image = (
            sum(
                images.counts(layer).max() * kernel.size[0] * kernel.size[1] * out
                for layer, (kernel, out) in enumerate(
                    zip(self.shape.convolutions, self.shape.channels[1:], strict=True)
                )
            )
            * self.background.element_size()
        )
        affordable = int(PREDICTION_BYTES // (len(self) * bytes_of_image))
        size = min(max(affordable, 1), PREDICTION_BATCH, len(images))
        order = np.arange(len(images))[None]
        capacity = images.capacity(order, size, per_site=self.shape.pooling == "flatten")
        exhausted = torch.zeros_like(self.exhausted)
        values = []
        for indices in torch.split(torch.from_numpy(order).to(images.device), size, 1):
            batch = self._batch(images, indices, capacity)
            found = forward(self.shape, self.parameters, self.background, batch, self.candidates)
            values.append(found.values)
            exhausted |= found.exhausted
        return torch.cat(values, 1), exhausted

    def write_to(self, nets: Sequence[nn.Module]) -> None:
        """Copy the cells' parameters into nets of the same shape."""
        unstack(self.parameters, self.shape, nets)

    def snapshot(self) -> list[Tensor]:
        return [tensor.clone() for tensor in self.state()]

    def restore(self, snapshot: Sequence[Tensor]) -> None:
        put_back(self.state(), snapshot)


def _by_steps(orders: NDArray[np.int64], size: int) -> Tensor:
    """Orders `(T, N)` as batches `(steps, T, size)`."""
    return torch.from_numpy(orders).view(len(orders), -1, size).transpose(0, 1).contiguous()


class _Feed:
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
        """From the host, which does not wait for the device: what it copies is pinned, and lives as long as need be."""
        on_cuda = self.order.device.type == "cuda"
        source = order.pin_memory() if on_cuda else order
        self.order[: len(order)].copy_(source, non_blocking=True)
        self.counter.zero_()

    def next(self) -> Tensor:
        """Indices `(T, B)`."""
        indices = self.order.index_select(0, self.counter % len(self.order))[0]
        self.counter.add_(1)
        return indices


def _adam(parameters: Sequence[Tensor], learning_rates: Sequence[float]) -> torch.optim.Adam:
    """Torch's fused Adam on slices of the stacked parameters, one group for each run of equal learning rates.

    It reads and writes every number once, which no kernel of ours could undercut. Its state exists from now on:
    a step with zero gradients changes nothing but the count, which is put back.
    """
    groups, first = [], 0
    for rate, run in itertools.groupby(learning_rates):
        last = first + len(list(run))
        groups.append({"params": [p[first:last] for p in parameters], "lr": rate})
        first = last
    on_cuda = parameters[0].device.type == "cuda"
    optimiser = torch.optim.Adam(groups, fused=True, capturable=on_cuda)
    _set_gradients(optimiser, parameters, [torch.zeros_like(p) for p in parameters])
    optimiser.step()
    for state in optimiser.state.values():
        state["step"].zero_()
    return optimiser


def _set_gradients(
    optimiser: torch.optim.Adam, parameters: Sequence[Tensor], gradients: Sequence[Tensor]
) -> None:
    first = 0
    for group in optimiser.param_groups:
        for parameter, gradient in zip(group["params"], gradients, strict=True):
            parameter.grad = gradient[first : first + len(parameter)]
        first += len(group["params"][0])
    assert first == len(parameters[0])
