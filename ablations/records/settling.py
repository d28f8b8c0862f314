"""When what has been committed to a database reaches the disk itself, and so outlives a power cut."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

SECONDS = 1.0  # a disk takes some ten milliseconds, as long as everything else that is done about a small cell


def settle(path: Path) -> None:
    """Wait until all that has been committed to the database at `path` is on the disk. Raises OSError."""
    log = path.with_name(f"{path.name}-wal")
    try:
        descriptor = os.open(log, os.O_RDONLY)
    except FileNotFoundError:  # the database has taken it in, and waited for the disk
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Settling:
    """Settles a database after every commit: at once, or together where commits come faster than once in `SECONDS`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.Lock()
        self.last = -SECONDS  # when it was begun to be settled
        self.timer: threading.Timer | None = None
        self.error: OSError | None = None  # of the timer, whom nobody asks

    def committed(self) -> None:
        """Something has been committed. Raises OSError, also for what was committed before."""
        with self.lock:
            if self.error is not None:
                raise self.error
            if self.timer is not None:
                return
            now = time.monotonic()
            if now < self.last + SECONDS:
                self.timer = threading.Timer(self.last + SECONDS - now, self._in_time)
                self.timer.daemon = True
                self.timer.start()
                return
            self.last = now
        settle(self.path)

    def close(self) -> None:
        """Settle no more: SQLite does when the database is closed."""
        with self.lock:
            if self.timer is not None:
                self.timer.cancel()

    def _in_time(self) -> None:
        with self.lock:  # but not for as long as the disk takes: what is committed meanwhile is for the next time
            self.timer, self.last = None, time.monotonic()
        try:
            settle(self.path)
        except OSError as error:
            self.error = error
