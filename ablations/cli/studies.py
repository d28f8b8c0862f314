"""Verbs that look at what there is: `list`, `report`, `export` and `env`. None of them trains anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ablations.cli.common import (
    EXIT_USAGE,
    FormatOption,
    ResultsDir,
    StudyArgument,
    command_line,
    require_study,
    tell,
    usage_errors,
)
from ablations.comparison.layout import draw
from ablations.records import RESULTS_DIR


def list_studies(output: FormatOption = "table", results_dir: ResultsDir = RESULTS_DIR) -> None:
    """List the shipped studies and those that have results, with their state."""
    from ablations.records.database import StoreError
    from ablations.records.folder import study_names
    from ablations.study.study import StudyError

    rows, unusable = [], False
    for name in study_names(results_dir):
        try:
            rows.append(_state(name, results_dir))
        except (StudyError, StoreError) as error:  # one study that is broken hides no other
            tell(str(error))
            unusable = True
    print(draw(rows, output))
    if unusable:
        raise typer.Exit(EXIT_USAGE)


def _state(name: str, results_dir: Path) -> dict[str, str | int]:
    """A study's row of `list`."""
    from ablations.records.folder import find_study, has_exports, known_statuses, stale_keys

    study = find_study(name, results_dir)
    statuses = known_statuses(name, results_dir)
    cells = study.cells()
    found = [statuses.get(cell.key) for cell in cells]
    done, missing = found.count("ok"), found.count(None)
    old = stale_keys(name, results_dir)
    stale = sum(cell.key in old for cell, status in zip(cells, found, strict=True) if not status)
    return {
        "study": name,
        "title": study.title,
        "variants": len(study.variants),
        "cells": len(found),
        "done": done,
        "failed": len(found) - done - missing,
        "stale": stale,
        "to do": missing - stale,
        "exports": "yes" if has_exports(name, results_dir) else "no",
    }


def export(
    study: StudyArgument,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="Default: beside the database.")
    ] = None,
    results_dir: ResultsDir = RESULTS_DIR,
) -> None:
    """Write a study's results as tidy Parquet and CSV files."""
    with usage_errors():
        require_study(study, results_dir)
        from ablations.records import exports
        from ablations.records.loading import load_results

        results = load_results(study, results_dir)
        paths = exports.write(results, to or results_dir / results.study.name)
    for path in paths:
        print(path)


def report(study: StudyArgument, results_dir: ResultsDir = RESULTS_DIR) -> None:
    """Write tables, figures and the HTML report of a study anew, without training anything."""
    with usage_errors():
        require_study(study, results_dir)
        from ablations.records.loading import load_results
        from ablations.report.outputs import write_outputs

        results = load_results(study, results_dir)
    with usage_errors(values=False):
        outputs = write_outputs(results, results_dir / results.study.name, command_line())
    for path in outputs.paths:
        print(path)


def env() -> None:
    """Print versions, hardware and the commit as JSON: what is recorded beside every cell."""
    from ablations.execution.provenance import provenance
    from linefit.engines import resolve_device

    print(json.dumps({**provenance(), "device": str(resolve_device("auto"))}, indent=2))
