"""Ablations of CNNs that fit a line: run studies, compare variants with least squares and the best possible.

`ablations.run(study) -> Results` does from Python what `python -m ablations.run STUDY` does from a shell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ablations.driver import run as run
    from ablations.records.loading import load_results as load_results
    from ablations.records.results import Results as Results

__all__ = ["Results", "load_results", "run"]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """Import on first use: worker processes import this package too, and need no more than their cells."""
    if name not in __all__:
        raise AttributeError(f"module 'ablations' has no attribute {name!r}")
    from ablations.driver import run
    from ablations.records.loading import load_results
    from ablations.records.results import Results

    globals().update(Results=Results, load_results=load_results, run=run)
    return globals()[name]
