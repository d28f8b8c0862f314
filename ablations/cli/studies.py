"""Verbs that look at what there is: `list`, `report`, `export` and `env`. None of them trains anything."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated

import typer

from ablations.cli.common import (
    EXIT_USAGE,
    FormatOption,
    MaxPredictions,
    OtherResults,
    ResultsDir,
    StudyArgument,
    command_line,
    require_study,
    tell,
    two_sides,
    usage_errors,
)
from ablations.comparison.layout import Format, draw
from ablations.records import MAX_PREDICTIONS, RESULTS_DIR


def list_studies(output: FormatOption = "table", results_dir: ResultsDir = RESULTS_DIR) -> None:
    """List the shipped studies and those that have results, with their state. --results may be an archive.

    `history STUDY` tells its runs, and what the last of them moved.
    """
    from ablations.records.archive import unpacked

    with usage_errors(), unpacked(results_dir) as folder:
        _list(output, folder)


def _list(output: Format, results_dir: Path) -> None:
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
    from ablations.records.folder import find_study
    from ablations.records.history import runs_of
    from ablations.records.state import study_state

    study = find_study(name, results_dir)
    state = study_state(study, results_dir)
    return {
        "study": name,
        "title": state.study.title,
        "variants": len(state.study.variants),
        "cells": state.cells,
        "done": state.done,
        "failed": state.failed,
        "stale": state.stale,
        "to do": state.todo,
        "runs": len(runs_of(study, results_dir)),
        "exports": "yes" if state.exports else "no",
    }


def export(
    study: StudyArgument,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="Default: beside the database.")
    ] = None,
    max_predictions: MaxPredictions = MAX_PREDICTIONS,
    results_dir: ResultsDir = RESULTS_DIR,
) -> None:
    """Write a study's results as tidy Parquet and CSV files; those of an archive to a folder of their own."""
    with usage_errors():
        require_study(study, results_dir)
        from ablations.records.archive import located
        from ablations.records.loading import load_results
        from ablations.report.outputs import write_exports

        with located(study, results_dir) as (name, folder):
            results = load_results(name, folder)
            target = to or results_dir / results.study.name
            _require_room(study, target, "--to DIR")
            paths = write_exports(results, target, max_predictions)
    for path in paths:
        print(path)


def report(
    study: Annotated[
        str | None,
        typer.Argument(metavar="[STUDY]", help="A study's name; without it, the page over all."),
    ] = None,
    other: Annotated[
        str | None,
        typer.Option(
            "--compare",
            metavar="OTHER",
            help="Only the page that sets the study, or STUDY:VARIANT, beside this one.",
        ),
    ] = None,
    other_results: OtherResults = None,
    max_predictions: MaxPredictions = MAX_PREDICTIONS,
    results_dir: ResultsDir = RESULTS_DIR,
) -> None:
    """Write tables, figures and the HTML report of a study anew; without a study, the page over all of them.

    Nothing is trained. Of an archive they are written to --results, where the study is not to have results yet.
    """
    if other is not None or other_results is not None:
        with usage_errors():
            if study is None:
                raise ValueError("--compare needs a study to set beside the other")
            print(_report_two(study, other or study, results_dir, other_results))
        return
    if study is None:
        from ablations.report.index import write_index

        with usage_errors(values=False):
            print(write_index(results_dir))
        return
    with usage_errors():
        require_study(study, results_dir)
    from ablations.records.archive import located
    from ablations.records.loading import load_results
    from ablations.report.outputs import write_outputs

    with usage_errors(), located(study, results_dir) as (name, folder):
        results = load_results(name, folder)
        directory = results_dir / results.study.name
        _require_room(study, directory, "--results DIR")
        with usage_errors(values=False):
            outputs = write_outputs(results, directory, command_line(), max_predictions)
    for path in outputs.paths:
        print(path)


def _require_room(study: str, directory: Path, option: str) -> None:
    """Raise StoreError if what is made of an archive would take the place of a study's own results."""
    from ablations.records.archive import SUFFIX
    from ablations.records.database import StoreError
    from ablations.records.folder import CELLS_FILE, STUDY_FILE

    held = [name for name in (STUDY_FILE, CELLS_FILE) if (directory / name).exists()]
    if Path(study).suffix == SUFFIX and held:
        raise StoreError(
            f"{directory}: holds results already; give those of {study} a folder of their own: {option}"
        )


def _report_two(study: str, other: str, results_dir: Path, other_results: Path | None) -> Path:
    from ablations.comparison.two_runs import compare_runs
    from ablations.report.two_runs import write_two_runs

    one, two = two_sides(study, other, results_dir, other_results)
    words = re.sub(r"[^\w.=+-]+", "-", f"{two.label}-{two.variant or ''}").strip("-")
    path = results_dir / one.results.study.name / f"against-{words}.html"
    return write_two_runs(compare_runs(one, two), two.results, path, command=command_line())


def env() -> None:
    """Print versions, hardware and the commit as JSON: what is recorded beside every cell."""
    from ablations.execution.provenance import provenance
    from linefit.engines import resolve_device

    print(json.dumps({**provenance(), "device": str(resolve_device("auto"))}, indent=2))
