"""The verb `levels`: what a study may name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ablations.cli.common import FormatOption, usage_errors
from ablations.comparison.layout import draw

if TYPE_CHECKING:
    from ablations.study.catalogue import Entry


def levels(
    output: FormatOption = "table",
    engines: Annotated[
        bool, typer.Option("--engines", help="Try what trains a net of each level.")
    ] = False,
    figure: Annotated[
        Path | None,
        typer.Option(
            "--figure", metavar="FILE", help="Draw encodings and poolings as PNG and SVG."
        ),
    ] = None,
) -> None:
    """List the levels of a net's factors, or draw them; levels of your own are named file.py:name in a study."""
    from ablations.study.catalogue import catalogue

    if figure is None:
        print(draw([_row(entry, engines) for entry in catalogue()], output))
        return
    with usage_errors():
        from ablations.report.plots.catalogue import plot_levels
        from ablations.report.plots.style import save

        figure.parent.mkdir(parents=True, exist_ok=True)
        for path in save(plot_levels(), figure.with_suffix("")):
            print(path)


def _row(entry: Entry, engines: bool) -> dict[str, str]:
    row = {"factor": entry.factor, "level": entry.level, "parameters": entry.parameters}
    if engines:
        from ablations.execution.trial import engine_of
        from ablations.study.catalogue import example

        row["trains on"] = engine_of(example(entry.factor, entry.level))
    return {**row, "what it is": entry.summary}
