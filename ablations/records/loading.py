"""From the database of a study, or from its committed exports, to `Results`. Nothing here writes a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ablations.execution.cells import evaluation_images, training_images
from ablations.records import exports
from ablations.records.results import Results, SplitResults, VariantResults
from ablations.records.store import Store, database_path
from ablations.study.outcome import Outcome
from ablations.study.problems import Problem
from ablations.study.reader import load_study, parse_study
from ablations.study.study import ENGINE_VERSION, Cell, Study, StudyError, Variant
from linefit.images import SPLITS
from linefit.yardsticks import YARDSTICKS


def find_study(study: str | Path, results_dir: Path) -> Study:
    """A study by the name of its results, as it was when it ran; else a shipped one or a file."""
    kept = results_dir / str(study) / exports.STUDY_FILE
    if kept.is_file():
        return parse_study(kept.read_text(encoding="utf-8"), name=str(study), source=str(kept))
    return load_study(study)


def load_results(study: str | Path, results_dir: str | Path = Path("results")) -> Results:
    """The results of a study, from its database or, where there is none, from its exports.

    Raises StudyError if the study is unknown or nothing of it has been run.
    """
    results_dir = Path(results_dir)
    found = find_study(study, results_dir)
    directory = results_dir / found.name
    results = None
    with Store.read(database_path(results_dir, found.name)) as store:
        if store is not None and store.statuses():
            results = results_from_store(found, store)
        elif (directory / exports.PREDICTIONS_FILE).is_file():
            results = exports.read(found, directory)
    # What is there may all be of an earlier version of the study's file.
    if results is not None and len(results.cells):
        return results
    legal = f"a study that has been run; run it with: python -m ablations.run {study}"
    raise StudyError(str(directory), [Problem("", None, legal)])


def results_from_store(study: Study, store: Store) -> Results:
    """Everything the database holds of the study's variants, whatever their seeds."""
    # A run with --seeds may have gone beyond the study's own seeds: what was trained is shown.
    seeds = sorted(
        {seed for (seed,) in store.connection.execute("SELECT DISTINCT seed FROM cells")}
    )
    outcomes: list[tuple[Cell, Outcome]] = []
    for cell in study.cells(seeds):
        outcome = store.outcome(cell.key)
        if outcome is not None:
            outcomes.append((cell, outcome))
    variants = [v for v in study.variants if any(cell.variant is v for cell, _ in outcomes)]
    splits = {}
    for split in study.splits:
        params = evaluation_images(split).params
        rows = tuple(_variant_results(v, split, len(params), outcomes) for v in variants)
        yardsticks = {
            name: predictions
            if (predictions := store.yardstick(key, name, split)) is not None
            else predict_yardstick(name, study.protocol.train_size, split)
            for key in [yardstick_key(study, split)]
            for name in study.yardsticks
        }
        splits[split] = SplitResults(split, params, rows, yardsticks)
    return Results(
        study=study.name,
        title=study.title,
        factors=study.factors,
        protocol=asdict(study.protocol),
        cells=_cells_frame(outcomes),
        curves=_curves_frame(outcomes),
        splits=splits,
        provenance=merge_provenance(store.provenance(cell.key for cell, _ in outcomes)),
        published={v.name: v.published for v in study.variants if v.published is not None},
        against=study.against,
        margin=study.margin,
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


def yardstick_key(study: Study, split: str) -> str:
    """What a yardstick's predictions depend on: the training split it may be fitted to, and the images."""
    facts = {
        "train_size": study.protocol.train_size,
        "split": asdict(SPLITS[split]),
        "version": ENGINE_VERSION,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def predict_yardstick(name: str, train_size: int, split: str) -> npt.NDArray[np.float64]:
    """Predictions `(M, 2)` of a yardstick on an evaluation split."""
    estimator = YARDSTICKS[name](training_images(train_size))
    return np.asarray(estimator(evaluation_images(split).pixels), dtype=np.float64)


def store_yardsticks(study: Study, store: Store) -> None:
    """Compute and store the yardsticks that the database lacks."""
    for split in study.splits:
        key = yardstick_key(study, split)
        for name in study.yardsticks:
            if store.yardstick(key, name, split) is None:
                store.put_yardstick(
                    key, name, split, predict_yardstick(name, study.protocol.train_size, split)
                )


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


def _cells_frame(outcomes: list[tuple[Cell, Outcome]]) -> pd.DataFrame:
    rows = []
    for cell, outcome in outcomes:
        facts = asdict(
            replace(outcome, train_loss=np.empty(0), val_mse=np.empty(0), predictions={})
        )
        row: dict[str, Any] = {
            "key": cell.key,
            "variant": cell.variant.name,
            **cell.variant.levels,
            "seed": cell.seed,
        }
        row |= {
            name: value
            for name, value in facts.items()
            if name not in ("engine", "train_loss", "val_mse", "predictions")
        }
        # The factor `engine` is what the study asks for.
        row["engine_used"] = outcome.engine
        row["epochs_done"] = len(outcome.train_loss)
        row["train_loss"] = outcome.train_loss[-1] if len(outcome.train_loss) else np.nan
        row["val_mse"] = outcome.val_mse[-1] if len(outcome.val_mse) else np.nan
        rows.append(row)
    return pd.DataFrame(rows)


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
    if not frames:
        types = {"variant": str, "seed": int, "epoch": int, "train_loss": float, "val_mse": float}
        return pd.DataFrame({column: pd.Series(dtype=kind) for column, kind in types.items()})
    return pd.concat(frames, ignore_index=True)
