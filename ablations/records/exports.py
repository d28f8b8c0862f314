"""Tidy files of a study's results: what is shared, committed, and read by other tools. Both ways, without loss.

Parquet for predictions and images, CSV for cells and curves, JSON for provenance; the study's own file beside them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from ablations.records.files import replacing, write_csv, write_text
from ablations.records.folder import CELLS_FILE, PREDICTIONS_FILE, STUDY_FILE, require_no_loss
from ablations.records.results import (
    CELL_TYPES,
    CURVE_TYPES,
    SplitResults,
    StudyResults,
    VariantResults,
    typed,
)
from ablations.study.factors import FACTORS
from ablations.study.study import Study
from linefit.images import of_lab_prior

CURVES_FILE = "curves.csv"
IMAGES_FILE = "images.parquet"
PROVENANCE_FILE = "provenance.json"
# Predictions are float32 values in float64 columns: byte by byte, their empty halves vanish.
PARQUET: dict[str, Any] = {
    "compression": "zstd",
    "use_dictionary": ["split", "kind", "estimator", "seed"],
    "column_encoding": {
        "image": "DELTA_BINARY_PACKED",
        "slope": "BYTE_STREAM_SPLIT",
        "intercept": "BYTE_STREAM_SPLIT",
    },
}


def write(results: StudyResults, directory: Path) -> list[Path]:
    """Write all exports into a directory and say which files they are.

    Raises StoreError, and leaves all files as they are, where those there hold finished cells that would be lost.
    """
    ok = results.cells[results.cells["status"] == "ok"]
    require_no_loss(directory, set(zip(ok["variant"], ok["seed"], strict=True)))
    directory.mkdir(parents=True, exist_ok=True)
    paths = [
        directory / name
        for name in (
            STUDY_FILE,
            CELLS_FILE,
            CURVES_FILE,
            PREDICTIONS_FILE,
            IMAGES_FILE,
            PROVENANCE_FILE,
        )
    ]
    write_text(paths[0], results.study.text)
    write_csv(paths[1], results.cells)
    write_csv(paths[2], results.curves)
    with replacing(paths[3]) as path:
        predictions_frame(results).to_parquet(path, index=False, **PARQUET)
    with replacing(paths[4]) as path:
        images_frame(results).to_parquet(path, index=False, compression="zstd")
    write_text(paths[5], json.dumps(results.provenance, indent=2) + "\n")
    return paths


def predictions_frame(results: StudyResults) -> pd.DataFrame:
    """A row an estimator, seed and image: `split, kind, estimator, seed, image, slope, intercept`.

    `kind` is `variant` or `yardstick`; yardsticks have no seed; cells that failed have no rows.
    """
    frames = []
    for split in results.splits.values():
        for variant in split.variants:
            for seed, ok, predictions in zip(
                variant.seeds, variant.ok, variant.predictions, strict=True
            ):
                if ok:
                    frames.append(
                        _rows(split.name, "variant", variant.name, int(seed), predictions)
                    )
        for name, predictions in split.yardsticks.items():
            frames.append(_rows(split.name, "yardstick", name, None, predictions))
    frame = pd.concat(frames, ignore_index=True)
    return frame.astype({"split": "category", "kind": "category", "estimator": "category"})


def images_frame(results: StudyResults) -> pd.DataFrame:
    """A row an image: `split, image, slope, intercept`, the true line."""
    frames = [
        pd.DataFrame(
            {
                "split": split.name,
                "image": np.arange(len(split.params), dtype=np.int32),
                "slope": split.params[:, 0],
                "intercept": split.params[:, 1],
            }
        )
        for split in results.splits.values()
    ]
    return pd.concat(frames, ignore_index=True)


def read(study: Study, directory: Path) -> StudyResults:
    """The results that `write` wrote. Raises OSError if a file is missing."""
    # Messages may all be empty, and would be numbers then.
    cells = pd.read_csv(
        directory / CELLS_FILE, keep_default_na=False, na_values=[""], dtype={"message": "str"}
    )
    levels = {variant.name: variant.levels for variant in study.variants}
    cells = cells[cells["variant"].isin(levels)]
    predictions = pd.read_parquet(directory / PREDICTIONS_FILE)
    images = pd.read_parquet(directory / IMAGES_FILE)
    # An empty message is a text like any other, but CSV cannot tell it from a missing one.
    cells["message"] = cells["message"].fillna("")
    for factor in FACTORS:  # a factor that came later has its default in old files
        cells[factor] = [levels[variant][factor] for variant in cells["variant"]]
    provenance: Mapping[str, Any] = json.loads(
        (directory / PROVENANCE_FILE).read_text(encoding="utf-8")
    )
    splits = {
        split: _split_results(
            study,
            split,
            cells,
            predictions[predictions["split"] == split],
            images[images["split"] == split],
        )
        for split in study.splits
    }
    return StudyResults(
        study=study,
        cells=typed(cells, CELL_TYPES),
        curves=typed(pd.read_csv(directory / CURVES_FILE), CURVE_TYPES),
        splits=splits,
        provenance=provenance,
    )


def _rows(
    split: str,
    kind: str,
    estimator: str,
    seed: int | None,
    predictions: npt.NDArray[np.floating[Any]],
) -> pd.DataFrame:
    size = len(predictions)
    return pd.DataFrame(
        {
            "split": split,
            "kind": kind,
            "estimator": estimator,
            "seed": pd.array([pd.NA if seed is None else seed] * size, dtype="Int64"),
            "image": np.arange(size, dtype=np.int32),
            "slope": predictions[:, 0].astype(np.float64),
            "intercept": predictions[:, 1].astype(np.float64),
        }
    )


def _split_results(
    study: Study, split: str, cells: pd.DataFrame, predictions: pd.DataFrame, images: pd.DataFrame
) -> SplitResults:
    params = images.sort_values("image")[["slope", "intercept"]].to_numpy(np.float32)
    arrays: dict[tuple[str, str, int | None], npt.NDArray[np.float64]] = {}
    columns = ["kind", "estimator", "seed"]
    for group, rows in predictions.groupby(columns, dropna=False, observed=True):
        kind, estimator, seed = cast(tuple[str, str, Any], group)
        lines = rows.sort_values("image")[["slope", "intercept"]].to_numpy(np.float64)
        arrays[kind, estimator, None if pd.isna(seed) else int(seed)] = lines
    variants = []
    for variant in study.variants:
        own = cells[cells["variant"] == variant.name].sort_values("seed")
        if own.empty:
            continue
        failed = np.full(params.shape, np.nan)
        seeds = [int(seed) for seed in own["seed"]]
        stacked = np.stack([arrays.get(("variant", variant.name, seed), failed) for seed in seeds])
        variants.append(
            VariantResults(
                variant.name,
                dict(variant.levels),
                np.array(seeds, dtype=np.int64),
                tuple(own["status"]),
                stacked.astype(np.float32),
            )
        )
    yardsticks = {name: arrays["yardstick", name, None] for name in study.yardsticks}
    return SplitResults(split, params, tuple(variants), yardsticks, of_lab_prior(split))
