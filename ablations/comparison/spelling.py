"""How numbers are spelled, in tables, sentences, figures and pages alike."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd


def listed(items: Iterable[object]) -> str:
    """`a, b and c`."""
    words = [str(item) for item in items]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def interval_words(confidence: float, looks: int = 1) -> str:
    """What an interval is called: `95% CI`, or `95% CI for 6 looks`, which cover together."""
    return f"{confidence:.0%} CI" + (f" for {looks} looks" if looks > 1 else "")


def number(value: float) -> str:
    """Three significant digits, thousands apart: `0.0788`, `15.0`, `1,240`, `9.99e+07`; empty for NaN."""
    if pd.isna(value):
        return ""
    if value == 0:
        return "0"
    size = abs(value)
    if size < 1e-4 or size >= 1e7:
        return f"{value:.2e}"
    return f"{value:,.0f}" if size >= 999.5 else f"{value:#.3g}".removesuffix(".")


def two_digits(value: float) -> str:
    """Two significant digits and at least one decimal below 10, as in `1.9` and `1.0`."""
    if value >= 100:
        return number(value)
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}" if value >= 0.995 else f"{value:.2g}"


def with_interval(value: float, low: float, high: float) -> str:
    """`1.91 [1.60, 2.20]`; the number alone where there is no interval."""
    if pd.isna(value):
        return ""
    return number(value) if pd.isna(low) else f"{number(value)} [{number(low)}, {number(high)}]"


def p_value(p: float) -> str:
    """Three decimals, as in `0.012`; `<0.001` below that."""
    if pd.isna(p):
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def share(value: float) -> str:
    """`12%`; empty for NaN."""
    return "" if pd.isna(value) else f"{value:.0%}"
