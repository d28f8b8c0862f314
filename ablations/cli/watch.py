"""`python -m ablations watch STUDY`: a live view of a study, which reads and never writes."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ablations.cli.common import (
    ResultsDir,
    StudyArgument,
    require_folder,
    require_study,
    results_option,
    usage_errors,
)
from ablations.records import RESULTS_DIR

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from rich.console import RenderableType
    from rich.table import Table

    from ablations.comparison.so_far import SoFar

BLOCKS = "▁▂▃▄▅▆▇█"
BAR = 60  # characters of the bar
CURVE = 24  # characters of a curve
PIPE_WIDTH = 120  # columns where there is no terminal
FEWEST_ROWS = 3
AROUND = 9  # lines of a frame around its rows


def watch(
    study: StudyArgument,
    once: Annotated[
        bool, typer.Option("--once", help="Print one frame; so it is where there is no terminal.")
    ] = False,
    every: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.2, help="Between two looks.")
    ] = 2.0,
    split: Annotated[
        str | None, typer.Option(help="Evaluation split; by default the one with fewest images.")
    ] = None,
    results_dir: ResultsDir = RESULTS_DIR,
) -> None:
    """Watch a study while it runs, here or elsewhere: cells, pace, curves and intervals so far. Nothing is written.

    Ends when all cells are there, or with Ctrl-C; a driver may end and another begin meanwhile.
    """
    with usage_errors():
        require_folder(study)
        require_study(study, results_dir)
        from rich.console import Console
        from rich.live import Live

        from ablations.comparison.so_far import Watch
        from ablations.records.database import StoreError
        from ablations.records.folder import find_study

        watching = Watch(find_study(study, results_dir), results_dir, split)
        now = watching.look()
        screen = sys.stdout.isatty()
        console = Console(width=None if screen else PIPE_WIDTH, highlight=False)
        option = results_option(results_dir)
        if once or not screen:
            console.print(frame(now, rows=len(now.variants), option=option))
            return
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while now.todo and not now.exported:
                rows = max(console.height - AROUND - len(now.failures), FEWEST_ROWS)
                live.update(frame(now, rows=rows, option=option), refresh=True)
                time.sleep(every)
                try:
                    now = watching.look()
                except StoreError:  # such as of a file system that lost a lock: the next look tells
                    continue
    except KeyboardInterrupt:
        pass
    rows = max(console.height - AROUND - len(now.failures), FEWEST_ROWS)
    console.print(frame(now, rows=rows, option=option))


def frame(now: SoFar, *, rows: int, option: str = "") -> RenderableType:
    """What is shown of one moment, with so many rows of variants at most. `option`: where results are, to be typed."""
    from rich.console import Group
    from rich.markup import escape
    from rich.text import Text

    name = now.study.name
    parts: list[RenderableType] = [
        Text.assemble((name, "bold"), "  ", now.study.title),
        _bar(now),
        Text(_counts(now)),
        Text(_driver(now), style="dim"),
        Text(""),
    ]
    if now.variants:
        parts.append(_table(now, rows))
        left_out = len(now.variants) - rows
        if left_out > 0:
            parts.append(Text(f"and {left_out:,} more", style="dim"))
    parts += [Text.from_markup(f"[red]{escape(_printable(text))}[/red]") for text in now.failures]
    if now.exported:
        again = f"python -m ablations compare {name}{option}"
        parts.append(
            Text(f"There is no database here, but exports of {now.exported} cells: {again}")
        )
    elif not now.todo:
        again = f"python -m ablations compare {name}{option}"
        parts.append(Text(f"All cells are there. Next: {again}"))
    return Group(*parts)


def _bar(now: SoFar) -> RenderableType:
    """All cells as a bar: those that are ok, that failed, that run and that are to do."""
    from rich.text import Text

    total = max(now.cells, 1)
    ends = [
        round(BAR * count / total)
        for count in (now.done, now.done + now.failed, now.done + now.failed + len(now.running))
    ]
    widths = [ends[0], ends[1] - ends[0], ends[2] - ends[1], BAR - ends[2]]
    blocks = (("█", "green"), ("█", "red"), ("▓", "yellow"), ("░", "dim"))
    return Text.assemble(
        *((sign * width, style) for (sign, style), width in zip(blocks, widths, strict=True))
    )


def sparkline(values: Sequence[float] | npt.NDArray[np.float64], low: float, high: float) -> str:
    """Positive numbers as a line of blocks from `low` to `high` on a logarithmic scale; a blank where there is none."""
    import numpy as np

    count = min(len(values), CURVE)
    if not count:
        return ""
    # of so many epochs the last of each group is shown
    ends = np.ceil(np.arange(1, count + 1) * len(values) / count).astype(int) - 1
    shown = np.asarray(values, dtype=np.float64)[ends]
    span = np.log(high / low) if high > low else 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        heights = np.clip(np.log(shown / low) / span, 0, 1)
    return "".join(
        " " if np.isnan(height) else BLOCKS[round(height * (len(BLOCKS) - 1))] for height in heights
    )


def _table(now: SoFar, rows: int) -> Table:
    import numpy as np
    from rich.table import Table

    from ablations.comparison.spelling import number, with_interval

    curves = [variant.curve for variant in now.variants[:rows] if len(variant.curve)]
    positive = np.concatenate([c[np.isfinite(c) & (c > 0)] for c in curves] or [np.ones(1)])
    low, high = (positive.min(), positive.max()) if len(positive) else (1.0, 1.0)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("variant", overflow="ellipsis", no_wrap=True)
    table.add_column("ok", justify="right", no_wrap=True)
    table.add_column(
        f"MSE on {now.split} [95% CI]".replace("[", r"\["), justify="right", no_wrap=True
    )
    table.add_column("ratio to least squares", justify="right", no_wrap=True)
    table.add_column(f"val MSE, {number(low)} to {number(high)}", no_wrap=True)
    for one in now.variants[:rows]:
        table.add_row(
            _printable(one.name).replace("[", r"\["),
            f"{one.ok}/{one.seeds}" + (f", {one.failed} failed" if one.failed else ""),
            with_interval(one.mse, one.low, one.high).replace("[", r"\["),
            number(one.ratio),
            sparkline(one.curve, low, high),
        )
    return table


def _counts(now: SoFar) -> str:
    """`12 of 15 cells ok, 1 failed, 2 running, ...` with the pace and what is left."""
    from ablations.execution.cost import duration

    parts = [f"{now.done:,} of {now.cells:,} cells ok"]
    if now.failed:
        parts.append(f"{now.failed:,} failed")
    if now.running:
        parts.append(f"{len(now.running):,} running")
    waiting = now.todo - len(now.running)
    if waiting:
        parts.append(f"{waiting:,} to do")
    text = ", ".join(parts)
    if now.per_hour == now.per_hour:
        text += f"; {now.per_hour:,.0f} cells an hour"
    if now.seconds_left == now.seconds_left and now.todo:
        text += f", {duration(now.seconds_left)} left"
    return text


def _driver(now: SoFar) -> str:
    if now.driver is None:
        return "No driver is at work."
    flying = [f"{name} ({share:.0%})" for name, share in list(now.running.items())[:4]]
    since = now.driver.since.strftime("%H:%M")
    who = f"Process {now.driver.pid} on {now.driver.host} since {since}"
    return _printable(f"{who}: {', '.join(flying)}" if flying else who)


def _printable(text: str) -> str:
    """Stored texts may hold anything, and a terminal obeys control characters."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
