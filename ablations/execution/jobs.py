"""Which cells train together, and how many: jobs for workers. What no pack trains is a job of one cell."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence

import torch

from ablations.execution.cells import DTYPE
from ablations.execution.events import Job
from ablations.study.study import Cell, Variant
from linefit.architectures import build
from linefit.images import LAB_DIM
from linefit.packs import PackImages, UnpackableError, recognise, unpackable_setting
from linefit.packs.shape import Shape
from linefit.packs.sizes import affordable_cells
from linefit.protocol import Protocol
from linefit.splits import evaluation_images


def jobs_of(
    cells: Iterable[Cell], devices: Sequence[str], workers: int, pack: int | None
) -> list[Job]:
    """Cells as jobs, those of one shape and protocol together; in the order of each job's first cell.

    A job has at most `pack` cells, None for as many as pay on these devices: one on a CPU, where stacked cells
    are slower than one after the other, on CUDA what fits into its memory. No more than keep all workers busy.
    """
    cells = list(cells)
    if pack == 1 or (pack is None and any(device == "cpu" for device in devices)):
        return [(cell,) for cell in cells]
    groups: dict[object, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(_group(cell), []).append(cell)
    jobs = []
    for group in groups.values():
        shape = _shape(group[0].variant)
        most = 1
        if shape is not None and unpackable_setting(group[0].protocol) is None:
            most = pack or min(_affordable(shape, group[0].protocol, device) for device in devices)
            most = min(most, -(-len(group) // workers))
        jobs += [tuple(group[i : i + most]) for i in range(0, len(group), most)]
    place = {cell.key: i for i, cell in enumerate(cells)}
    return sorted(jobs, key=lambda job: place[job[0].key])


def _group(cell: Cell) -> object:
    """Equal for cells that may share a pack."""
    shape = _shape(cell.variant)
    if shape is None or unpackable_setting(cell.protocol) is not None:
        return cell.key
    return shape, dataclasses.replace(cell.protocol, learning_rate=1.0), cell.splits


def _shape(variant: Variant) -> Shape | None:
    """What a variant's cells share with those of a pack, None where no pack trains them."""
    return _shape_of_net(tuple(sorted(variant.net.items())))


@functools.cache
def _shape_of_net(levels: tuple[tuple[str, object], ...]) -> Shape | None:
    try:
        return recognise(build(**dict(levels), seed=0), LAB_DIM)  # type: ignore[arg-type]
    except (UnpackableError, ValueError, TypeError):
        return None  # a net that cannot be built says so when it is trained


def _affordable(shape: Shape, protocol: Protocol, device: str) -> int:
    memory = torch.cuda.get_device_properties(device).total_memory
    sample = PackImages(evaluation_images("val").pixels, shape.convolutions, torch.device("cpu"))
    return affordable_cells(shape, sample, protocol.batch_size, DTYPE, memory)
