"""Train a pack by the lab's protocol: `linefit.training.train` for many cells at once.

The host reads the losses once an epoch; while the device takes its steps, a thread prepares the next epoch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from linefit.ahead import ahead
from linefit.packs.pack import EpochPlan, Pack, PackExamples
from linefit.packs.sites import PackImages
from linefit.protocol import Protocol
from linefit.training import Training

PACKED = {"train_size", "epochs", "batch_size", "learning_rate", "engine", "tf32"}


def unpackable_setting(protocol: Protocol) -> str | None:
    """The first setting with which a cell cannot train in a pack, None if there is none."""
    for field in dataclasses.fields(protocol):
        if field.name not in PACKED and getattr(protocol, field.name) != field.default:
            return f"{field.name} = {getattr(protocol, field.name)!r}"
    return None if protocol.engine == "auto" else f"engine = {protocol.engine!r}"


def train_pack(
    pack: Pack,
    validation: PackExamples,
    epochs: int,
    shuffles: Sequence[torch.Generator],
    on_epoch: Callable[[int], object] | None = None,
) -> list[Training]:
    """Train all cells of a pack in place; what comes of a cell does not depend on the others.

    `shuffles` are CPU generators that alone decide the orders of images: one a cell, or a single one for all, whose
    tables are then shared. `on_epoch` is called with the number of epochs done. A cell whose loss is not finite has
    diverged: its curves end with that epoch, and the others go on. `seconds` is a cell's share of the pack's time.
    """
    start = time.perf_counter()
    curves: list[NDArray[np.float64]] = []
    size = len(pack.training)
    plans = ahead(lambda _: pack.plan(_orders(shuffles, size)), epochs)
    with contextlib.closing(plans):
        for epoch, plan in enumerate(plans, 1):
            curves.append(_train_epoch(pack, plan, validation))
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


def _train_epoch(pack: Pack, plan: EpochPlan, validation: PackExamples) -> NDArray[np.float64]:
    """Take an epoch, as often as maxima lack candidates; each cell's train loss and val MSE `(2, P)`."""
    before = pack.snapshot() if pack.shape.pooling == "max" else []
    pack.epoch(plan)
    val_mse, unsure = mse(pack, validation)
    while bool((pack.exhausted | unsure).any()):  # here the host waits
        pack.restore(before)
        pack.more_candidates()
        pack.epoch(plan)
        val_mse, unsure = mse(pack, validation)
    return torch.stack([pack.loss / len(pack.training), val_mse]).cpu().numpy()


def _orders(shuffles: Sequence[torch.Generator], size: int) -> NDArray[np.int64]:
    return np.stack([torch.randperm(size, generator=each).numpy() for each in shuffles])


def mse(pack: Pack, examples: PackExamples) -> tuple[Tensor, Tensor]:
    """Each cell's mean squared error over images and outputs `(P,)` in float64, and who needs more candidates."""
    predictions, exhausted = pack.predict(examples.images)
    error = predictions.double() - examples.targets.double()
    return error.square().mean((1, 2)), exhausted


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
