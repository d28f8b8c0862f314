"""Tidy files of a study's results: what is shared, committed, and read by other tools. Both ways, without loss.

Parquet for predictions and images, CSV for cells, curves and errors, JSON for provenance; the study's own file beside
them. Of splits whose predictions were left out (`LeftOut`): the comparison, errors of cells, and what is missing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from ablations.records.files import replacing, write_csv, write_text
from ablations.records.folder import (
    CELLS_FILE,
    PREDICTIONS_FILE,
    STUDY_FILE,
    require_no_loss,
    require_predictions_kept,
)
from ablations.records.results import (
    CELL_TYPES,
    CURVE_TYPES,
    LeftOut,
    SplitResults,
    StudyResults,
    VariantResults,
    typed,
)
from ablations.records.store import looks_from, looks_text
from ablations.study.factors import FACTORS
from ablations.study.study import Study
from linefit.images import SPLITS, of_lab_prior

CURVES_FILE = "curves.csv"
IMAGES_FILE = "images.parquet"
PROVENANCE_FILE = "provenance.json"
ERRORS_FILE = "errors.csv"
LEFT_OUT_FILE = "left_out.json"
LEFT_OUT_FACTS = ("n_images", "n_nets", "command", "analysis")
COMPARISON_FILE = "compare_{split}.csv"
LOOKS_FILE = "looks.json"  # where the number of seeds was decided by looking at results
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


def write(results: StudyResults, directory: Path, errors: pd.DataFrame | None = None) -> list[Path]:
    """Write all exports into a directory and say which files they are.

    `errors`: a row a cell and yardstick of every split, a file like the others. Raises StoreError, and leaves all files
    as they are, where those there hold finished cells, or predictions, that would be lost.
    """
    ok = results.cells[results.cells["status"] == "ok"]
    require_no_loss(directory, set(zip(ok["variant"], ok["seed"], strict=True)))
    require_predictions_kept(directory, results.left_out)
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
    missing = {"left_out": {name: split.note for name, split in results.left_out.items()}}
    provenance = {**results.provenance, **(missing if results.left_out else {})}
    write_text(paths[5], json.dumps(provenance, indent=2) + "\n")
    if errors is not None:
        paths.append(directory / ERRORS_FILE)
        write_csv(paths[-1], errors)
    looks = directory / LOOKS_FILE
    looks.unlink(missing_ok=True)
    if results.looks is not None:
        paths.append(looks)
        write_text(looks, looks_text(results.looks) + "\n")
    return paths + _write_left_out(results.left_out, directory)


def _write_left_out(left_out: Mapping[str, LeftOut], directory: Path) -> list[Path]:
    path = directory / LEFT_OUT_FILE
    if not left_out:
        path.unlink(missing_ok=True)
        return []
    tables = [directory / COMPARISON_FILE.format(split=split) for split in left_out]
    for table, split in zip(tables, left_out.values(), strict=True):
        write_csv(table, split.table)
    facts = {
        name: {fact: getattr(split, fact) for fact in LEFT_OUT_FACTS}
        for name, split in left_out.items()
    }
    write_text(path, json.dumps(facts, indent=1) + "\n")
    return [*tables, path]


def _read_left_out(directory: Path) -> dict[str, LeftOut]:
    path = directory / LEFT_OUT_FILE
    if not path.is_file():
        return {}
    errors = read_table(directory / ERRORS_FILE).astype({"seed": "Int64"})
    return {
        name: LeftOut(
            name=name,
            table=read_table(directory / COMPARISON_FILE.format(split=name)),
            errors=errors[errors["split"] == name],
            **facts,
        )
        for name, facts in json.loads(path.read_text(encoding="utf-8")).items()
    }


def read_table(path: Path) -> pd.DataFrame:
    """A CSV table as it was written: numbers to the last bit, and only empty entries are missing values."""
    return pd.read_csv(path, keep_default_na=False, na_values=[""])


def predictions_frame(results: StudyResults) -> pd.DataFrame:
    """A row an estimator, seed and image: `split, kind, estimator, seed, image, slope, intercept`.

    `kind` is `variant` or `yardstick`; yardsticks have no seed; cells that failed have no rows.
    """
    labels: list[tuple[str, str, str, int | None]] = []
    lines: list[npt.NDArray[np.floating[Any]]] = []
    for split in results.splits.values():
        for variant in split.variants:
            for at in np.flatnonzero(variant.ok):
                labels.append((split.name, "variant", variant.name, int(variant.seeds[at])))
                lines.append(variant.predictions[at])
        for name, predictions in split.yardsticks.items():
            labels.append((split.name, "yardstick", name, None))
            lines.append(predictions)
    sizes = [len(predictions) for predictions in lines]
    frame = pd.DataFrame(labels, columns=["split", "kind", "estimator", "seed"]).astype(
        {"split": "category", "kind": "category", "estimator": "category", "seed": "Int64"}
    )
    frame = frame.loc[frame.index.repeat(sizes)].reset_index(drop=True)
    frame["image"] = np.concatenate(
        [np.empty(0, np.int32), *(np.arange(size, dtype=np.int32) for size in sizes)]
    )
    for column, output in enumerate(("slope", "intercept")):
        frame[output] = np.concatenate([np.empty(0), *(p[:, column] for p in lines)])
    return frame


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
    columns = ["split", "image", "slope", "intercept"]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


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
    provenance: dict[str, Any] = json.loads(
        (directory / PROVENANCE_FILE).read_text(encoding="utf-8")
    )
    provenance.pop("left_out", None)
    left_out = _read_left_out(directory)
    file = directory / LOOKS_FILE
    looks = looks_from(file.read_text(encoding="utf-8")) if file.is_file() else None
    splits = {
        split: _split_results(
            study,
            split,
            cells,
            predictions[predictions["split"] == split],
            images[images["split"] == split],
        )
        for split in study.splits
        if split not in left_out
    }
    splits = {name: replace(split, looks=looks) for name, split in splits.items()}
    return StudyResults(
        study=study,
        cells=typed(cells, CELL_TYPES),
        curves=typed(pd.read_csv(directory / CURVES_FILE), CURVE_TYPES),
        splits=splits,
        provenance=provenance,
        left_out=left_out,
        looks=looks,
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
        if own.empty or variant.not_applicable(split) is not None:
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
    return SplitResults(
        split, params, tuple(variants), yardsticks, of_lab_prior(split), dim=SPLITS[split].dim
    )
