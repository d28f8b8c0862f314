"""Train a job's cells in the process that calls: one alone, several as a pack.

What comes of a cell does not depend on its pack, see `linefit.packs`; which cells share one is decided in `jobs`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ablations.execution.cells import (
    DTYPE,
    failure,
    finished,
    of_lab_size,
    predict_other_sizes,
    prepare,
    train_cell,
)
from ablations.execution.events import Apart
from ablations.execution.jobs import packed_form
from ablations.execution.pack_seeds import Seeds
from ablations.study.outcome import Outcome
from ablations.study.study import Cell
from linefit.architectures import build
from linefit.deltamap import DeltaImages
from linefit.deltamap.footprints import Kernel
from linefit.engines import Batches, ResolvedEngine, StreamedImages, engine_for, resolve_device
from linefit.packs import (
    BatchExamples,
    HostExamples,
    ModulePack,
    Pack,
    PackExamples,
    PackImages,
    RecordingError,
    ResidentImages,
    UnpackableError,
    predict,
)
from linefit.packs.rates import schedule_of
from linefit.packs.shape import Shape
from linefit.protocol import Loss, Protocol, Target
from linefit.splits import evaluation_images, training_images
from linefit.targets import targets_of
from linefit.training import Training, cell_seeds

PIECE = 10_000  # images whose tables are made at once
Convolutions = tuple[Kernel, ...]
Predictions = npt.NDArray[np.float32]  # (P, M, 2)


def train_cells(
    job: Sequence[Cell], device: str, on_epoch: Callable[[int], object]
) -> list[Outcome] | Apart:
    """Train and evaluate a job's cells; what goes wrong with all of them becomes the outcome of each."""
    if len(job) == 1:
        return [train_cell(job[0], device, on_epoch)]
    try:
        return _train_pack(job, resolve_device(device), on_epoch)
    except UnpackableError as error:
        return Apart(str(error), spoilt=False)
    except RecordingError as error:  # it leaves a CUDA context in doubt
        return Apart(f"a step cannot be recorded: {error}", spoilt=True)
    except ConnectionError:  # the driver is gone: nobody is left to tell
        raise
    except Exception as error:
        return [failure(error, device)] * len(job)


def _train_pack(
    job: Sequence[Cell], device: torch.device, on_epoch: Callable[[int], object]
) -> list[Outcome]:
    protocol = job[0].protocol
    prepare(protocol, device)
    nets = [build(**c.variant.net, seed=cell_seeds(c.seed)[0]).to(DTYPE) for c in job]
    shape = packed_form(job[0])
    if isinstance(shape, Shape):
        return _train_delta_maps(job, nets, shape, device, on_epoch)
    return _train_modules(job, nets, device, on_epoch)


def _train_delta_maps(
    job: Sequence[Cell],
    nets: Sequence[nn.Module],
    shape: Shape,
    device: torch.device,
    on_epoch: Callable[[int], object],
) -> list[Outcome]:
    seeds, protocol = Seeds.of(job), job[0].protocol
    rates = [cell.protocol.learning_rate for cell in job]
    if protocol.training_set == "fixed":
        training = _fixed_tables(*_facts(protocol), shape.convolutions, device)
    else:
        training = _tables(seeds.images(1), shape.convolutions, device)
    pack = Pack(
        nets,
        shape,
        rates,
        training,
        protocol.batch_size,
        order_of=seeds.order_of,
        schedule=schedule_of(protocol),
    )
    validation = _validation_tables(shape.convolutions, device)
    runs = seeds.train(pack, validation, on_epoch)
    predictions = {split: _predict_split(pack, split) for split in of_lab_size(job[0])}
    nets = [net.to(device) for net in nets]
    pack.write_to(nets)
    return _outcomes(job, runs, predictions, nets, "pack", "", device)


def _train_modules(
    job: Sequence[Cell],
    nets: Sequence[nn.Module],
    device: torch.device,
    on_epoch: Callable[[int], object],
) -> list[Outcome]:
    seeds, protocol = Seeds.of(job), job[0].protocol
    nets = [net.to(device) for net in nets]
    engine, message = _engine(nets, protocol, device)
    if engine == "dense":
        nets = [net.to(memory_format=torch.channels_last) for net in nets]  # type: ignore[call-overload]
    if protocol.training_set == "fixed":
        training = _fixed_batches(*_facts(protocol), engine, device)
    else:
        training = _batches(seeds.images(1), engine, device)
    rates = [cell.protocol.learning_rate for cell in job]
    pack = ModulePack(nets, protocol, rates, training, order_of=seeds.order_of)
    runs = seeds.train(pack, _validation_batches(engine, device), on_epoch)
    predictions = {s: _predict_batches(pack, s, engine, device) for s in of_lab_size(job[0])}
    return _outcomes(job, runs, predictions, nets, f"{engine} pack", message, device)


