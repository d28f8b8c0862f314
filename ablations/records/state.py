"""How far a study has come, as `list` and the index tell it: counts of cells, at no cost in imports."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ablations.records.database import database_path
from ablations.records.folder import exported_rows, has_exports
from ablations.records.store import Store
from ablations.study.study import Study


@dataclass(frozen=True)
class StudyState:
    """Counts of the cells that a study asks for. Stale ones are there, of an earlier version of the engine alone."""

    study: Study
    cells: int
    done: int
    failed: int
    stale: int
    exports: bool

    @property
    def todo(self) -> int:
        return self.cells - self.done - self.failed - self.stale


def study_state(study: Study, results_dir: Path) -> StudyState:
    """What there is of a study: in its database or, where that is empty, in its exports, as every other verb reads it.

    Raises StoreError.
    """
    name = study.name
    with Store.read(database_path(results_dir, name)) as store:
        statuses: dict[str, str] = {} if store is None else dict(store.statuses())
        old = set() if store is None else set(store.stale())
    cells = study.cells()
    if not statuses:
        rows = exported_rows(name, results_dir)
        statuses = {row["key"]: row["status"] for row in rows}
        # An export is known by its variant and seed: its keys may be those of an earlier engine.
        exported = {(row["variant"], row["seed"]) for row in rows}
        old = {c.key for c in cells if (c.variant.name, str(c.seed)) in exported}
    found = [statuses.get(cell.key) for cell in cells]
    done, missing = found.count("ok"), found.count(None)
    stale = sum(c.key in old for c, status in zip(cells, found, strict=True) if status is None)
    failed = len(cells) - done - missing
    return StudyState(study, len(cells), done, failed, stale, has_exports(name, results_dir))
