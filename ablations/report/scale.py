"""A logarithmic axis for the small charts of pages, in per cent of their width. Figures of studies are in `plots`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

ROOM = 0.04  # of the axis, left free at either end


@dataclass(frozen=True)
class LogAxis:
    """From `low` to `high`, both positive."""

    low: float
    high: float

    @classmethod
    def over(cls, values: Iterable[float]) -> LogAxis:
        """An axis with room for all positive finite values, and for a factor of 2 at least."""
        found = [value for value in values if np.isfinite(value) and value > 0]
        if not found:
            return cls(0.5, 2.0)
        low, high = np.log(min(found)), np.log(max(found))
        if high - low < np.log(2):
            low, high = (low + high) / 2 - np.log(2) / 2, (low + high) / 2 + np.log(2) / 2
        room = ROOM * (high - low)
        return cls(float(np.exp(low - room)), float(np.exp(high + room)))

    def at(self, value: float) -> float:
        """Where a value stands, 0 to 100; beyond the axis, and zero, at its ends."""
        if not value > 0:
            return 0.0
        share = np.log(value / self.low) / np.log(self.high / self.low)
        return round(float(np.clip(share, 0, 1)) * 100, 2)


@dataclass(frozen=True)
class Bar:
    """An interval about a number on an axis, in per cent: for an element's style."""

    value: float
    left: float
    width: float


def bar(axis: LogAxis, value: float, low: float, high: float) -> Bar:
    """A number with its interval, which may be missing (NaN)."""
    at = axis.at(value)
    ends = [axis.at(x) if np.isfinite(x) else at for x in (low, high)]
    return Bar(at, ends[0], round(ends[1] - ends[0], 2))
