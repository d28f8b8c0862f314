"""Train one cell from its configuration to its outcome, in the process that calls.

Index tables of data sets are made once a process. Worker processes, storing and progress live elsewhere.
"""

from __future__ import annotations

import contextlib
import functools
import re
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ablations.study.outcome import Outcome
from ablations.study.study import Cell
from linefit.allocator import tune_allocator
from linefit.architectures import build, net_at
from linefit.engines import (
    ResolvedEngine,
    StreamedImages,
    engine_for,
    image_source,
    resolve_device,
    set_precision,
)
from linefit.examples import Examples, training_examples
from linefit.images import LAB_DIM, SPLITS
from linefit.other_sizes import in_pixels
from linefit.prior import Region
from linefit.protocol import Protocol
from linefit.splits import evaluation_images, training_images, validation_images
from linefit.training import Training, cell_seeds, predict, steps_for, train

DTYPE = torch.float32


def _predict_split(
    net: torch.nn.Module, split: str, engine: ResolvedEngine, device: torch.device
) -> npt.NDArray[np.float32]:
    """Predictions `(M, 2)` on all images of an evaluation split."""
    images = _evaluation(split, engine, device)
    return predict(net, images, len(images.pixels)).float().cpu().numpy()


def of_lab_size(cell: Cell) -> list[str]:
    """The evaluation splits of a cell that every net can be evaluated on as it is."""
    return [split for split in cell.splits if SPLITS[split].dim == LAB_DIM]


def predict_other_sizes(
    cell: Cell, net: torch.nn.Module, device: torch.device
) -> dict[str, npt.NDArray[np.float32]]:
    """Split -> predictions `(M, 2)`, in pixels, of a cell's trained net on images of other sizes than the lab's.

    A net of the size takes its parameters, and whichever engine suits that.
    """
    found, levels = {}, cell.variant.net
    for split in cell.evaluated:
        dim = SPLITS[split].dim
        if dim != LAB_DIM:
            other, pixels = net_at(net, levels, dim), evaluation_images(split).pixels
            engine, _ = engine_for(other, pixels[:1], cell.protocol.engine, DTYPE, device)
            if engine == "dense":
                other = other.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            found[split] = in_pixels(_predict_split(other, split, engine, device), levels, dim)
    return found


@functools.cache
def _evaluation(split: str, engine: ResolvedEngine, device: torch.device) -> StreamedImages:
    return StreamedImages(evaluation_images(split).pixels, engine, DTYPE, device)


@functools.cache
def _validation(region: Region, engine: ResolvedEngine, device: torch.device) -> Examples:
    images = validation_images(region)
    params = torch.from_numpy(images.params).to(device=device, dtype=DTYPE)
    return Examples(image_source(images.pixels, engine, DTYPE, device), params)


def train_cell(cell: Cell, device: str, on_epoch: Callable[[int], object]) -> Outcome:
    """Train and evaluate a cell. Whatever goes wrong in it becomes its outcome; nothing is raised but interrupts."""
    try:
        return _train_cell(cell, resolve_device(device), on_epoch)
    except ConnectionError:  # the driver is gone: nobody is left to tell
        raise
    except Exception as error:
        return failure(error, device)


# What libraries say of an exhausted memory in a plain RuntimeError: torch's CPU allocator, CUDA itself, cuBLAS, cuDNN.
OUT_OF_MEMORY = re.compile("can't allocate memory|CUDA error: out of memory|_STATUS_ALLOC_FAILED")


def failure(error: Exception, device: str) -> Outcome:
    """The outcome of a cell whose training raised `error`."""
    # An error while a step is recorded may make the recording's end fail too, which is then what is raised.
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    for each in chain:
        if isinstance(each, (MemoryError, torch.OutOfMemoryError)) or (
            isinstance(each, RuntimeError) and OUT_OF_MEMORY.search(str(each))
        ):
            return Outcome("oom", f"{type(each).__name__}: {each}", device=device)
    return Outcome("error", "".join(traceback.format_exception(error)), device=device)


