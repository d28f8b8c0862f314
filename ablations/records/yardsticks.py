"""Predictions of yardsticks on evaluation splits: made once for a database, found again by what they depend on."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import numpy.typing as npt

from ablations.records.store import Store
from ablations.study.problems import Problem
from ablations.study.study import ENGINE_VERSION, Study, StudyError, split_facts
from linefit.definitions import construct, definition, fingerprint
from linefit.images import SPLITS
from linefit.legal import level_parts
from linefit.splits import evaluation_images, training_images
from linefit.yardsticks import YARDSTICKS

Predictions = npt.NDArray[np.float64]


def store_yardsticks(study: Study, store: Store) -> None:
    """Compute and store the yardsticks that the database lacks. Raises StudyError for one that gives no lines."""
    for split in study.splits:
        for name in study.yardsticks:
            key = yardstick_key(study, name, split)
            if store.yardstick(key, name, split) is None:
                store.put_yardstick(key, name, split, predict_yardstick(study, name, split))


def stored_yardsticks(study: Study, store: Store, split: str) -> dict[str, Predictions]:
    """Name -> predictions `(M, 2)` of the study's yardsticks on a split; those that the database lacks are computed."""
    found = {}
    for name in study.yardsticks:
        predictions = store.yardstick(yardstick_key(study, name, split), name, split)
        if predictions is None:
            predictions = predict_yardstick(study, name, split)
        found[name] = predictions
    return found


def yardstick_key(study: Study, name: str, split: str) -> str:
    """What a yardstick's predictions depend on: the training split it may be fitted to, the images, the user's code."""
    reference = study.reference(name)
    region = study.protocol.training_region
    facts = {
        "train_size": study.protocol.train_size,
        **({} if region == "all" else {"training_region": region}),
        "split": split_facts(split),
        "version": ENGINE_VERSION,
        **({"fingerprint": fingerprint(reference)} if reference else {}),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def predict_yardstick(study: Study, name: str, split: str) -> Predictions:
    """Predictions `(M, 2)` of a yardstick on an evaluation split. Raises StudyError where a user's own gives none."""
    protocol, pixels = study.protocol, evaluation_images(split).pixels
    train = training_images(protocol.train_size, protocol.training_region)
    reference = study.reference(name)
    if reference is None:
        return np.asarray(YARDSTICKS[name](train, SPLITS[split].region)(pixels), dtype=np.float64)
    legal = f"lines (N, 2) from pixels (N, dim, dim); {reference}"
    try:
        parameters = definition(reference).read(level_parts(name)[1])
        found = construct(reference, parameters, {"pixels": pixels, "train": train})
        predictions = np.asarray(found, dtype=np.float64)
    except Exception as error:  # whatever a user's code may raise
        told = f"{legal}: {type(error).__name__}: {error}"
        raise StudyError(study.name, [Problem("yardstick", name, told)]) from error
    if predictions.shape != (len(pixels), 2) or not np.isfinite(predictions).all():
        shapes = f"{predictions.shape} from {pixels.shape}, or numbers that are not finite"
        raise StudyError(study.name, [Problem("yardstick", name, f"{legal} gives {shapes}")])
    return predictions