def _engine(
    nets: Sequence[nn.Module], protocol: Protocol, device: torch.device
) -> tuple[ResolvedEngine, str]:
    """What trains nets as modules: delta maps of static shapes, or dense tensors, also where images change."""
    if protocol.training_set == "fresh":
        return "dense", "trains densely: the images of an epoch are new"
    wanted = "delta" if protocol.engine == "auto" else protocol.engine
    pixels = training_images(1).pixels
    different = {repr(net): net for net in nets}.values()
    found = [engine_for(net, pixels, wanted, DTYPE, device) for net in different]
    return next((each for each in found if each[0] == "dense"), found[0])


def _outcomes(
    job: Sequence[Cell],
    runs: Sequence[Training],
    predictions: dict[str, Predictions],
    nets: Sequence[nn.Module],
    engine: str,
    message: str,
    device: torch.device,
) -> list[Outcome]:
    """`nets` are trained; on images of other sizes each is evaluated by itself, as a pack's tables are of one size."""
    parameters = sum(parameter.numel() for parameter in nets[0].parameters())
    outcomes = []
    for i, (cell, run, net) in enumerate(zip(job, runs, nets, strict=True)):
        found = predict_other_sizes(cell, net, device) if run.status == "ok" else {}
        found |= {split: lines[i] for split, lines in predictions.items()}
        outcomes.append(finished(run, found, parameters, engine, message, device))
    return outcomes


def _facts(protocol: Protocol) -> tuple[int, Target, Loss]:
    """What a training set that all seeds share depends on."""
    return protocol.train_size, protocol.target, protocol.loss


def _fixed(size: int, target: Target, loss: Loss) -> HostExamples:
    images = training_images(size)
    return HostExamples(images.pixels, targets_of(images, target, loss))


def _validation() -> HostExamples:
    images = evaluation_images("val")
    return HostExamples(images.pixels, images.params)


def _tables(
    examples: HostExamples, convolutions: Convolutions, device: torch.device
) -> PackExamples:
    targets = torch.from_numpy(examples.targets).to(device=device, dtype=DTYPE)
    return PackExamples(PackImages(examples.pixels, convolutions, device), targets)


@functools.cache
def _fixed_tables(
    size: int, target: Target, loss: Loss, convolutions: Convolutions, device: torch.device
) -> PackExamples:
    return _tables(_fixed(size, target, loss), convolutions, device)


@functools.cache
def _validation_tables(convolutions: Convolutions, device: torch.device) -> PackExamples:
    return _tables(_validation(), convolutions, device)


def _batches(examples: HostExamples, engine: ResolvedEngine, device: torch.device) -> BatchExamples:
    """Padded delta maps also on a CPU, so that the same steps are taken there."""
    images: Batches = (
        DeltaImages(examples.pixels, DTYPE, device, padded=True)
        if engine == "delta"
        else ResidentImages(examples.pixels, DTYPE, device)
    )
    targets = torch.from_numpy(examples.targets).to(device=device, dtype=DTYPE)
    return BatchExamples(images, targets)


@functools.cache
def _fixed_batches(
    size: int, target: Target, loss: Loss, engine: ResolvedEngine, device: torch.device
) -> BatchExamples:
    return _batches(_fixed(size, target, loss), engine, device)


@functools.cache
def _validation_batches(engine: ResolvedEngine, device: torch.device) -> BatchExamples:
    return _batches(_validation(), engine, device)


def _predict_split(pack: Pack, split: str) -> Predictions:
    """Predictions of all cells on all images of an evaluation split."""
    size = len(evaluation_images(split))
    pieces = []
    for first in range(0, size, PIECE):
        tables = _piece(split, first, pack.shape.convolutions, pack.background.device)
        pieces.append(predict(pack, tables).float().cpu())
    return torch.cat(pieces, 1).numpy()


@functools.lru_cache(maxsize=6)  # the lab's test images and the 50,000 of test_large
def _piece(split: str, first: int, convolutions: Convolutions, device: torch.device) -> PackImages:
    pixels = evaluation_images(split).pixels[first : first + PIECE]
    return PackImages(pixels, convolutions, device)


def _predict_batches(
    pack: ModulePack, split: str, engine: ResolvedEngine, device: torch.device
) -> Predictions:
    images = _evaluation_batches(split, engine, device)
    size = len(evaluation_images(split))
    return pack.predict(images, size).float().cpu().numpy()


@functools.cache
def _evaluation_batches(split: str, engine: ResolvedEngine, device: torch.device) -> Batches:
    pixels = evaluation_images(split).pixels
    if engine == "delta":  # tables of so many images are made batch by batch
        return StreamedImages(pixels, engine, DTYPE, device)
    return ResidentImages(pixels, DTYPE, device)
