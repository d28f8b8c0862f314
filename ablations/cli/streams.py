"""Standard streams that nothing breaks: no reader that goes away, no stream that never was, no strange character."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any


def outlive_readers() -> None:
    """Let output that nobody reads any more vanish, so that `| head` stops no training and changes no exit code."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except (
            OSError
        ):  # closed by `2>&-`, and the next file that is opened, a database, would be it
            os.open(os.devnull, os.O_RDWR)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        earlier: io.TextIOWrapper | None = getattr(sys, name)
        if earlier is not None:
            earlier.flush()
        raw = _Patient(descriptor, "wb", closefd=False)
        stream = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=None if earlier is None else earlier.encoding,
            errors="backslashreplace",
            line_buffering=name == "stderr" or raw.isatty(),
        )
        setattr(sys, name, stream)


class _Patient(io.FileIO):
    """A file that goes on as the null device when nobody reads it any more."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):  # a full disk is no lost reader
                raise
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            return len(data)