def prepare(protocol: Protocol, device: torch.device) -> None:
    """What precedes any training: the precision of products, and an allocator whose peak is that of what follows."""
    set_precision(tf32=protocol.tf32, device=device)
    if device.index is not None and device.type == "cuda":
        # Or pinned memory, and what kernels of ours start on, were another GPU's. No number means the current one.
        torch.cuda.set_device(device)
    tune_allocator()
    _forget_peak_memory()


def _forget_peak_memory() -> None:
    """Neither the driver's peak, which a new process inherits, nor an earlier cell's is this cell's."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_memory_mib() -> float | None:
    """Most resident memory of this process since `_forget_peak_memory`, None where the system is not Linux.

    What the process kept from earlier cells (data sets, memory of the allocator) counts.
    """
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    peak = re.search(r"VmHWM:\s*(\d+) kB", status)
    return int(peak[1]) / 1024 if peak else None


def trained_net(cell: Cell, device: str) -> torch.nn.Module:
    """The net of a cell, trained from its configuration, as nothing but its answers is kept of the first time.

    On the same machine and number of threads it has the same bits. Raises ValueError where the training diverges.
    """
    net, run, *_ = _trained(cell, resolve_device(device), lambda _: None)
    if run.status != "ok":
        raise ValueError(f"{cell.variant.name} with seed {cell.seed}: the training diverged")
    return net


def _train_cell(cell: Cell, device: torch.device, on_epoch: Callable[[int], object]) -> Outcome:
    net, run, engine, message = _trained(cell, device, on_epoch)
    predictions = {}
    if run.status == "ok":
        own = of_lab_size(cell)
        predictions = {split: _predict_split(net, split, engine, device) for split in own}
        predictions |= predict_other_sizes(cell, net, device)
    parameters = sum(p.numel() for p in net.parameters())
    return finished(run, predictions, parameters, engine, message, device)


def _trained(
    cell: Cell, device: torch.device, on_epoch: Callable[[int], object]
) -> tuple[torch.nn.Module, Training, ResolvedEngine, str]:
    """The net as its training left it, the engine that trained it, and why it was not the one that was asked for."""
    protocol = cell.protocol
    prepare(protocol, device)
    initial_seed, shuffle_seed = cell_seeds(cell.seed)
    net = build(**cell.variant.net, seed=initial_seed).to(device=device, dtype=DTYPE)
    engine, message = engine_for(
        net, training_images(1).pixels, protocol.engine, DTYPE, device, protocol.loss
    )
    if engine == "dense":
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    run = train(
        net,
        steps_for(net, protocol, engine),
        training_examples(protocol, cell.seed, engine, DTYPE, device),
        _validation(protocol.training_region, engine, device),
        protocol,
        shuffle=torch.Generator().manual_seed(shuffle_seed),
        on_epoch=on_epoch,
    )
    return net, run, engine, message


def finished(
    run: Training,
    predictions: dict[str, npt.NDArray[np.float32]],
    parameters: int,
    engine: str,
    message: str,
    device: torch.device,
) -> Outcome:
    """The outcome of a cell that was trained to its end, `predictions` `(M, 2)` on each evaluation split."""
    status = run.status
    if status == "ok":
        if not all(np.isfinite(p).all() for p in predictions.values()):
            status, message, predictions = "diverged", "predictions are not finite", {}
    else:
        message, predictions = f"loss is not finite in epoch {len(run.train_loss)}", {}
    return Outcome(
        status,
        message,
        parameters=parameters,
        steps=run.steps,
        seconds=run.seconds,
        peak_memory_mib=_peak_memory_mib(),
        engine=engine,
        device=str(device),
        threads=torch.get_num_threads(),
        train_loss=run.train_loss,
        val_mse=run.val_mse,
        predictions=predictions,
    )
