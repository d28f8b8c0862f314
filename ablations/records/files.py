"""Writing result files so that nobody ever meets half of one, and nothing outside the folder is written."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for a type alone: verbs that write no table start without it
    import pandas as pd

# What spreadsheets take for the beginning of a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` when all is written, and of a link that may stand there.

    After an exception, such as of a full disk, the old file is what it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=path.parent) as folder:
        unfinished = Path(folder) / path.name
        yield unfinished
        unfinished.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table whole or not at all; a text that a spreadsheet would compute is quoted by an apostrophe."""
    inert = table.copy()
    for column in table.select_dtypes(["object", "string"]).columns:
        inert[column] = table[column].map(_inert)
    with replacing(path) as unfinished:
        inert.to_csv(unfinished, index=False)


def _inert(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
