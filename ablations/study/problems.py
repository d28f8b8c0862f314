"""How a mistake in a user's input is told: where, what was given, what is legal, and the nearest match."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One mistake. `key` may be empty where the whole input is meant, `given` None where nothing was."""

    key: str
    given: object
    legal: str
    hint: str | None = None

    def __str__(self) -> str:
        where = f"{self.key}: " if self.key else ""
        given = "" if self.given is None else f"{self.given!r} is not legal; "
        hint = f" (did you mean {self.hint!r}?)" if self.hint else ""
        return f"{where}{given}expected {self.legal}{hint}"


def nearest(given: str, legal: Iterable[str]) -> str | None:
    """The legal word most like the given one, or None where none is alike."""
    return next(iter(difflib.get_close_matches(given, list(legal), n=1, cutoff=0.6)), None)
