"""What a driver is at: who it is, by the database's lock, and how far its cells in flight are, by a file it keeps.

Neither is a result, and nothing depends on them: they are for those who watch.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from ablations.records.database import database_path
from ablations.records.files import write_text

RUNNING_FILE = "running.json"
SECONDS_BETWEEN = 1.0  # of writing the file


class Running:
    """Keeps a study's file of cells in flight for as long as a driver trains. A full disk stops no training."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / RUNNING_FILE
        self.epochs: dict[str, int] = {}
        self.written = -SECONDS_BETWEEN

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)

    def epoch(self, key: str, epoch: int) -> None:
        """A cell in flight has done so many epochs."""
        self.epochs[key] = epoch
        self._write()

    def finished(self, key: str) -> None:
        """A cell is in flight no more."""
        self.epochs.pop(key, None)
        self._write()

    def _write(self) -> None:
        now = time.monotonic()
        if now - self.written >= SECONDS_BETWEEN:
            self.written = now
            with contextlib.suppress(OSError):
                write_text(self.path, json.dumps({"epochs": self.epochs}))


@dataclass(frozen=True)
class Driver:
    """A process that trains a study: since when, and key -> epochs done of its cells in flight."""

    pid: int
    host: str
    since: datetime.datetime
    epochs: Mapping[str, int] = field(default_factory=dict)


def driver_at_work(results_dir: Path, study: str) -> Driver | None:
    """The driver that holds a study's database, None where there is none, or it was killed on this machine."""
    database = database_path(results_dir, study)
    facts = _json(database.with_name(f"{database.name}.lock"))
    with contextlib.suppress(KeyError, TypeError, ValueError):
        since = datetime.datetime.fromisoformat(facts["since"])
        pid, host = int(facts["pid"]), str(facts["host"])
        if host != socket.gethostname() or _alive(pid):
            return Driver(pid, host, since, _epochs(database.parent))
    return None


def _epochs(directory: Path) -> dict[str, int]:
    facts = _json(directory / RUNNING_FILE)
    with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
        return {str(key): int(epoch) for key, epoch in facts["epochs"].items()}
    return {}


def _json(path: Path) -> dict[str, Any]:
    """What a file holds; nothing where it is not there, empty or being written."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # it is another user's
        return True
    return True
