"""Train a net by the lab's protocol and predict with it: one loop for dense tensors and for delta maps.

What a batch is (a dense tensor or a `DeltaMap`) is decided once, in `engine_for`; which cells are trained, and
what becomes of the results, is the harness's business.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from typing import Protocol as Interface

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from linefit.deltamap import DeltaImages, DeltaMap, FusedAdam, UnsupportedOperation
from linefit.protocol import Engine, Protocol

PREDICTION_BATCH = 500  # images; predictions need no graph, so the batch is bounded by memory alone


class ImageSource(Interface):
    """A data set that hands a net its batches."""

    def batch(self, indices: Tensor) -> Tensor | DeltaMap: ...


class DenseImages:
    """Images on the device as one float tensor `(N, 1, dim, dim)`."""

    def __init__(
        self, pixels: npt.NDArray[np.bool_], dtype: torch.dtype, device: torch.device
    ) -> None:
        self.images = torch.from_numpy(pixels).to(device=device, dtype=dtype).unsqueeze(1)

    def batch(self, indices: Tensor) -> Tensor:
        return self.images[indices].contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Training:
    """What one training run left behind. Losses are means over images, in the units of the lab's loss."""

    status: Literal["ok", "diverged"]
    train_loss: npt.NDArray[
        np.float64
    ]  # (epochs done,) mean loss over the epoch's batches, as they were seen
    val_mse: npt.NDArray[np.float64]  # (epochs done,)
    steps: int
    seconds: float  # training and the evaluation on val; neither data generation nor compilation


def cell_seeds(seed: int) -> tuple[int, int]:
    """Seeds of initialisation and of shuffling, independent of each other and of other cells' seeds."""
    initial, shuffle = np.random.SeedSequence(seed).generate_state(2, np.uint64)
    return int(initial), int(shuffle)


def resolve_device(device: str) -> torch.device:
    """`auto` is CUDA where there is one. Raises ValueError for a device that this machine lacks."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch("cpu|cuda(:(0|[1-9][0-9]?))?", device):
        raise ValueError(f"device {device!r} is not one of auto, cpu, cuda, cuda:N")
    resolved = torch.device(device)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if resolved.type == "cuda" and (resolved.index or 0) >= count:
        found = f"{count} CUDA devices" if count else "no CUDA device"
        raise ValueError(f"device {device!r}: torch {torch.__version__} finds {found} here")
    return resolved


def engine_for(
    net: nn.Module,
    pixels: npt.NDArray[np.bool_],
    engine: Engine,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Literal["delta", "dense"], str]:
    """The engine that trains this net, and the reason if it is the dense one although delta maps were asked for.

    Delta maps train whatever has an exact delta form; a trial pass tells. It takes two images (one twice): with
    one alone, a tensor that differs from image to image could not be told from a constant.
    """
    if engine == "dense":
        return "dense", ""
    try:
        with torch.no_grad():
            net(DeltaMap.from_pixels(pixels[:1].repeat(2, axis=0), dtype=dtype, device=device))
    except UnsupportedOperation as reason:
        return "dense", f"trains densely: {reason}"
    return "delta", ""


def image_source(
    pixels: npt.NDArray[np.bool_],
    engine: Literal["delta", "dense"],
    dtype: torch.dtype,
    device: torch.device,
) -> ImageSource:
    """The data set in the form that the engine trains on."""
    if engine == "delta":
        return DeltaImages(pixels, dtype=dtype, device=device)
    return DenseImages(pixels, dtype, device)


@torch.no_grad()
def predict(net: nn.Module, images: ImageSource, size: int) -> Tensor:
    """Predictions `(size, 2)` of slope and intercept for the first `size` images, on the net's device."""
    device = next(net.parameters()).device
    batches = torch.split(torch.arange(size, device=device), PREDICTION_BATCH)
    return torch.cat([net(images.batch(indices)) for indices in batches])


def adam(
    net: nn.Module, learning_rate: float, training: ImageSource
) -> torch.optim.Adam | FusedAdam:
    """Adam with torch's defaults, in the fastest form for what the net is trained on."""
    device = next(net.parameters()).device
    if isinstance(training, DeltaImages) and device.type == "cpu":
        return FusedAdam(net.parameters(), lr=learning_rate)
    return torch.optim.Adam(net.parameters(), lr=learning_rate, fused=True)


def train(
    net: nn.Module,
    training: ImageSource,
    training_params: Tensor,
    validation: ImageSource,
    validation_params: Tensor,
    protocol: Protocol,
    *,
    shuffle: torch.Generator,
    on_epoch: Callable[[int], object] | None = None,
) -> Training:
    """Train `net` in place; the same arguments on the same machine and thread count give the same bits.

    `training_params` `(N, 2)` and `validation_params` `(V, 2)` are the targets; `shuffle` is a CPU generator that
    alone decides the order of images; `on_epoch` is called with the number of epochs done. A non-finite loss ends
    the training at the end of its epoch with the status `diverged`.
    """
    optimiser = adam(net, protocol.learning_rate, training)
    size, device = len(training_params), training_params.device
    train_loss: list[float] = []
    val_mse: list[float] = []
    steps = 0
    start = time.perf_counter()
    for epoch in range(1, protocol.epochs + 1):
        order = torch.randperm(size, generator=shuffle).to(device)
        # The loss stays on the device until the epoch ends: reading it would make every step wait.
        total = torch.zeros((), dtype=torch.float64, device=device)
        for indices in torch.split(order, protocol.batch_size):
            optimiser.zero_grad()
            loss = F.mse_loss(net(training.batch(indices)), training_params[indices])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            total += loss.detach() * len(indices)
            steps += 1
        train_loss.append(float(total) / size)
        predictions = predict(net, validation, len(validation_params))
        val_mse.append(float(F.mse_loss(predictions.double(), validation_params.double())))
        if on_epoch is not None:
            on_epoch(epoch)
        if not (math.isfinite(train_loss[-1]) and math.isfinite(val_mse[-1])):
            break
    finite = math.isfinite(train_loss[-1]) and math.isfinite(val_mse[-1])
    return Training(
        "ok" if finite else "diverged",
        np.array(train_loss),
        np.array(val_mse),
        steps,
        time.perf_counter() - start,
    )
