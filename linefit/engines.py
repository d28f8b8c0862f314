"""What trains a net, on which device, and in which form it takes images: the compiled step, delta maps, dense tensors.

The choice is made once, in `engine_for`; `linefit.training` has one loop for all.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Literal
from typing import Protocol as Interface

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from linefit.deltamap import DeltaImages, DeltaMap, UnsupportedOperation
from linefit.fused import LOSSES, FusedImages, KeptTables, instruction_set, recognise
from linefit.protocol import Engine, Loss

ResolvedEngine = Literal["fused", "delta", "dense"]
FUSED_PIECE = 5000  # images that the compiled step predicts together
# Of the compiled step, for the evaluation splits of all cells of a process.
EVALUATION_TABLES = KeptTables()


class Batches(Interface):
    """A data set that hands a net its batches."""

    def batch(self, indices: Tensor) -> Tensor | DeltaMap: ...


ImageSource = Batches | FusedImages


class DenseImages:
    """Images on the device as one float tensor `(N, 1, dim, dim)`."""

    def __init__(
        self, pixels: npt.NDArray[np.bool_], dtype: torch.dtype, device: torch.device
    ) -> None:
        self.images = torch.from_numpy(pixels).to(device=device, dtype=dtype).unsqueeze(1)

    def batch(self, indices: Tensor) -> Tensor:
        return self.images[indices].contiguous(memory_format=torch.channels_last)


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


def random_state_kept(device: torch.device) -> AbstractContextManager[None]:
    """Within it the global random state, that of the CPU and of this device, may change; then it is put back.

    Torch by itself would keep that of every GPU, and take memory on each.
    """
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


def set_precision(*, tf32: bool, device: torch.device) -> None:
    """Let this process multiply float32 as it is, or rounded to TF32. Torch by itself rounds in CUDA's convolutions.

    Raises ValueError for TF32 on a device that has no such format.
    """
    if tf32 and device.type != "cuda":
        raise ValueError(f"tf32 = true: {device} has no such format, only CUDA devices have")
    precision = "tf32" if tf32 else "ieee"
    torch.backends.cudnn.conv.fp32_precision = precision  # type: ignore[attr-defined]
    torch.backends.cuda.matmul.fp32_precision = precision


def engine_for(
    net: nn.Module,
    pixels: npt.NDArray[np.bool_],
    engine: Engine,
    dtype: torch.dtype,
    device: torch.device,
    loss: Loss = "mse",
) -> tuple[ResolvedEngine, str]:
    """The engine that trains this net, and the reason if it is the dense one although another was asked for.

    The compiled step trains what it recognises, where it was built and on the CPU.
    Delta maps train whatever has an exact delta form in training and in evaluation mode; a trial pass in each tells. It
    takes two images (one twice): with one alone, a tensor that differs from image to image could not be told from a
    constant. A copy of the net makes it, with running statistics of its own.
    """
    if engine == "dense":
        return "dense", ""
    if (
        engine == "auto"
        and device.type == "cpu"
        and loss in LOSSES
        and instruction_set() is not None
    ):
        program = recognise(net, *pixels.shape[1:])
        if program is not None and program.dtype == dtype:
            return "fused", ""
    images = DeltaImages(pixels[:1].repeat(2, axis=0), dtype=dtype, device=device)
    trial = copy.deepcopy(net)
    try:
        with torch.no_grad(), random_state_kept(device):
            for mode in (net.training, False):
                trial.train(mode)(images.batch(torch.arange(2, device=device)))
    except UnsupportedOperation as reason:
        return "dense", f"trains densely: {reason}"
    return "delta", ""


def image_source(
    pixels: npt.NDArray[np.bool_],
    engine: ResolvedEngine,
    dtype: torch.dtype,
    device: torch.device,
) -> ImageSource:
    """The data set in the form that the engine trains on."""
    if engine == "fused":
        return FusedImages(pixels, dtype)
    if engine == "delta":
        return DeltaImages(pixels, dtype=dtype, device=device)
    return DenseImages(pixels, dtype, device)


class StreamedImages:
    """Images that are predicted once a net: tensors and index tables of a batch are made when it is asked for.

    Those of delta maps and of dense nets are forgotten at once; of the compiled step's as many are kept for the next
    net as `EVALUATION_TABLES` holds.
    """

    def __init__(
        self,
        pixels: npt.NDArray[np.bool_],
        engine: ResolvedEngine,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.pixels, self.engine, self.dtype, self.device = pixels, engine, dtype, device
        self._pieces: dict[tuple[int, int], FusedImages] = {}

    def batch(self, indices: Tensor) -> Tensor | DeltaMap:
        source = image_source(
            self.pixels[indices.cpu().numpy()], self.engine, self.dtype, self.device
        )
        if isinstance(source, FusedImages):
            raise TypeError("the compiled step predicts images in pieces, not in batches")
        return source.batch(torch.arange(len(indices), device=self.device))

    def pieces(self, size: int) -> Iterator[FusedImages]:
        """The first `size` images in the compiled step's form, some at a time."""
        for start in range(0, size, FUSED_PIECE):
            piece = start, min(start + FUSED_PIECE, size)
            if piece not in self._pieces:
                self._pieces[piece] = FusedImages(
                    self.pixels[slice(*piece)], self.dtype, EVALUATION_TABLES
                )
            yield self._pieces[piece]
