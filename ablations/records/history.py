"""The runs that made a study's cells, told from when each was finished and from what it was trained with.

A database has no table of runs: a run is what was trained with the same code on the same machine without a pause. Where
there is no database, the exports say which cells there are and with what they were made, but not when.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from ablations.records.database import database_path
from ablations.records.folder import exported_rows
from ablations.records.store import Store
from ablations.study.study import ENGINE_VERSION, Study

PAUSE = datetime.timedelta(minutes=5)  # without training, after which another run begins
PROVENANCE_FILE = "provenance.json"


@dataclass(frozen=True)
class StoredCell:
    """What is known of how a cell was trained. `finished` is UTC, None of cells that only the exports have.

    `variant` is None for a cell that the study does not ask for today: of an earlier version of its file or the engine.
    """

    key: str
    variant: str | None
    seed: int
    status: str
    seconds: float
    device: str
    finished: datetime.datetime | None
    engine_version: int | None
    provenance: Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """Cells that were trained in one go, in the order in which they were finished."""

    cells: Sequence[StoredCell]
    began: datetime.datetime | None

    @property
    def ended(self) -> datetime.datetime | None:
        return self.cells[-1].finished

    @property
    def provenance(self) -> Mapping[str, Any]:
        return self.cells[0].provenance

    @property
    def wall_seconds(self) -> float | None:
        """From the start of its first cell to the end of its last."""
        if self.began is None or self.ended is None:
            return None
        return (self.ended - self.began).total_seconds()


def runs_of(study: Study, results_dir: Path) -> list[Run]:
    """All runs of a study, the first that ended first; none where nothing has been trained. Raises StoreError."""
    cells = _stored(study, results_dir) or _exported(study, results_dir)
    found = [
        run
        for _, alike in groupby(sorted(cells, key=_made_with), key=_made_with)
        for run in _without_pause(list(alike))
    ]
    return sorted(found, key=lambda run: (run.ended is not None, run.ended))


def _stored(study: Study, results_dir: Path) -> list[StoredCell]:
    with Store.read(database_path(results_dir, study.name)) as store:
        if store is None:
            return []
        names = {cell.key: cell.variant.name for cell in study.cells(store.seeds())}
        rows = store.connection.execute(
            "SELECT key, seed, status, seconds, device, finished, json_extract(configuration, '$.engine_version'),"
            " json FROM cells JOIN provenance ON provenance.id = cells.provenance ORDER BY finished, key"
        ).fetchall()
    return [
        StoredCell(
            key,
            names.get(key),
            seed,
            status,
            seconds,
            device,
            datetime.datetime.fromisoformat(finished),
            version,
            json.loads(text),
        )
        for key, seed, status, seconds, device, finished, version, text in rows
    ]


def _exported(study: Study, results_dir: Path) -> list[StoredCell]:
    rows = exported_rows(study.name, results_dir)
    file = results_dir / study.name / PROVENANCE_FILE
    provenance = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    provenance.pop("left_out", None)
    names = {variant.name for variant in study.variants}
    current = {cell.key for cell in study.cells(sorted({int(row["seed"]) for row in rows}))}
    return [
        StoredCell(
            row["key"],
            row["variant"] if row["variant"] in names else None,
            int(row["seed"]),
            row["status"],
            float(row["seconds"]),
            row["device"],
            None,
            ENGINE_VERSION if row["key"] in current else None,
            provenance,
        )
        for row in rows
    ]


def _made_with(cell: StoredCell) -> str:
    return json.dumps([cell.engine_version, cell.provenance], sort_keys=True)


def _without_pause(cells: Sequence[StoredCell]) -> Iterator[Run]:
    """Cells of one code and machine, in runs.

    Cells that were finished at once may have been trained together: then each bears its share of the time.
    """
    began: datetime.datetime | None = None
    last: datetime.datetime | None = None
    run: list[StoredCell] = []
    for finished, together in groupby(cells, key=lambda cell: cell.finished):
        batch = list(together)
        start = None
        if finished is not None:
            start = finished - datetime.timedelta(seconds=sum(cell.seconds for cell in batch))
        if start is not None and last is not None and start > last + PAUSE:
            yield Run(run, began)
            began, run = None, []
        if start is not None:
            began = start if began is None else min(began, start)
        last = finished
        run = [*run, *batch]
    if run:
        yield Run(run, began)


def spelled_seeds(seeds: Iterable[int]) -> str:
    """`0-4, 7`."""
    parts: list[list[int]] = []
    for seed in sorted(set(seeds)):
        if parts and seed == parts[-1][-1] + 1:
            parts[-1].append(seed)
        else:
            parts.append([seed])
    return ", ".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts)
