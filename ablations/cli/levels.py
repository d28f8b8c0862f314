"""The verb `levels`: what a study may name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ablations.cli.common import FormatOption, usage_errors
from ablations.comparison.layout import draw


def levels(
    output: FormatOption = "table",
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
        rows = [
            {
                "factor": entry.factor,
                "level": entry.level,
                "parameters": entry.parameters,
                "what it is": entry.summary,
            }
            for entry in catalogue()
        ]
        print(draw(rows, output))
        return
    with usage_errors():
        from ablations.report.plots.catalogue import plot_levels
        from ablations.report.plots.style import save

        figure.parent.mkdir(parents=True, exist_ok=True)
        for path in save(plot_levels(), figure.with_suffix("")):
            print(path)
