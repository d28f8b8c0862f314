"""What is made ahead is what would have been made in turn."""

from __future__ import annotations

import threading

import pytest

from linefit.ahead import ahead


def test_values_come_in_order_and_one_ahead() -> None:
    made: list[int] = []
    begun = threading.Event()

    def make(turn: int) -> int:
        made.append(turn)
        if turn == 2:
            begun.set()
        return turn * turn

    values = ahead(make, 4)
    assert next(values) == 1
    assert begun.wait(10)
    assert list(values) == [4, 9, 16]
    assert made == [1, 2, 3, 4]


def test_nothing_is_made_that_nobody_asks_for() -> None:
    made: list[int] = []
    values = ahead(made.append, 5)
    next(values)
    values.close()
    assert made == [1, 2]
    assert list(ahead(made.append, 0)) == []


def test_an_exception_is_raised_at_its_turn() -> None:
    def make(turn: int) -> int:
        if turn == 2:
            raise ValueError("two")
        return turn

    values = ahead(make, 3)
    assert next(values) == 1
    with pytest.raises(ValueError, match="two"):
        next(values)
