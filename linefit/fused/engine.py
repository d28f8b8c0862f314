"""Data sets, training and predictions of the compiled step."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from linefit.fused.library import (
    ParametersStruct,
    StepsStruct,
    instruction_set,
    kind_of,
    library,
)
from linefit.fused.program import Program

PREDICTION_BATCH = 1024  # images whose features are in memory at a time
BETAS, EPSILON = (0.9, 0.999), 1e-8  # torch's defaults
FusedLoss = Literal["mse", "huber", "l1"]
LOSSES: tuple[FusedLoss, ...] = ("mse", "huber", "l1")  # numbered as in src/program.h
FLATTEN_PREDICTION_BATCH = 2048  # their weights are read once for all of these


@dataclass(frozen=True, eq=False)
class _Tables:
    """Index tables in the library's memory, and the input's values where no pixel is lit."""

    handle: int
    constants: NDArray[np.generic]  # (classes of sites, channels of the input)
    similar: Tensor  # (N,) int64: images in an order in which they share most features with their neighbours


class FusedImages:
    """Binary images `(N, height, width)` as a data set of the compiled step; `dtype` is that of the nets it is for.

    Index tables depend on a net's depth and constant channels, and are built once for each. Raises RuntimeError where
    the library was not built.
    """

    def __init__(self, pixels: NDArray[np.bool_], dtype: torch.dtype) -> None:
        if instruction_set() is None:
            raise RuntimeError(
                "the compiled training step was not built when linefit was installed"
            )
        self.pixels = np.ascontiguousarray(pixels, dtype=np.bool_)
        self.dtype = dtype
        self._tables: dict[tuple[int, bytes], _Tables] = {}

    def __len__(self) -> int:
        return len(self.pixels)

    def tables(self, program: Program) -> _Tables:
        """Raises MemoryError, and ValueError for images of another size than the program's."""
        _, height, width = self.pixels.shape
        if program.constants.shape[1:] != (height, width):
            raise ValueError(
                f"images of {height}x{width} pixels, the net takes "
                f"{'x'.join(map(str, program.constants.shape[1:]))}"
            )
        depth = len(program.convolutions)
        flat = program.constants.to(self.dtype).flatten(1).t().contiguous().numpy()
        key = (depth, flat.tobytes())
        if key not in self._tables:
            values, classes = np.unique(flat, axis=0, return_inverse=True)
            constants = np.zeros((len(values), flat.shape[1] + 1), flat.dtype)
            constants[:, 1:] = values
            numbered = classes.reshape(-1).astype(np.int32)
            found = _library().linefit_tables(
                self.pixels.ctypes.data, len(self), height, width, depth, numbered.ctypes.data
            )
            if found is None:
                raise MemoryError(f"no memory for the index tables of {len(self)} images")
            similar = np.ctypeslib.as_array(_library().linefit_similar(found), (len(self),))
            order = torch.from_numpy(similar.astype(np.int64))
            self._tables[key] = _Tables(found, constants, order)
            weakref.finalize(self._tables[key], _library().linefit_free_tables, found)
        return self._tables[key]


class _Runner:
    """A program's parameters and working memory in the library."""

    def __init__(self, program: Program, choice: str | None = None) -> None:
        self.program = program
        self.theta = program.pack()
        self.kind = kind_of(self.theta)
        self.struct = program.struct()
        name = (choice or instruction_set() or "").encode()
        self.handle = self.function("runner")(name, ctypes.byref(self.struct))
        if self.handle is None:
            raise MemoryError("no memory for the compiled training step")
        weakref.finalize(self, self.function("free_runner"), self.handle)

    def function(self, name: str) -> Any:
        return getattr(_library(), f"linefit_{name}_{self.kind}")


