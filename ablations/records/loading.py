"""From the database of a study, or from its committed exports, to `StudyResults`. Nothing here writes a file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ablations.records import RESULTS_DIR, exports
from ablations.records.archive import located
from ablations.records.database import database_path
from ablations.records.folder import find_study, has_exports
from ablations.records.results import (
    CELL_TYPES,
    CURVE_TYPES,
    SplitResults,
    StudyResults,
    VariantResults,
    typed,
)
from ablations.records.store import Store
from ablations.records.yardsticks import stored_yardsticks
from ablations.study.outcome import Outcome
from ablations.study.problems import Problem
from ablations.study.study import Cell, Study, StudyError, Variant
from linefit.images import SPLITS, of_lab_prior
from linefit.splits import evaluation_images


def load_results(study: str | Path, results_dir: str | Path = RESULTS_DIR) -> StudyResults:
    """The results of a study, from its database or, where there is none, from its exports.

    `study` may be an archive. Raises StudyError if the study is unknown or nothing of it has been run.
    """
    with located(study, Path(results_dir)) as (name, folder):
        return _load(name, folder)


def _load(study: str | Path, results_dir: Path) -> StudyResults:
    found = find_study(study, results_dir)
    directory = results_dir / found.name
    results = None
    with Store.read(database_path(results_dir, found.name)) as store:
        if store is not None and store.statuses():
            results = results_from_store(found, store)
        elif has_exports(found.name, results_dir):
            results = exports.read(found, directory)
    # What is there may all be of an earlier version of the study's file.
    if results is not None and len(results.cells):
        return results
    legal = f"a study that has been run; run it with: python -m ablations.run {study}"
    raise StudyError(str(directory), [Problem("", None, legal)])


def results_from_store(study: Study, store: Store) -> StudyResults:
    """Everything the database holds of the study's variants, whatever their seeds."""
    outcomes: list[tuple[Cell, Outcome]] = []
    # A run with --seeds may have gone beyond the study's own seeds: what was trained is shown.
    for cell in study.cells(store.seeds()):
        outcome = store.outcome(cell.key)
        if outcome is not None:
            outcomes.append((cell, outcome))
    variants = [v for v in study.variants if any(cell.variant is v for cell, _ in outcomes)]
    splits = {}
    for split in study.splits:
        params = evaluation_images(split).params
        rows = tuple(
            _variant_results(v, split, len(params), outcomes)
            for v in variants
            if v.not_applicable(split) is None
        )
        yardsticks = stored_yardsticks(study, store, split)
        splits[split] = SplitResults(
            split,
            params,
            rows,
            yardsticks,
            of_lab_prior(split),
            store.looks(),
            SPLITS[split].dim,
        )
    return StudyResults(
        study=study,
        cells=typed(pd.DataFrame([_cell_row(*pair) for pair in outcomes]), CELL_TYPES),
        curves=_curves_frame(outcomes),
        splits=splits,
        provenance=merge_provenance(store.provenance(cell.key for cell, _ in outcomes)),
        looks=store.looks(),
    )


def merge_provenance(records: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """One record for all cells: where they differ, the values are listed, oldest first."""
    records = list(records)
    merged: dict[str, Any] = {}
    for key in dict.fromkeys(key for record in records for key in record):
        values: list[Any] = []
        for record in records:
            if record.get(key) not in values:
                values.append(record.get(key))
        merged[key] = values[0] if len(values) == 1 else values
    return merged


def _variant_results(
    variant: Variant, split: str, size: int, outcomes: list[tuple[Cell, Outcome]]
) -> VariantResults:
    own = [(cell.seed, outcome) for cell, outcome in outcomes if cell.variant is variant]
    failed = np.full((size, 2), np.nan, dtype=np.float32)
    return VariantResults(
        variant.name,
        dict(variant.levels),
        np.array([seed for seed, _ in own], dtype=np.int64),
        tuple(outcome.status for _, outcome in own),
        np.stack([outcome.predictions.get(split, failed) for _, outcome in own]),
    )


def _cell_row(cell: Cell, outcome: Outcome) -> dict[str, Any]:
    return {
        **cell.variant.levels,
        "key": cell.key,
        "variant": cell.variant.name,
        "seed": cell.seed,
        "status": outcome.status,
        "message": outcome.message,
        "parameters": outcome.parameters,
        "steps": outcome.steps,
        "seconds": outcome.seconds,
        "peak_memory_mib": outcome.peak_memory_mib,
        "device": outcome.device,
        "threads": outcome.threads,
        "engine_used": outcome.engine,
        "epochs_done": len(outcome.train_loss),
        "train_loss": outcome.train_loss[-1] if len(outcome.train_loss) else np.nan,
        "val_mse": outcome.val_mse[-1] if len(outcome.val_mse) else np.nan,
    }


def _curves_frame(outcomes: list[tuple[Cell, Outcome]]) -> pd.DataFrame:
    frames = [
        pd.DataFrame(
            {
                "variant": cell.variant.name,
                "seed": cell.seed,
                "epoch": np.arange(1, len(outcome.train_loss) + 1),
                "train_loss": outcome.train_loss,
                "val_mse": outcome.val_mse,
            }
        )
        for cell, outcome in outcomes
        if len(outcome.train_loss)
    ]
    rows = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
    return typed(rows, CURVE_TYPES)
