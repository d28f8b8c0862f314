"""`python -m ablations history STUDY`: the runs that made a study, and what the last of them moved."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ablations.cli.common import (
    FormatOption,
    ResultsDir,
    StudyArgument,
    require_study,
    usage_errors,
)
from ablations.comparison.layout import comment, draw
from ablations.records import RESULTS_DIR

if TYPE_CHECKING:
    from ablations.comparison.history import Moved
    from ablations.records.history import Run

COMMIT_SHOWN = 12  # characters
HOUR = 3600


def history(
    study: StudyArgument,
    since_last: Annotated[
        bool, typer.Option("--since-last", help="Only what the last run moved.")
    ] = False,
    split: Annotated[
        str | None, typer.Option(help="Evaluation split; by default the one with most images.")
    ] = None,
    output: FormatOption = "table",
    results_dir: ResultsDir = RESULTS_DIR,
) -> None:
    """List a study's runs: when, by which commit, on what, which cells they added; and what the last one moved.

    A run is what was trained with the same code on the same machine without a pause of 5 minutes. The seeds that the
    last one added are tested against the earlier ones of the same variant. `csv` holds one of the two tables.
    """
    with usage_errors():
        require_study(study, results_dir)
        from ablations.records.archive import located
        from ablations.records.folder import find_study
        from ablations.records.history import runs_of

        with located(study, results_dir) as (name, folder):
            found = find_study(name, folder)
            runs = runs_of(found, folder)
        if not runs:
            raise ValueError(f"{study}: nothing of it has been trained yet")
        rows = list(rows_of(runs))
        wanted = since_last or output != "csv"
        change = _moved(study, results_dir, runs, split) if wanted and len(runs) > 1 else None
        if since_last and change is None:
            raise ValueError(f"{study}: there is one run, and nothing before it")
    if output == "json":
        document: dict[str, Any] = {} if since_last else {"study": found.name, "runs": rows}
        print(
            json.dumps(document | ({"since_last": change.document()} if change else {}), indent=2)
        )
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    if not since_last:
        print(draw([_words(row) for row in rows] if output != "csv" else rows, output))
        if output != "csv" and runs[-1].ended is None:
            print(
                f"\n{comment('From exports, which do not say when: the runs of a database are told apart.', output)}"
            )
    if change is not None:
        print(("" if since_last else "\n") + change.to_text(output, width=width))


def _moved(study: str, results_dir: Path, runs: Sequence[Run], split: str | None) -> Moved | None:
    """What the last run moved; None where all of its cells are of an earlier version of the study or the engine."""
    last = [cell.key for cell in runs[-1].cells if cell.variant is not None]
    if not last:
        return None
    from ablations.comparison.history import moved
    from ablations.records.loading import load_results

    return moved(load_results(study, results_dir), last, split=split)


def rows_of(runs: Sequence[Run]) -> Iterator[dict[str, Any]]:
    """A row a run, as numbers."""
    from ablations.records.history import spelled_seeds

    known: set[str] = set()
    for number, run in enumerate(runs, start=1):
        cells = run.cells
        variants = {cell.variant for cell in cells if cell.variant is not None}
        yield {
            "run": number,
            "ended": run.ended and run.ended.isoformat(sep=" ", timespec="seconds"),
            "commit": _commits(run.provenance.get("git_commit")),
            "local_changes": run.provenance.get("git_dirty"),
            "engine_version": cells[0].engine_version,
            "cells": len(cells),
            "failed": sum(cell.status != "ok" for cell in cells),
            "stale": sum(cell.variant is None for cell in cells),
            "variants": len(variants),
            "new_variants": len(variants - known),
            "seeds": spelled_seeds(cell.seed for cell in cells),
            "wall_seconds": run.wall_seconds,
            "training_seconds": sum(cell.seconds for cell in cells),
            "machine": _machine(run),
        }
        known |= variants


def _words(row: dict[str, Any]) -> dict[str, str]:
    """A row for a person."""
    unknown = "–"
    wall = row["wall_seconds"]
    new = row["new_variants"]
    return {
        "run": str(row["run"]),
        "ended (UTC)": (row["ended"] or unknown)[:16],
        "commit": (row["commit"] or unknown) + (" + changes" if row["local_changes"] else ""),
        "engine": str(row["engine_version"] or unknown),
        "cells": f"{row['cells']:,}"
        + "".join(f", {row[what]:,} {what}" for what in ("failed", "stale") if row[what]),
        "variants": f"{row['variants']:,}"
        + (f", {new:,} new" if 0 < new < row["variants"] else ""),
        "seeds": row["seeds"],
        "wall": unknown if wall is None else duration(wall),
        "training": duration(row["training_seconds"]),
        "machine": row["machine"],
    }


def duration(seconds: float) -> str:
    """`2 h 05 min`, `12 min` or `40 s`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02} min"


def _commits(commit: Any) -> str | None:
    """One or all that were recorded, cut short."""
    found = commit if isinstance(commit, list) else [commit]
    return ", ".join(str(one)[:COMMIT_SHOWN] for one in found if one is not None) or None


def _machine(run: Run) -> str:
    """`AMD EPYC, 2 cores`, or the GPU."""
    devices = sorted({cell.device for cell in run.cells})
    facts = run.provenance
    if any(device.startswith("cuda") for device in devices) and facts.get("gpu"):
        return str(facts["gpu"])
    cores = f", {facts['cores']} cores" if isinstance(facts.get("cores"), int) else ""
    return f"{facts.get('cpu') or 'unknown'}{cores}"