class FusedTrainer:
    """Steps of Adam or AdamW on a net's parameters in place, many in one call.

    A flatten net's first matrix is stored input-major from here on: the same values, other strides. The same arguments
    give the same bits with the same instruction set, whatever the number of threads: it uses one.

    Args:
        loss: "mse", "huber" or "l1", as `linefit.losses` defines them.
        weight_decay: decoupled, as AdamW's.
        choice: an instruction set that is not the best.
    """

    def __init__(
        self,
        program: Program,
        loss: FusedLoss = "mse",
        weight_decay: float = 0.0,
        choice: str | None = None,
    ) -> None:
        self.program = program
        self.runner = _Runner(program, choice)
        self.loss, self.weight_decay, self.done = LOSSES.index(loss), weight_decay, 0
        self.mean, self.square = (torch.zeros_like(self.runner.theta) for _ in range(2))
        self.large: tuple[Tensor, ...] = ()  # weight, moments, and whether they ever had a gradient
        if program.pooling == "flatten":
            weight = program.hidden.weight
            weight.data = weight.data.t().contiguous().t()
            moments = [torch.zeros_like(weight.data.t()) for _ in range(2)]
            self.large = (*moments, torch.zeros(weight.shape[1], dtype=torch.uint8))

    def take(
        self,
        images: FusedImages,
        targets: Tensor,
        batches: Sequence[Tensor],
        learning_rates: NDArray[np.float64],
    ) -> float:
        """Take a step for each of the batches of indices; `targets` `(N, 2)` belong to the images.

        Returns the sum over images of the loss as each batch saw it. Raises IndexError for an index that is no image's
        and MemoryError; the net is then as it was.
        """
        order = torch.cat(list(batches)).to(torch.int64).contiguous()
        ends = np.cumsum([len(batch) for batch in batches])
        _check_indices(order, min(len(images), len(targets)))
        tables, runner = images.tables(self.program), self.runner
        targets = targets.detach().to(self.program.dtype).contiguous()
        runner.theta.copy_(self.program.pack())
        # Wherever it lies now: who evaluates a net with other weights may have moved it.
        large = (self.program.hidden.weight.data.t(), *self.large) if self.large else ()
        parameters = ParametersStruct(
            *(tensor.data_ptr() for tensor in (runner.theta, self.mean, self.square, *large))
        )
        rates = np.ascontiguousarray(learning_rates, np.float64)
        steps = StepsStruct(
            len(ends), order.data_ptr(), ends.ctypes.data, rates.ctypes.data, self.done,
            *BETAS, EPSILON, self.weight_decay, self.loss,
        )  # fmt: skip
        total = ctypes.c_double()
        failed = runner.function("train")(
            runner.handle, tables.handle, tables.constants.ctypes.data, ctypes.byref(parameters),
            targets.data_ptr(), ctypes.byref(steps), ctypes.byref(total),
        )  # fmt: skip
        if failed:
            raise MemoryError("no memory for a training step")
        self.done += len(ends)
        self.program.unpack(runner.theta)
        return total.value


def fused_predictions(
    program: Program, images: FusedImages, size: int, choice: str | None = None
) -> Tensor:
    """Predictions `(size, 2)` for the first `size` images."""
    runner, tables = _Runner(program, choice), images.tables(program)
    large = (
        program.hidden.weight.detach().t().contiguous() if program.pooling == "flatten" else None
    )
    parameters = ParametersStruct(
        runner.theta.data_ptr(), None, None, None if large is None else large.data_ptr()
    )
    if size > len(images):
        raise IndexError(f"{size} predictions are asked for of {len(images)} images")
    order = tables.similar[tables.similar < size].contiguous()
    out = torch.empty(size, 2, dtype=program.dtype)
    failed = runner.function("predict")(
        runner.handle, tables.handle, tables.constants.ctypes.data, ctypes.byref(parameters),
        order.data_ptr(), size, PREDICTION_BATCH if large is None else FLATTEN_PREDICTION_BATCH,
        out.data_ptr(),
    )  # fmt: skip
    if failed:
        raise MemoryError("no memory for predictions")
    predictions = torch.empty_like(out)
    predictions[order] = out
    return predictions


def _check_indices(order: Tensor, images: int) -> None:
    if len(order) and (int(order.min()) < 0 or int(order.max()) >= images):
        raise IndexError(f"an index is outside the {images} images")


def _library() -> ctypes.CDLL:
    found = library()
    assert found is not None  # or there would be no FusedImages
    return found
