"""Where results lie: `results/<study>/` holds the study's file, its database, exports and what is drawn from them.

What can be known of a study without reading its tables is known here, at no cost in imports.
"""

from __future__ import annotations

import csv
from collections.abc import Collection
from pathlib import Path

from ablations.records.database import StoreError, database_path
from ablations.records.store import Store
from ablations.study.reader import load_study, parse_study, read_text, shipped_studies
from ablations.study.study import Study

STUDY_FILE = "study.toml"
CELLS_FILE = "cells.csv"
PREDICTIONS_FILE = "predictions.parquet"
JOBS_FOLDER = "slurm"  # of jobs on a cluster, until their results are in the database


def find_study(study: str | Path, results_dir: Path) -> Study:
    """A study by the name of its results, as it was when it ran; else a shipped one or a file."""
    kept = results_dir / str(study) / STUDY_FILE
    if kept.is_file():
        text = read_text(kept)
        return parse_study(text, name=str(study), source=str(kept), folder=kept.parent)
    return load_study(study)


def study_names(results_dir: Path) -> list[str]:
    """The shipped studies, then those that have results besides."""
    shipped = [path.stem for path in shipped_studies()]
    kept = (path.parent.name for path in results_dir.glob(f"*/{STUDY_FILE}"))
    return [*shipped, *sorted(name for name in kept if name not in shipped)]


def exported_rows(study: str, results_dir: Path) -> list[dict[str, str]]:
    """Rows of the exported table of cells, as text; none where there are no exports."""
    exported = results_dir / study / CELLS_FILE
    if not has_exports(study, results_dir) or not exported.is_file():
        return []
    with exported.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def has_exports(study: str, results_dir: Path) -> bool:
    """Whether a study's predictions lie there as files."""
    return (results_dir / study / PREDICTIONS_FILE).is_file()


def require_no_loss(directory: Path, cells: Collection[tuple[str, int]]) -> None:
    """Raise StoreError if exports of these cells (variant, seed) would replace exports that hold more.

    What the database beside them holds is not lost, nor is a cell that is there again with other numbers.
    """
    if not (directory / CELLS_FILE).is_file():
        return
    with Store.read(database_path(directory.parent, directory.name)) as store:
        safe = set() if store is None else store.statuses().keys()
    with (directory / CELLS_FILE).open(encoding="utf-8", newline="") as file:
        kept = [row for row in csv.DictReader(file) if row["status"] == "ok"]
    lost = [row for row in kept if row["key"] not in safe]
    lost = [row for row in lost if (row["variant"], int(row["seed"])) not in cells]
    if lost:
        raise StoreError(
            f"{directory}: holds results of {len(kept)} cells, of which {len(lost)} are nowhere else and would be lost;"
            " they are kept. Use another folder: --results DIR, or --to DIR for an export"
        )


def require_predictions_kept(directory: Path, left_out: Collection[str]) -> None:
    """Raise StoreError if exports without predictions on these splits would replace the only ones that hold them."""
    path = directory / PREDICTIONS_FILE
    if not left_out or not path.is_file():
        return
    import pandas as pd

    held = pd.read_parquet(path, columns=["split", "kind"])
    held = held[held["kind"].eq("variant") & held["split"].isin(left_out)]
    with Store.read(database_path(directory.parent, directory.name)) as store:
        safe = store is not None and bool(store.statuses())
    if len(held) and not safe:
        splits = ", ".join(sorted(set(held["split"])))
        raise StoreError(
            f"{directory}: the predictions on {splits} are nowhere else and would be lost; they are kept."
            " Write files without them into another folder: export --to DIR, or with them: --max-predictions inf"
        )
