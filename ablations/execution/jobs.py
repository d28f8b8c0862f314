"""Which cells train together, and how many: jobs for workers. What no pack trains is a job of one cell."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from ablations.execution.cells import DTYPE
from ablations.execution.events import Job
from ablations.study.study import Cell, Variant
from linefit.architectures import build
from linefit.images import LAB_DIM
from linefit.packs import (
    PackImages,
    UnpackableError,
    recognise,
    unpackable_setting,
    unrecordable_setting,
)
from linefit.packs.graphs import STREAMS
from linefit.packs.shape import Shape
from linefit.packs.sizes import affordable_cells, cell_bytes, module_bytes, table_bytes
from linefit.splits import evaluation_images


@dataclass(frozen=True)
class ModuleShape:
    """What nets have in common that are trained as modules: one takes about as long as the other."""

    parameters: tuple[tuple[str, tuple[int, ...]], ...]  # names and shapes


def jobs_of(
    cells: Iterable[Cell], devices: Sequence[str], workers: int, pack: int | None
) -> list[Job]:
    """Cells as jobs, those of one shape and protocol together; in the order of each job's first cell.

    A job has at most `pack` cells, None for as many as pay on these devices: one on a CPU, where stacked cells
    are slower than one after the other, on CUDA what fits into its memory. No more than keep all workers busy.
    Of cells that could share one, those with the same seed come first, see `_by_seed`.
    """
    cells = list(cells)
    if pack == 1 or (pack is None and any(device == "cpu" for device in devices)):
        return [(cell,) for cell in cells]
    groups: dict[object, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(_group(cell), []).append(cell)
    jobs = []
    for group in groups.values():
        form = packed_form(group[0])
        most = 1
        if form is not None:
            sharing = -(-workers // len(devices))
            most = pack or min(_affordable(form, group[0], each, sharing) for each in devices)
            most = min(most, -(-len(group) // workers))
        jobs += _by_seed(group, most)
    place = {cell.key: i for i, cell in enumerate(cells)}
    return sorted(jobs, key=lambda job: min(place[cell.key] for cell in job))


def packed_form(cell: Cell) -> Shape | ModuleShape | None:
    """What a cell shares with those of a pack, None where no pack trains it."""
    form, protocol = _form_of_net(_levels(cell.variant)), cell.protocol
    if isinstance(form, Shape) and unpackable_setting(protocol) is not None:
        form = _module_shape(_levels(cell.variant))
    if isinstance(form, ModuleShape) and unrecordable_setting(protocol) is not None:
        return None
    return form


def _group(cell: Cell) -> object:
    """Equal for cells that may share a pack."""
    form = packed_form(cell)
    if form is None:
        return cell.key
    return form, dataclasses.replace(cell.protocol, learning_rate=1.0), cell.splits


def _by_seed(group: Sequence[Cell], most: int) -> list[Job]:
    """Jobs of at most `most` cells, seed after seed: those of one seed share the order of images and its tables."""
    first = {cell.seed: place for place, cell in reversed(list(enumerate(group)))}
    ordered = sorted(group, key=lambda cell: first[cell.seed])
    jobs = [ordered[i : i + most] for i in range(0, len(ordered), most)]
    # One launch of the optimiser for all cells of a learning rate.
    return [tuple(sorted(job, key=lambda cell: cell.protocol.learning_rate)) for job in jobs]


Levels = tuple[tuple[str, object], ...]


def _levels(variant: Variant) -> Levels:
    return tuple(sorted(variant.net.items()))


@functools.cache
def _form_of_net(levels: Levels) -> Shape | ModuleShape | None:
    try:
        return recognise(build(**dict(levels), seed=0), LAB_DIM)  # type: ignore[arg-type]
    except UnpackableError:
        return _module_shape(levels)
    except Exception:  # whatever a user's code may raise
        return None  # a net that cannot be built says so when it is trained


@functools.cache
def _module_shape(levels: Levels) -> ModuleShape:
    net = build(**dict(levels), seed=0)  # type: ignore[arg-type]
    return ModuleShape(tuple((name, tuple(p.shape)) for name, p in net.named_parameters()))


def _affordable(form: Shape | ModuleShape, cell: Cell, device: str, sharing: int) -> int:
    """Cells of a pack for one of the workers that share a device."""
    memory = torch.cuda.get_device_properties(device).total_memory / sharing
    protocol, own_images = cell.protocol, cell.protocol.training_set != "fixed"
    if isinstance(form, ModuleShape):
        net = build(**cell.variant.net, seed=0)
        of_cell, of_stream = module_bytes(net, protocol.batch_size, LAB_DIM)
        of_cell += own_images * protocol.train_size * LAB_DIM**2
        return affordable_cells(of_cell, memory, shared=STREAMS * of_stream)
    sample = PackImages(evaluation_images("val").pixels, form.convolutions, torch.device("cpu"))
    of_cell = cell_bytes(form, sample, protocol.batch_size, DTYPE)
    of_cell += own_images * table_bytes(sample, protocol.train_size)
    return affordable_cells(of_cell, memory)
