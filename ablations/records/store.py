"""The database of a study, `results/<study>/results.sqlite`: what was trained, with what outcome.

Written by the driver process alone, one transaction a finished cell, so that a crash loses at most the cells in
flight. It is no place for derived numbers: tables, figures and exports are made from it anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ablations.study.outcome import Outcome, Status
from ablations.study.study import Cell

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE provenance (
    id INTEGER PRIMARY KEY,
    json TEXT NOT NULL UNIQUE
);
CREATE TABLE cells (
    key TEXT PRIMARY KEY CHECK (length(key) = 64),
    configuration TEXT NOT NULL,
    seed INTEGER NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('ok', 'diverged', 'oom', 'error', 'timeout')),
    message TEXT NOT NULL,
    parameters INTEGER,
    steps INTEGER NOT NULL,
    seconds REAL NOT NULL,
    peak_memory_mib REAL,
    engine TEXT,
    device TEXT NOT NULL,
    threads INTEGER NOT NULL,
    finished TEXT NOT NULL,
    provenance INTEGER NOT NULL REFERENCES provenance (id)
);
CREATE TABLE epochs (
    key TEXT NOT NULL REFERENCES cells (key) ON DELETE CASCADE,
    epoch INTEGER NOT NULL,
    train_loss REAL,
    val_mse REAL,
    PRIMARY KEY (key, epoch)
) WITHOUT ROWID;
CREATE TABLE predictions (
    key TEXT NOT NULL REFERENCES cells (key) ON DELETE CASCADE,
    split TEXT NOT NULL,
    float32 BLOB NOT NULL,
    PRIMARY KEY (key, split)
) WITHOUT ROWID;
CREATE TABLE yardsticks (
    key TEXT NOT NULL,
    name TEXT NOT NULL,
    split TEXT NOT NULL,
    float64 BLOB NOT NULL,
    PRIMARY KEY (key, name, split)
) WITHOUT ROWID;
"""


class StoreError(RuntimeError):
    """A database that cannot be used as it is; the message says which and what to do."""


def database_path(results_dir: Path, study: str) -> Path:
    """Where a study's database lies."""
    return results_dir / study / "results.sqlite"


