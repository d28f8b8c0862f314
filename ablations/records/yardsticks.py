"""Predictions of yardsticks on evaluation splits: made once for a database, found again by what they depend on."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import numpy.typing as npt

from ablations.records.store import Store
from ablations.study.study import ENGINE_VERSION, Study, split_facts
from linefit.splits import evaluation_images, training_images
from linefit.yardsticks import YARDSTICKS

Predictions = npt.NDArray[np.float64]


def store_yardsticks(study: Study, store: Store) -> None:
    """Compute and store the yardsticks that the database lacks."""
    for split in study.splits:
        key = yardstick_key(study.protocol.train_size, split)
        for name in study.yardsticks:
            if store.yardstick(key, name, split) is None:
                predictions = predict_yardstick(name, study.protocol.train_size, split)
                store.put_yardstick(key, name, split, predictions)


def stored_yardsticks(study: Study, store: Store, split: str) -> dict[str, Predictions]:
    """Name -> predictions `(M, 2)` of the study's yardsticks on a split; those that the database lacks are computed."""
    key = yardstick_key(study.protocol.train_size, split)
    found = {}
    for name in study.yardsticks:
        predictions = store.yardstick(key, name, split)
        if predictions is None:
            predictions = predict_yardstick(name, study.protocol.train_size, split)
        found[name] = predictions
    return found


def yardstick_key(train_size: int, split: str) -> str:
    """What a yardstick's predictions depend on: the training split it may be fitted to, and the images."""
    facts = {
        "train_size": train_size,
        "split": split_facts(split),
        "version": ENGINE_VERSION,
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def predict_yardstick(name: str, train_size: int, split: str) -> Predictions:
    """Predictions `(M, 2)` of a yardstick on an evaluation split."""
    estimator = YARDSTICKS[name](training_images(train_size))
    return np.asarray(estimator(evaluation_images(split).pixels), dtype=np.float64)
