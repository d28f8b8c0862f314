"""Trials of nets: of every one that has a level of the user's, before anything is trained, and of what trains a net."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping

from ablations.study.problems import Problem
from ablations.study.study import Cell, StudyError, Variant
from ablations.study.users import users_levels
from linefit.images import LAB_DIM
from linefit.legal import Value

LEGAL = f"a net from images (N, 1, {LAB_DIM}, {LAB_DIM}) to lines (N, 2)"


def try_levels(source: str, cells: Iterable[Cell]) -> None:
    """Build each net that has a level of the user's and show it two images.

    Raises StudyError, with all problems, where that fails or gives no lines; `source` is what it calls the study.
    """
    variants = {cell.variant.name: cell.variant for cell in cells if users_levels(cell.variant)}
    problems = [problem for variant in variants.values() for problem in _trial(variant)]
    if problems:
        raise StudyError(source, list(dict.fromkeys(problems)))


def engine_of(levels: Mapping[str, Value]) -> str:
    """`delta maps`, or `dense` with the reason: what trains a net of these levels."""
    import torch

    from linefit.architectures import build
    from linefit.engines import engine_for
    from linefit.images import lab_images

    net = build(**levels, seed=0)  # type: ignore[arg-type]
    pixels, device = lab_images(1).pixels, torch.device("cpu")
    engine, reason = engine_for(net, pixels, "auto", torch.float32, device)
    return (
        "delta maps" if engine != "dense" else f"dense ({reason.removeprefix('trains densely: ')})"
    )


def _trial(variant: Variant) -> list[Problem]:
    import torch

    from linefit.architectures import build

    images = torch.zeros(2, 1, LAB_DIM, LAB_DIM)
    images[0, 0, 5, 7] = images[1, 0, 9:12, 3] = 1
    levels = users_levels(variant)
    key, given = ", ".join(levels), ", ".join(levels.values())
    try:
        net = build(**variant.net, seed=0)
        lines = net(images)
    except Exception as error:  # whatever a user's code may raise
        return [Problem(key, given, f"{LEGAL}; {_told(error)}")]
    found = None
    if not isinstance(lines, torch.Tensor):
        found = type(lines).__name__
    elif lines.shape != (2, 2):
        found = f"{tuple(lines.shape)} for {tuple(images.shape)}"
    elif not lines.requires_grad:
        found = "lines that depend on no parameter"
    return [Problem(key, given, f"{LEGAL}; it gives {found}")] if found else []


def _told(error: Exception) -> str:
    """An error with the place in which it arose."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({frame.filename}, line {frame.lineno})"