class Store:
    """An open database. `Store.write` creates it and locks out other writers, `Store.read` does neither."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    @classmethod
    @contextlib.contextmanager
    def write(cls, path: Path) -> Iterator[Store]:
        """Open for the one driver. Raises StoreError if another driver has it, or the file is no store of ours."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = (path.parent / f"{path.name}.lock").open("w")
        except OSError as error:
            raise StoreError(f"{path}: cannot be written ({error})") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise StoreError(
                    f"{path}: another run is writing to it; wait for it or stop it"
                ) from error
            with contextlib.closing(_connect(path)) as connection:
                if _schema_version(connection, path) == 0:
                    connection.executescript(
                        f"BEGIN; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
                    )
                _require_current(connection, path)
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA foreign_keys = ON")
                try:
                    yield cls(connection)
                except sqlite3.OperationalError as error:  # such as a full disk
                    raise StoreError(f"{path}: {error}; cells stored before are safe") from error

    @classmethod
    @contextlib.contextmanager
    def read(cls, path: Path) -> Iterator[Store | None]:
        """Open without writing, None where there is no database yet. A run may be writing meanwhile."""
        if not path.exists():
            yield None
            return
        # WAL mode wants to put two files beside the database; where it cannot, nobody can be writing either.
        wal = path.with_name(f"{path.name}-wal")
        frozen = not os.access(path.parent, os.W_OK) and not wal.exists()
        query = "?immutable=1" if frozen else "?mode=ro"
        with contextlib.closing(_connect(path, query)) as connection:
            # Version 0 is a file that a driver has created and not filled yet, or was killed before it could.
            if _schema_version(connection, path) == 0:
                yield None
                return
            _require_current(connection, path)
            yield cls(connection)

    def put(self, cell: Cell, outcome: Outcome, provenance: Mapping[str, Any]) -> None:
        """Store a finished cell in one transaction, in the place of an earlier outcome."""
        text = json.dumps(provenance, sort_keys=True)
        with self.connection as db:
            db.execute("INSERT OR IGNORE INTO provenance (json) VALUES (?)", (text,))
            (provenance_id,) = db.execute(
                "SELECT id FROM provenance WHERE json = ?", (text,)
            ).fetchone()
            db.execute("DELETE FROM cells WHERE key = ?", (cell.key,))
            db.execute(
                "INSERT INTO cells VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, datetime('now'), ?)",
                (
                    cell.key,
                    json.dumps(cell.configuration, sort_keys=True),
                    cell.seed,
                    outcome.status,
                    outcome.message,
                    outcome.parameters,
                    outcome.steps,
                    outcome.seconds,
                    outcome.peak_memory_mib,
                    outcome.engine,
                    outcome.device,
                    outcome.threads,
                    provenance_id,
                ),
            )
            # SQLite stores NaN as NULL, and infinity as it is: both come back as they went.
            losses = zip(outcome.train_loss.tolist(), outcome.val_mse.tolist(), strict=True)
            rows = [(cell.key, epoch, *loss) for epoch, loss in enumerate(losses, start=1)]
            db.executemany("INSERT INTO epochs VALUES (?, ?, ?, ?)", rows)
            blobs = [
                (cell.key, split, p.astype("<f4").tobytes())
                for split, p in outcome.predictions.items()
            ]
            db.executemany("INSERT INTO predictions VALUES (?, ?, ?)", blobs)

    def statuses(self) -> dict[str, Status]:
        """Key -> status of every stored cell."""
        return dict(self.connection.execute("SELECT key, status FROM cells").fetchall())

    def seeds(self) -> list[int]:
        """Every seed of which some cell is stored, in ascending order."""
        rows = self.connection.execute("SELECT DISTINCT seed FROM cells ORDER BY seed").fetchall()
        return [seed for (seed,) in rows]

    def timings(self) -> dict[str, tuple[float, str]]:
        """Key -> seconds of training and the device, of every stored cell."""
        rows = self.connection.execute("SELECT key, seconds, device FROM cells").fetchall()
        return {key: (seconds, device) for key, seconds, device in rows}

    def outcome(self, key: str) -> Outcome | None:
        """The stored outcome of a cell, or None."""
        columns = (
            "status, message, parameters, steps, seconds, peak_memory_mib, engine, device, threads"
        )
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
        predictions = {split: np.frombuffer(blob, "<f4").reshape(-1, 2) for split, blob in blobs}
        facts = dict(zip(columns.split(", "), row, strict=True))
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

    def put_yardstick(
        self, key: str, name: str, split: str, predictions: npt.NDArray[np.float64]
    ) -> None:
        """Store a yardstick's predictions `(M, 2)`; `key` says what they depend on."""
        with self.connection as db:
            row = (key, name, split, predictions.astype("<f8").tobytes())
            db.execute("INSERT OR REPLACE INTO yardsticks VALUES (?, ?, ?, ?)", row)

    def yardstick(self, key: str, name: str, split: str) -> npt.NDArray[np.float64] | None:
        """A yardstick's stored predictions `(M, 2)`, or None."""
        query = "SELECT float64 FROM yardsticks WHERE key = ? AND name = ? AND split = ?"
        row = self.connection.execute(query, (key, name, split)).fetchone()
        return None if row is None else np.frombuffer(row[0], "<f8").reshape(-1, 2)


def _connect(path: Path, query: str = "") -> sqlite3.Connection:
    try:
        return sqlite3.connect(f"{path.absolute().as_uri()}{query}", uri=True)
    except sqlite3.Error as error:
        raise StoreError(f"{path}: cannot be opened ({error})") from error


def _schema_version(connection: sqlite3.Connection, path: Path) -> int:
    """0 for an empty database. Opening reads nothing: a file that is no database shows itself here."""
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error as error:
        raise StoreError(
            f"{path}: is no database of results ({error}); move it away and run again"
        ) from error
    return int(version)


def _require_current(connection: sqlite3.Connection, path: Path) -> None:
    version = _schema_version(connection, path)
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"{path}: has schema {version} instead of {SCHEMA_VERSION}; move it away and run again"
        )
