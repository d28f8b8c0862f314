"""Ablations of CNNs that fit a line: run studies, compare variants with least squares and the best possible.

`ablations.run(study) -> Results` does from Python what `python -m ablations.run STUDY` does from a shell, and
`ablations.compare_errors(frame)` compares runs from anywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ablations.notebook import Results as Results
    from ablations.notebook import compare_errors as compare_errors
    from ablations.notebook import load_results as load_results
    from ablations.notebook import run as run

__all__ = ["Results", "compare_errors", "load_results", "run"]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """Import on first use: worker processes and the command line import this package and need less than all of it."""
    if name not in __all__:
        raise AttributeError(f"module 'ablations' has no attribute {name!r}")
    from ablations import notebook

    globals().update({public: getattr(notebook, public) for public in __all__})
    return globals()[name]
