"""Train a job's cells in the process that calls: one alone, several as a pack.

What comes of a cell does not depend on its pack, see `linefit.packs`; which cells share one is decided in `jobs`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
import torch

from ablations.execution.cells import (
    DTYPE,
    failure,
    finished,
    prepare,
    train_cell,
)
from ablations.study.outcome import Outcome
from ablations.study.study import Cell
from linefit.architectures import build
from linefit.deltamap.footprints import Kernel
from linefit.engines import resolve_device
from linefit.images import LAB_DIM
from linefit.packs import (
    Pack,
    PackExamples,
    PackImages,
    predict,
    recognise,
    train_pack,
)
from linefit.packs.shape import Shape
from linefit.splits import evaluation_images, training_images
from linefit.training import cell_seeds

PIECE = 10_000  # images whose tables are made at once


def train_cells(
    job: Sequence[Cell], device: str, on_epoch: Callable[[int], object]
) -> list[Outcome]:
    """Train and evaluate a job's cells; what goes wrong with all of them becomes the outcome of each."""
    if len(job) == 1:
        return [train_cell(job[0], device, on_epoch)]
    try:
        return _train_pack(job, resolve_device(device), on_epoch)
    except Exception as error:
        return [failure(error, device)] * len(job)


def _train_pack(
    job: Sequence[Cell], device: torch.device, on_epoch: Callable[[int], object]
) -> list[Outcome]:
    protocol = job[0].protocol
    prepare(protocol, device)
    seeds = [cell_seeds(cell.seed) for cell in job]
    nets = [
        build(**c.variant.net, seed=initial) for c, (initial, _) in zip(job, seeds, strict=True)
    ]
    shape = recognise(nets[0], LAB_DIM)
    rates = [cell.protocol.learning_rate for cell in job]
    training = _examples("train", protocol.train_size, shape, device)
    pack = Pack([net.to(DTYPE) for net in nets], shape, rates, training, protocol.batch_size)
    orders = {shuffle for _, shuffle in seeds}
    shuffles = [shuffle for _, shuffle in seeds] if len(orders) > 1 else list(orders)
    runs = train_pack(
        pack,
        _examples("val", len(evaluation_images("val")), shape, device),
        protocol.epochs,
        [torch.Generator().manual_seed(shuffle) for shuffle in shuffles],
        on_epoch,
    )
    predictions = {split: _predict_split(pack, split) for split in job[0].splits}
    parameters = sum(parameter.numel() for parameter in nets[0].parameters())
    return [
        finished(run, {s: p[i] for s, p in predictions.items()}, parameters, "pack", "", device)
        for i, run in enumerate(runs)
    ]


@functools.cache
def _examples(split: str, size: int, shape: Shape, device: torch.device) -> PackExamples:
    images = training_images(size) if split == "train" else evaluation_images(split)
    params = torch.from_numpy(images.params).to(device=device, dtype=DTYPE)
    return PackExamples(PackImages(images.pixels, shape.convolutions, device), params)


def _predict_split(
    pack: Pack, split: str
) -> np.ndarray[tuple[int, int, int], np.dtype[np.float32]]:
    """Predictions `(P, M, 2)` of all cells on all images of an evaluation split."""
    size = len(evaluation_images(split))
    pieces = []
    for first in range(0, size, PIECE):
        tables = _piece(split, first, pack.shape.convolutions, pack.background.device)
        pieces.append(predict(pack, tables).float().cpu())
    return torch.cat(pieces, 1).numpy()


@functools.lru_cache(maxsize=6)  # the lab's test images and the 50,000 of test_large
def _piece(
    split: str, first: int, convolutions: tuple[Kernel, ...], device: torch.device
) -> PackImages:
    pixels = evaluation_images(split).pixels[first : first + PIECE]
    return PackImages(pixels, convolutions, device)
