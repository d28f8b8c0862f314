"""Work done one turn ahead, in a thread beside the one that trains."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(make: Callable[[int], T], turns: int) -> Generator[T]:
    """`make(1)`, `make(2)`, ... `make(turns)`, each begun when the one before it is handed out.

    One thread makes them in order, so that they are what they would be without it. An exception of `make` is raised
    at its turn. The caller closes the iterator if it stops early; that waits for the turn in progress.
    """
    with ThreadPoolExecutor(1, "ahead") as thread:
        following = thread.submit(make, 1) if turns else None
        for turn in range(1, turns + 1):
            assert following is not None
            made = following.result()
            following = thread.submit(make, turn + 1) if turn < turns else None
            yield made
