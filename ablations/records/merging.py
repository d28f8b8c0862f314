"""Unite the databases of one study that were filled in several places, such as the shards of a job array."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ablations.records.archive import unpacked
from ablations.records.database import StoreError, database_path
from ablations.records.files import write_text
from ablations.records.folder import STUDY_FILE, find_study
from ablations.records.store import Store
from ablations.study.outcome import Outcome
from ablations.study.until import Looks
from ablations.study.users import keep_level_files


@dataclass(frozen=True)
class Merged:
    """What became of the cells of one study in one source."""

    study: str
    source: Path
    added: int
    same: int
    mended: int  # failed here, finished there: these have replaced the failures
    conflicts: tuple[str, ...]  # keys of cells with other results there; those here are kept

    def __str__(self) -> str:
        counts = f"{self.added} added, {self.same} there already, {self.mended} failures replaced"
        text = f"{self.study} from {self.source}: {counts}, {len(self.conflicts)} conflicts"
        kept = [f"\n  {key}: other results; those here are kept" for key in self.conflicts]
        return text + "".join(kept)


def merge(sources: Iterable[Path], results_dir: Path) -> list[Merged]:
    """Take the cells of every study in other results folders, or archives, into this one.

    Merging again changes nothing. A failure gives way to a finished cell and to nothing else; any other difference is
    a conflict and leaves what is here. Raises StoreError for a folder without databases, and for a study that has
    another file here.
    """
    merged = []
    for source in sources:
        if source.resolve() == results_dir.resolve():
            raise StoreError(f"{source}: is the folder to merge into")
        with unpacked(source) as folder:
            found = sorted(folder.glob("*/results.sqlite"))
            if not found:
                raise StoreError(
                    f"{source}: holds no */results.sqlite; expected a folder of results"
                )
            studies = [path.parent.name for path in found]
            merged += [
                replace(_merge_study(n, folder, results_dir), source=source) for n in studies
            ]
    return merged


def same_results(one: Outcome, other: Outcome) -> bool:
    """Whether two outcomes hold the same numbers to the last bit. How long they took does not matter."""
    splits = sorted(one.predictions)
    facts = [(o.status, o.steps, o.parameters, sorted(o.predictions)) for o in (one, other)]
    arrays = [
        (o.train_loss, o.val_mse, *(o.predictions.get(s) for s in splits)) for o in (one, other)
    ]
    return facts[0] == facts[1] and all(
        np.array_equal(a, b, equal_nan=True) for a, b in zip(*arrays, strict=True)
    )


def _looks(theirs: Store | None, ours: Store) -> Looks | None:
    """The looks of both. Raises StoreError where they were at different numbers of seeds."""
    found = [looks for store in (theirs, ours) if store and (looks := store.looks()) is not None]
    if len({looks.seeds for looks in found}) > 1:
        at = " and ".join(", ".join(map(str, looks.seeds)) for looks in found)
        raise StoreError(
            f"{ours.path}: its seeds and those to merge were added by different looks (at {at} seeds), between which "
            "no error can be shared; none is merged"
        )
    rules = dict.fromkeys(rule for looks in reversed(found) for rule in looks.rules)
    return Looks(found[0].seeds, tuple(rules)) if found else None


def _merge_study(name: str, source: Path, results_dir: Path) -> Merged:
    study = find_study(name, source)
    kept = results_dir / name / STUDY_FILE
    if kept.is_file() and kept.read_text(encoding="utf-8", errors="replace") != study.text:
        there = source / name / STUDY_FILE
        raise StoreError(
            f"{kept} and {there}: are different studies under one name; none is merged"
        )
    added = same = mended = 0
    conflicts = []
    with (
        Store.read(database_path(source, name)) as theirs,
        Store.write(database_path(results_dir, name)) as ours,
    ):
        looks = _looks(theirs, ours)
        if looks is not None:
            ours.put_looks(looks)
        write_text(kept, study.text)
        keep_level_files(study, results_dir / name)
        statuses = {} if theirs is None else theirs.statuses()
        for key in statuses:
            assert theirs is not None
            record, mine = theirs.record(key), ours.outcome(key)
            assert record is not None
            if mine is None:
                added += 1
            elif same_results(mine, record.outcome):
                same += 1
                continue
            elif mine.status != "ok" and record.outcome.status == "ok":
                mended += 1
            else:
                conflicts.append(key)
                continue
            ours.put_record(record)
        if theirs is not None:
            ours.take_yardsticks(theirs)
    return Merged(name, source, added, same, mended, tuple(conflicts))
