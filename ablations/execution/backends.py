"""The back ends by their names. Each takes cells and yields what happens to them.

What a back end needs beyond the package is imported when it is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence

from ablations.execution.events import Finished, Progress
from ablations.execution.options import Options
from ablations.execution.workers import run_cells
from ablations.study.study import Cell

Events = Generator[Progress | Finished, None, None]
# What cells are expected to take, in seconds by their keys, goes with them.
Backend = Callable[[Sequence[Cell], Mapping[str, float], Options], Events]


def local(cells: Sequence[Cell], seconds: Mapping[str, float], options: Options) -> Events:  # noqa: ARG001
    """Worker processes of this machine."""
    device = options.resolved_device()
    return run_cells(
        cells,
        device=device,
        workers=min(options.resolved_workers(), max(len(cells), 1)),
        threads=options.threads,
        timeout=options.timeout,
        pack=options.pack if device != "cpu" else options.pack or 1,
    )


def ray(cells: Sequence[Cell], seconds: Mapping[str, float], options: Options) -> Events:  # noqa: ARG001
    """Actors on a Ray cluster."""
    from ablations.execution.ray_actors import run_cells_on_ray

    return run_cells_on_ray(cells, options)


BACKENDS: Mapping[str, Backend] = {"local": local, "ray": ray}
