"""Train a pack by the lab's protocol: `linefit.training.train` for many cells at once.

The host reads the losses once an epoch; while the device takes its steps, a thread prepares the next epoch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Protocol as Interface
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from linefit.ahead import ahead
from linefit.packs.feeds import EpochPlan, HostExamples
from linefit.packs.images import PackImages
from linefit.packs.pack import Pack
from linefit.protocol import Protocol
from linefit.training import Training

# Settings of a protocol that a pack of delta maps knows, and one of modules; others have to be at their defaults.
PACKED = {
    "train_size",
    "epochs",
    "batch_size",
    "learning_rate",
    "engine",
    "tf32",
    "training_set",
    "target",
    "schedule",
    "warmup",
}
RECORDED = PACKED | {"loss", "optimiser", "weight_decay"}


def unpackable_setting(protocol: Protocol) -> str | None:
    """The first setting with which a cell cannot train in a pack of delta maps, None if there is none."""
    if protocol.engine != "auto":
        return f"engine = {protocol.engine!r}"
    return _unknown_setting(protocol, PACKED)


def unrecordable_setting(protocol: Protocol) -> str | None:
    """The same for a pack of modules."""
    return _unknown_setting(protocol, RECORDED)


def _unknown_setting(protocol: Protocol, known: set[str]) -> str | None:
    for field in dataclasses.fields(protocol):
        if field.name not in known and getattr(protocol, field.name) != field.default:
            return f"{field.name} = {getattr(protocol, field.name)!r}"
    return None


Validation = TypeVar("Validation", contravariant=True)


class Trainable(Interface[Validation]):
    """A pack of whatever kind."""

    batch_size: int

    def __len__(self) -> int: ...

    def plan(self, orders: NDArray[np.int64], fresh: HostExamples | None = None) -> EpochPlan:
        """An epoch in orders of images, perhaps of others than before; made in a thread of its own."""
        ...

    def train_epoch(self, plan: EpochPlan, validation: Validation) -> Tensor:
        """Take an epoch's steps; each cell's train loss and val MSE `(2, P)` in float64, on the device."""
        ...


def train_pack(
    pack: Trainable[Validation],
    validation: Validation,
    size: int,
    epochs: int,
    shuffles: Sequence[torch.Generator],
    on_epoch: Callable[[int], object] | None = None,
    *,
    own_images: bool = False,
    fresh: Callable[[int], HostExamples] | None = None,
) -> list[Training]:
    """Train all cells of a pack in place on `size` images an epoch; what comes of a cell does not depend on the others.

    `shuffles` are CPU generators that alone decide the orders of images: one a cell, one for all, or one for each of
    the pack's `order_of`; cells of one order share its tables. With `own_images` the training set has `size` images
    for each order, one after another. `fresh` gives the training set of each epoch, counted from 1, where it changes.
    `on_epoch` is called with the number of epochs done. A cell whose loss is not finite has diverged: its curves end
    with that epoch, and the others go on. `seconds` is a cell's share of the pack's time.
    """
    start = time.perf_counter()
    curves: list[NDArray[np.float64]] = []

    def plan(epoch: int) -> EpochPlan:
        orders = [torch.randperm(size, generator=each).numpy() for each in shuffles]
        if own_images:
            orders = [order + size * i for i, order in enumerate(orders)]
        return pack.plan(np.stack(orders), fresh(epoch) if fresh else None)

    plans = ahead(plan, epochs)
    with contextlib.closing(plans):
        for epoch, each in enumerate(plans, 1):
            curves.append(pack.train_epoch(each, validation).cpu().numpy())  # here the host waits
            if on_epoch is not None:
                on_epoch(epoch)
            if not np.isfinite(np.stack(curves)).all((0, 1)).any():
                break
    seconds = (time.perf_counter() - start) / len(pack)
    steps_per_epoch = -(-size // pack.batch_size)
    return [
        _training(np.stack(curves)[..., cell], steps_per_epoch, seconds)
        for cell in range(len(pack))
    ]


def predict(pack: Pack, images: PackImages) -> Tensor:
    """Predictions `(P, N, 2)` of slope and intercept, with as many candidates as it takes."""
    while True:
        predictions, exhausted = pack.predict(images)
        if not bool(exhausted.any()):
            return predictions
        pack.more_candidates()


def _training(curves: NDArray[np.float64], steps_per_epoch: int, seconds: float) -> Training:
    """A cell's part, from its curves `(epochs, 2)`."""
    failures = np.flatnonzero(~np.isfinite(curves).all(1))
    done = int(failures[0]) + 1 if len(failures) else len(curves)
    return Training(
        "diverged" if len(failures) else "ok",
        curves[:done, 0],
        curves[:done, 1],
        done * steps_per_epoch,
        seconds,
    )
