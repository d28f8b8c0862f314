"""Verify a study's database and exports: that they are whole, and that what is stored twice says the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ablations.records import exports
from ablations.records.database import database_path
from ablations.records.folder import find_study, has_exports
from ablations.records.results import LeftOut, StudyResults
from ablations.records.store import Store
from ablations.study.study import Study, configuration_key
from linefit.other_sizes import size_problem
from linefit.splits import evaluation_images


def problems(name: str, results_dir: Path) -> Iterator[str]:
    """Everything that is wrong with a study's results, one sentence each. Raises StudyError and StoreError."""
    study = find_study(name, results_dir)
    exported = None
    if has_exports(study.name, results_dir):
        exported = exports.read(study, results_dir / study.name)
    with Store.read(database_path(results_dir, study.name)) as store:
        if store is None:
            if exported is None:
                yield f"{results_dir / study.name}: holds neither a database nor exports"
            return
        yield from store.damage()
        for key in store.statuses():
            yield from _cell_problems(store, key)
        if exported is not None:
            yield from _differences(study, store, exported)


def _cell_problems(store: Store, key: str) -> Iterator[str]:
    record = store.record(key)
    assert record is not None
    configuration, outcome = record.configuration, record.outcome
    if configuration_key(configuration) != key:
        yield f"{key}: is not the key of its configuration"
    if outcome.status != "ok":
        return
    splits: dict[str, dict[str, Any]] = configuration["evaluation"]
    for split in sorted(splits.keys() | outcome.predictions.keys()):
        if "dim" in splits.get(split, {}) and size_problem(configuration):
            continue
        predictions, facts = outcome.predictions.get(split), splits.get(split)
        if predictions is None or facts is None:
            yield f"{key}: predictions on {split}: {'not asked for' if facts is None else 'missing'}"
        elif len(predictions) != facts["size"]:
            yield f"{key}: {len(predictions)} predictions on {split}, which has {facts['size']} images"
        elif not np.isfinite(predictions).all():
            yield f"{key}: predictions on {split} are not finite, but the cell counts as ok"
    if len(outcome.train_loss) != configuration["epochs"]:
        yield f"{key}: {len(outcome.train_loss)} epochs of losses, {configuration['epochs']} trained"


def _differences(study: Study, store: Store, exported: StudyResults) -> Iterator[str]:
    """Where exports differ from the database that they were made from."""
    keys = {(cell.variant.name, cell.seed): cell.key for cell in study.cells(store.seeds())}
    for split in exported.splits.values():
        for variant in split.variants:
            for k, seed in enumerate(variant.seeds):
                outcome = store.outcome(keys.get((variant.name, int(seed)), ""))
                if outcome is None:  # exports may hold more, such as those of another machine
                    continue
                name = f"{variant.name} seed {seed}"
                if outcome.status != variant.status[k]:
                    yield f"{name}: {variant.status[k]} in the exports, {outcome.status} in the database"
                elif outcome.status == "ok" and not np.array_equal(
                    variant.predictions[k], outcome.predictions.get(split.name, np.empty(0))
                ):
                    yield f"{name}: its exported predictions on {split.name} are not the stored ones"
    for left_out in exported.left_out.values():
        yield from _differing_errors(left_out, keys, store)


def _differing_errors(
    left_out: LeftOut, keys: Mapping[tuple[str, int], str], store: Store
) -> Iterator[str]:
    """Where the MSE that stands for predictions is not theirs."""
    truth = evaluation_images(left_out.name).params.astype(np.float64)
    rows = left_out.errors[
        left_out.errors["kind"].eq("variant") & left_out.errors["status"].eq("ok")
    ]
    for variant, seed, exported in zip(rows["estimator"], rows["seed"], rows["mse"], strict=True):
        outcome = store.outcome(keys.get((variant, int(seed)), ""))
        predictions = None if outcome is None else outcome.predictions.get(left_out.name)
        if predictions is not None and not np.isclose(
            exported, np.square(predictions - truth).mean()
        ):
            yield (
                f"{variant} seed {seed}: its exported MSE on {left_out.name} is not that of the stored predictions"
            )
