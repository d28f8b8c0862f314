"""What a back end is: it takes cells and yields what happens to them. Those that need nothing of the database.

What a back end needs beyond the package is imported when it is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path

from ablations.execution.events import Finished, Progress
from ablations.execution.options import Options
from ablations.execution.workers import run_cells
from ablations.study.study import Cell

Events = Generator[Progress | Finished, None, None]
# With the cells goes what they are expected to take, in seconds by their keys, and the folder of the study's results.
Backend = Callable[[Sequence[Cell], Mapping[str, float], Options, Path], Events]


def local(
    cells: Sequence[Cell],
    seconds: Mapping[str, float],  # noqa: ARG001
    options: Options,
    directory: Path,  # noqa: ARG001
) -> Events:
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


def ray(
    cells: Sequence[Cell],
    seconds: Mapping[str, float],  # noqa: ARG001
    options: Options,
    directory: Path,  # noqa: ARG001
) -> Events:
    """Actors on a Ray cluster."""
    from ablations.execution.ray_actors import run_cells_on_ray

    return run_cells_on_ray(cells, options)
