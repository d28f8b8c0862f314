"""Data sets, training and predictions of the compiled step."""

from __future__ import annotations

import ctypes
import functools
import weakref
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from linefit.fused.kept import KeptTables, Tables, build_tables
from linefit.fused.library import (
    StepsStruct,
    built_library,
    instruction_set,
    kind_of,
    other_sources,
    parameters_struct,
)
from linefit.fused.program import Program

PREDICTION_BATCH = 1024  # images whose features are in memory at a time
BETAS, EPSILON = (0.9, 0.999), 1e-8  # torch's defaults
FusedLoss = Literal["mse", "huber", "l1"]
LOSSES: tuple[FusedLoss, ...] = ("mse", "huber", "l1")  # numbered as in src/program.h
FLATTEN_PREDICTION_BATCH = 2048  # their weights are read once for all of these


class FusedImages:
    """Binary images `(N, height, width)` as a data set of the compiled step; `dtype` is that of the nets it is for.

    Index tables depend on a net's depth and on which sites its constant channels tell apart; they are built once for
    each such kind of net and kept in `kept`, which several data sets may share. Raises RuntimeError where the library
    was not built.
    """

    def __init__(
        self, pixels: NDArray[np.bool_], dtype: torch.dtype, kept: KeptTables | None = None
    ) -> None:
        built_library()
        self.pixels = np.ascontiguousarray(pixels, dtype=np.bool_)
        self.dtype = dtype
        self.kept = kept or KeptTables()

    def __len__(self) -> int:
        return len(self.pixels)

    def tables(self, program: Program) -> Tables:
        """Raises MemoryError, and ValueError for images of another size or dtype than the program's."""
        shape = program.constants.shape[1:]
        if shape != self.pixels.shape[1:] or program.dtype != self.dtype:
            height, width = self.pixels.shape[1:]
            raise ValueError(
                f"images of {height}x{width} pixels for nets of {self.dtype}, "
                f"the net takes {'x'.join(map(str, shape))} in {program.dtype}"
            )
        depth, side = len(program.convolutions), program.side
        _, classes = input_classes(program)
        return self.kept.find(
            (depth, side, classes.tobytes()),
            self,
            lambda: build_tables(self.pixels, depth, side, classes),
        )


def input_classes(program: Program) -> tuple[NDArray[np.generic], NDArray[np.int32]]:
    """The input's distinct values where no pixel is lit `(classes, channels)`, and which of them each site has."""
    flat = program.constants.to(program.dtype).flatten(1).t().contiguous().numpy()
    return _distinct(flat.tobytes(), flat.dtype, flat.shape)


@functools.lru_cache(maxsize=32)
def _distinct(
    data: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> tuple[NDArray[np.generic], NDArray[np.int32]]:
    values, classes = np.unique(
        np.frombuffer(data, dtype).reshape(shape), axis=0, return_inverse=True
    )
    constants = np.zeros((len(values), shape[1] + 1), dtype)
    constants[:, 1:] = values
    return constants, classes.reshape(-1).astype(np.int32)


class _Runner:
    """A program's parameters and working memory in the library."""

    def __init__(self, program: Program, choice: str | None = None) -> None:
        self.program = program
        self.theta = program.pack()
        self.kind = kind_of(self.theta)
        self.struct = program.struct()
        if built_library().linefit_layout_size(ctypes.byref(self.struct)) != len(self.theta):
            raise other_sources(built_library())
        name = (choice or instruction_set() or "").encode()
        self.handle = self.function("runner")(name, ctypes.byref(self.struct))
        if self.handle is None:
            raise MemoryError("no memory for the compiled training step")
        weakref.finalize(self, self.function("free_runner"), self.handle)

    def function(self, name: str) -> Any:
        return getattr(built_library(), f"linefit_{name}_{self.kind}")


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
        if program.pool.kind == "flatten":
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
        constants, _ = input_classes(self.program)
        targets = targets.detach().to(self.program.dtype).contiguous()
        runner.theta.copy_(self.program.pack())
        # Wherever it lies now: who evaluates a net with other weights may have moved it.
        large = (self.program.hidden.weight.data.t(), *self.large) if self.large else (None,) * 4
        parameters = parameters_struct(
            runner.theta, self.mean, self.square, *large, self.program.pool.positions
        )
        rates = np.ascontiguousarray(learning_rates, np.float64)
        steps = StepsStruct(
            len(ends), order.data_ptr(), ends.ctypes.data, rates.ctypes.data, self.done,
            *BETAS, EPSILON, self.weight_decay, self.loss,
        )  # fmt: skip
        total = ctypes.c_double()
        failed = runner.function("train")(
            runner.handle, tables.handle, constants.ctypes.data, ctypes.byref(parameters),
            targets.data_ptr(), ctypes.byref(steps), ctypes.byref(total),
        )  # fmt: skip
        if failed:
            raise MemoryError("no memory for a training step")
        self.done += len(ends)
        self.program.unpack(runner.theta)
        return total.value


class FusedPredictor:
    """Predictions with the parameters that a program has now, on as many data sets as one likes."""

    def __init__(self, program: Program, choice: str | None = None) -> None:
        self.runner = _Runner(program, choice)
        self.constants, _ = input_classes(program)
        self.large = (
            program.hidden.weight.detach().t().contiguous()
            if program.pool.kind == "flatten"
            else None
        )

    def __call__(self, images: FusedImages, size: int) -> Tensor:
        """Predictions `(size, 2)` for the first `size` images. Raises IndexError for more than there are."""
        if size > len(images):
            raise IndexError(f"{size} predictions are asked for of {len(images)} images")
        runner, large = self.runner, self.large
        tables = images.tables(runner.program)
        positions = runner.program.pool.positions
        parameters = parameters_struct(runner.theta, None, None, large, None, None, None, positions)
        order = tables.similar[tables.similar < size].contiguous()
        out = torch.empty(size, 2, dtype=runner.program.dtype)
        failed = runner.function("predict")(
            runner.handle, tables.handle, self.constants.ctypes.data, ctypes.byref(parameters),
            order.data_ptr(), size, PREDICTION_BATCH if large is None else FLATTEN_PREDICTION_BATCH,
            out.data_ptr(),
        )  # fmt: skip
        if failed:
            raise MemoryError("no memory for predictions")
        predictions = torch.empty_like(out)
        predictions[order] = out
        return predictions


def fused_predictions(
    program: Program, images: FusedImages, size: int, choice: str | None = None
) -> Tensor:
    """Predictions `(size, 2)` for the first `size` images."""
    return FusedPredictor(program, choice)(images, size)


def _check_indices(order: Tensor, images: int) -> None:
    if len(order) and (int(order.min()) < 0 or int(order.max()) >= images):
        raise IndexError(f"an index is outside the {images} images")
