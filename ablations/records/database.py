"""Opening a study's database, for the one driver or for readers, and what is said when that or its use fails."""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import json
import os
import shutil
import socket
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

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
# After how many pages, 64 MiB, the log is written into the database: keys are random, so each time takes pages from all
# over it, and a cell's share of that is the smaller the more cells there are in the log.
PAGES_OF_LOG = 16_384
# What SQLite says of a database that it may only read and that a killed driver left in the middle of a write.
UNFINISHED = ("SQLITE_READONLY", "SQLITE_CANTOPEN")


class StoreError(RuntimeError):
    """A database that cannot be used as it is; the message says which and what to do."""


def database_path(results_dir: Path, study: str) -> Path:
    """Where a study's database lies."""
    return results_dir / study / "results.sqlite"


@contextlib.contextmanager
def open_to_write(path: Path) -> Iterator[sqlite3.Connection]:
    """Open for the one driver, making what is missing. What a killed driver left unfinished is rolled back."""
    with _locked(path), told(path), contextlib.closing(_connect(path)) as connection:
        if _schema_version(connection) == 0:
            connection.executescript(
                f"BEGIN; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
            )
        _require_current(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        # A commit outlives this process at once; that it outlives the system is for `Settling`.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {PAGES_OF_LOG}")
        connection.execute("PRAGMA foreign_keys = ON")
        yield connection


@contextlib.contextmanager
def open_to_read(path: Path) -> Iterator[sqlite3.Connection | None]:
    """Open without writing, None where there is no database yet. A run may be writing meanwhile."""
    if not path.exists():
        yield None
        return
    with told(path), _readable(path) as connection:
        # Version 0 is a file that a driver has created and not filled yet, or was killed before it could.
        if _schema_version(connection) == 0:
            yield None
            return
        _require_current(connection, path)
        yield connection


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """Turn what SQLite says into a StoreError with a way out. Mistakes of the program's own pass."""
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {_words(error)}") from error


def _words(error: sqlite3.Error) -> str:
    name = str(getattr(error, "sqlite_errorname", ""))
    if name.startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
        return f"is no database of results, or is damaged ({error}); move it away and run again"
    if name.startswith("SQLITE_FULL"):
        return f"{error}; cells stored before are safe: make room and run again"
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")):
        return f"{error}: another program is using it, or its file system has no working locks; try again"
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return f"{error}; see to the permissions and the space of its folder and run again"
    return f"{error}; cells stored before are safe"


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the study's lock. The system gives it back with the process, so that none is ever left behind; the file
    says who holds it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = (path.parent / f"{path.name}.lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error})") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                note = (
                    f"{path}: another run is writing to it{_holder(lock)}; wait for it or stop it"
                )
                raise StoreError(note) from None
            note = f"{path}: its file system has no working locks ({error.strerror})"
            way_out = "keep results on a local disk (--results DIR) and unite them with `merge`"
            raise StoreError(f"{note}; {way_out}") from error
        since = datetime.datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        with contextlib.suppress(OSError):  # on a full disk the lock holds all the same
            lock.truncate(0)
            json.dump({"pid": os.getpid(), "host": socket.gethostname(), "since": since}, lock)
            lock.flush()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                lock.truncate(0)


def _holder(lock: TextIO) -> str:
    try:
        lock.seek(0)
        facts = json.load(lock)
        return f" (process {facts['pid']} on {facts['host']} since {facts['since']})"
    except (ValueError, KeyError, TypeError, OSError):  # it has not said yet
        return ""


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[sqlite3.Connection]:
    wal = path.with_name(f"{path.name}-wal")
    if os.access(path.parent, os.W_OK):
        connection = _connect(path, "?mode=ro")
        try:
            _schema_version(connection)
        except sqlite3.Error as error:
            connection.close()
            if not str(getattr(error, "sqlite_errorname", "")).startswith(UNFINISHED):
                raise
            connection = _connect(path, "?mode=rw")  # which rolls back what a killed driver left
        with contextlib.closing(connection):
            yield connection
    elif not wal.exists() or not wal.stat().st_size:
        # WAL mode wants to put files beside the database; where it cannot, nobody can be writing either.
        with contextlib.closing(_connect(path, "?immutable=1")) as connection:
            yield connection
    else:  # the last cells are in the write-ahead log, which cannot be read without writing beside it
        with tempfile.TemporaryDirectory() as folder:
            for file in (path, wal):
                shutil.copyfile(file, Path(folder) / file.name)
            with contextlib.closing(_connect(Path(folder) / path.name)) as connection:
                yield connection


def _connect(path: Path, query: str = "") -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}{query}", uri=True)


def _schema_version(connection: sqlite3.Connection) -> int:
    """0 for an empty database. Opening reads nothing: a file that is no database shows itself here."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _require_current(connection: sqlite3.Connection, path: Path) -> None:
    version = _schema_version(connection)
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{path}: has schema {version} of a newer version of this program, which knows {SCHEMA_VERSION}; "
            "update the program, or keep results elsewhere (--results DIR)"
        )
    if version != SCHEMA_VERSION:
        raise StoreError(
            f"{path}: has schema {version} instead of {SCHEMA_VERSION}; move it away and run again"
        )
