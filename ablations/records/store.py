"""The database of a study, `results/<study>/results.sqlite`: what was trained, with what outcome.

Written by the driver process alone, one transaction a finished cell: a crash loses at most the cells in flight, a power
cut what ended in the last second too. It is no place for derived numbers: all that is made from it is made anew.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ablations.records.database import StoreError, open_to_read, open_to_write
from ablations.records.settling import Settling
from ablations.study.outcome import Outcome, Status
from ablations.study.study import ENGINE_VERSION, Cell, configuration_key
from ablations.study.until import Looks

# Fields of an outcome that are columns of a cell, in their order.
OUTCOME_COLUMNS = (
    *("status", "message", "parameters", "steps", "seconds", "peak_memory_mib"),
    *("engine", "device", "threads"),
)


def looks_text(looks: Looks) -> str:
    """Looks as JSON."""
    return json.dumps(asdict(looks))


def looks_from(text: str) -> Looks:
    """Looks from JSON."""
    record = json.loads(text)
    return Looks(tuple(record["seeds"]), tuple(record["rules"]))


@dataclass(frozen=True)
class Record:
    """All that is stored of a cell."""

    key: str
    configuration: Mapping[str, Any]
    outcome: Outcome
    provenance: Mapping[str, Any]
    finished: str | None = None  # UTC; None: now


class Store:
    """An open database. `Store.write` creates it and locks out other writers, `Store.read` does neither."""

    def __init__(
        self, connection: sqlite3.Connection, path: Path, settling: Settling | None = None
    ) -> None:
        self.connection, self.path, self.settling = connection, path, settling

    @classmethod
    @contextlib.contextmanager
    def write(cls, path: Path) -> Iterator[Store]:
        """Open for the one driver. Raises StoreError if another driver has it, or the file is no store of ours."""
        with open_to_write(path) as connection, contextlib.closing(Settling(path)) as settling:
            yield cls(connection, path, settling)

    @classmethod
    @contextlib.contextmanager
    def read(cls, path: Path) -> Iterator[Store | None]:
        """Open without writing, None where there is no database yet. A run may be writing meanwhile."""
        with open_to_read(path) as connection:
            yield None if connection is None else cls(connection, path)

    def put(
        self, cell: Cell, outcome: Outcome, facts: Mapping[str, Any], finished: str | None = None
    ) -> None:
        """Store a finished cell in one transaction, in the place of an earlier outcome; `facts`: its provenance."""
        self.put_record(Record(cell.key, cell.configuration, outcome, facts, finished))

    def put_record(self, record: Record) -> None:
        """`put` of what another database holds."""
        outcome = record.outcome
        text = json.dumps(record.provenance, sort_keys=True)
        with self.connection as db:
            db.execute("INSERT OR IGNORE INTO provenance (json) VALUES (?)", (text,))
            (provenance_id,) = db.execute(
                "SELECT id FROM provenance WHERE json = ?", (text,)
            ).fetchone()
            db.execute("DELETE FROM cells WHERE key = ?", (record.key,))
            db.execute(
                "INSERT INTO cells VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?,"
                " coalesce(?, datetime('now')), ?)",
                (
                    record.key,
                    json.dumps(record.configuration, sort_keys=True),
                    record.configuration["seed"],
                    *(getattr(outcome, column) for column in OUTCOME_COLUMNS),
                    record.finished,
                    provenance_id,
                ),
            )
            # SQLite stores NaN as NULL, and infinity as it is: both come back as they went.
            losses = zip(outcome.train_loss.tolist(), outcome.val_mse.tolist(), strict=True)
            rows = [(record.key, epoch, *loss) for epoch, loss in enumerate(losses, start=1)]
            db.executemany("INSERT INTO epochs VALUES (?, ?, ?, ?)", rows)
            blobs = [
                (record.key, split, p.astype("<f4").tobytes())
                for split, p in outcome.predictions.items()
            ]
            db.executemany("INSERT INTO predictions VALUES (?, ?, ?)", blobs)
        if self.settling is not None:
            self.settling.committed()

    def record(self, key: str) -> Record | None:
        """All that is stored of a cell, or None."""
        outcome = self.outcome(key)
        if outcome is None:
            return None
        configuration, finished, provenance = self.connection.execute(
            "SELECT configuration, finished, json FROM cells"
            " LEFT JOIN provenance ON provenance.id = cells.provenance WHERE key = ?",
            (key,),
        ).fetchone()
        return Record(
            key, json.loads(configuration), outcome, json.loads(provenance or "{}"), finished
        )

    def damage(self) -> list[str]:
        """What SQLite finds wrong with the file and with references between its tables."""
        pages = self.connection.execute("PRAGMA integrity_check").fetchall()
        loose = self.connection.execute("PRAGMA foreign_key_check").fetchall()
        found = [text for (text,) in pages if text != "ok"]
        return found + [f"row {row[1]} of {row[0]} belongs to nothing in {row[2]}" for row in loose]

    def statuses(self) -> dict[str, Status]:
        """Key -> status of every stored cell."""
        return dict(self.connection.execute("SELECT key, status FROM cells").fetchall())

    def configurations(self) -> dict[str, dict[str, Any]]:
        """Key -> configuration of every stored cell."""
        rows = self.connection.execute("SELECT key, configuration FROM cells").fetchall()
        return {key: json.loads(text) for key, text in rows}

    def stale(self) -> dict[str, str]:
        """The key that a cell has today -> its key where an earlier version of the engine trained it."""
        rows = self.connection.execute(
            "SELECT key, configuration FROM cells WHERE json_extract(configuration, '$.engine_version') != ?",
            (ENGINE_VERSION,),
        ).fetchall()
        return {
            configuration_key(json.loads(text) | {"engine_version": ENGINE_VERSION}): key
            for key, text in rows
        }

    def delete(self, keys: Iterable[str]) -> None:
        """Delete cells with all that belongs to them."""
        with self.connection as db:
            db.executemany("DELETE FROM cells WHERE key = ?", [(key,) for key in keys])
            db.execute("DELETE FROM provenance WHERE id NOT IN (SELECT provenance FROM cells)")
        self.connection.execute("VACUUM")

    def seeds(self) -> list[int]:
        """Every seed of which some cell is stored, in ascending order."""
        rows = self.connection.execute("SELECT DISTINCT seed FROM cells ORDER BY seed").fetchall()
        return [seed for (seed,) in rows]

    def finished(self) -> dict[str, tuple[Status, float, str]]:
        """Key -> status, seconds of training and when it ended (UTC), of every stored cell."""
        rows = self.connection.execute("SELECT key, status, seconds, finished FROM cells")
        return {key: (status, seconds, ended) for key, status, seconds, ended in rows}

    def lines(self, key: str, split: str) -> npt.NDArray[np.float32] | None:
        """A cell's predictions `(M, 2)` on one split, None where there are none."""
        query = "SELECT float32 FROM predictions WHERE key = ? AND split = ?"
        row = self.connection.execute(query, (key, split)).fetchone()
        return None if row is None else self._pairs(row[0], "<f4")

    def val_curve(self, key: str) -> npt.NDArray[np.float64]:
        """The MSE on val after each epoch of a cell."""
        query = "SELECT val_mse FROM epochs WHERE key = ? ORDER BY epoch"
        rows = self.connection.execute(query, (key,)).fetchall()
        return np.array(rows, dtype=np.float64).ravel()

    def message(self, key: str) -> str:
        """What a cell ended with, in words; empty for one that is not there."""
        row = self.connection.execute("SELECT message FROM cells WHERE key = ?", (key,)).fetchone()
        return "" if row is None else str(row[0])

    def timings(self) -> dict[str, tuple[float, str]]:
        """Key -> seconds of training and the device, of every stored cell."""
        rows = self.connection.execute("SELECT key, seconds, device FROM cells").fetchall()
        return {key: (seconds, device) for key, seconds, device in rows}

    def step_seconds(self) -> list[tuple[dict[str, Any], float, str]]:
        """Of every finished cell its configuration, seconds of a training step and the device."""
        rows = self.connection.execute(
            "SELECT configuration, seconds / steps, device FROM cells WHERE status = 'ok' AND steps > 0"
        ).fetchall()
        return [(json.loads(text), seconds, device) for text, seconds, device in rows]

    def outcome(self, key: str) -> Outcome | None:
        """The stored outcome of a cell, or None."""
        columns = ", ".join(OUTCOME_COLUMNS)
        row = self.connection.execute(
            f"SELECT {columns} FROM cells WHERE key = ?", (key,)
        ).fetchone()
        if row is None:
            return None
        losses = self.connection.execute(
            "SELECT train_loss, val_mse FROM epochs WHERE key = ? ORDER BY epoch", (key,)
        ).fetchall()
        curves = np.array(losses, dtype=np.float64).reshape(-1, 2)
        blobs = self.connection.execute(
            "SELECT split, float32 FROM predictions WHERE key = ?", (key,)
        )
        predictions = {split: self._pairs(blob, "<f4") for split, blob in blobs}
        facts = dict(zip(OUTCOME_COLUMNS, row, strict=True))
        return Outcome(
            **facts, train_loss=curves[:, 0], val_mse=curves[:, 1], predictions=predictions
        )

    def provenance(self, keys: Iterable[str]) -> list[dict[str, Any]]:
        """The distinct provenances of some cells, oldest first."""
        rows = self.connection.execute(
            "SELECT cells.key, provenance.id, provenance.json FROM cells"
            " JOIN provenance ON provenance.id = cells.provenance"
        ).fetchall()
        wanted = set(keys)
        distinct = {number: text for key, number, text in rows if key in wanted}
        return [json.loads(distinct[number]) for number in sorted(distinct)]

    def origin(self) -> Path | None:
        """The folder of the study's file when it was last run, None where nobody has said."""
        folder = self._noted("origin")
        return None if folder is None else Path(folder)

    def put_origin(self, folder: Path) -> None:
        """Note the folder of the study's file, which is nothing that results depend on."""
        self._note("origin", "folder", str(folder.resolve()))

    def looks(self) -> Looks | None:
        """The looks at results that decided on the number of seeds, None where it was decided before."""
        text = self._noted("looks")
        return None if text is None else looks_from(text)

    def put_looks(self, looks: Looks) -> None:
        """Note the looks. They stay: what was seen cannot be unseen, and every later interval has to allow for it."""
        self._note("looks", "json", looks_text(looks))

    def _noted(self, table: str) -> str | None:
        """The one entry of a table that a database has from the first `_note` on, None before."""
        named = "SELECT name FROM sqlite_master WHERE name = ?"
        if self.connection.execute(named, (table,)).fetchone() is None:
            return None
        row = self.connection.execute(f"SELECT * FROM {table}").fetchone()
        return None if row is None else str(row[0])

    def _note(self, table: str, column: str, text: str) -> None:
        """Make a text the one entry of a table."""
        with self.connection as db:
            db.execute(f"CREATE TABLE IF NOT EXISTS {table} ({column} TEXT NOT NULL)")
            db.execute(f"DELETE FROM {table}")
            db.execute(f"INSERT INTO {table} VALUES (?)", (text,))

    def put_yardstick(
        self, key: str, name: str, split: str, predictions: npt.NDArray[np.float64]
    ) -> None:
        """Store a yardstick's predictions `(M, 2)`; `key` says what they depend on."""
        with self.connection as db:
            row = (key, name, split, predictions.astype("<f8").tobytes())
            db.execute("INSERT OR REPLACE INTO yardsticks VALUES (?, ?, ?, ?)", row)

    def take_yardsticks(self, other: Store) -> None:
        """Store the yardsticks of another database that are missing here."""
        rows = other.connection.execute("SELECT key, name, split, float64 FROM yardsticks")
        with self.connection as db:
            db.executemany("INSERT OR IGNORE INTO yardsticks VALUES (?, ?, ?, ?)", rows)

    def yardstick(self, key: str, name: str, split: str) -> npt.NDArray[np.float64] | None:
        """A yardstick's stored predictions `(M, 2)`, or None."""
        query = "SELECT float64 FROM yardsticks WHERE key = ? AND name = ? AND split = ?"
        row = self.connection.execute(query, (key, name, split)).fetchone()
        return None if row is None else self._pairs(row[0], "<f8")

    def _pairs(self, blob: object, kind: str) -> npt.NDArray[Any]:
        """Stored predictions as `(M, 2)`."""
        if not isinstance(blob, bytes) or len(blob) % (2 * np.dtype(kind).itemsize):
            raise StoreError(
                f"{self.path}: holds predictions of a wrong length; check it with: check"
            )
        return np.frombuffer(blob, kind).reshape(-1, 2)
