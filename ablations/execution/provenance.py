"""What produced a number: commit, versions, hardware. Recorded beside every cell, never part of its key."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "pandas",
    "statsmodels",
    "seaborn",
    "matplotlib",
    "numba",
    "pyarrow",
)


def provenance() -> dict[str, Any]:
    """Facts about the code, the interpreter and the machine; nothing that names a user, a host or a path."""
    return {
        "git_commit": _git("rev-parse", "HEAD"),
        # Results are written while a study runs: they say nothing about the code that made them.
        "git_dirty": bool(
            _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!results")
        ),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": _memory_gib(),
        "gpu": _gpu(),
        "compiled_step": _compiled_step(),
    }


def _git(*arguments: str) -> str | None:
    """What git says in the source tree, None outside a checkout (an installed package) or without git."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def cpu_model() -> str:
    """The processor's name as its maker gives it, or what Python knows of it where the system is not Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), ""
    )


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError):
        return None


def _gpu() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _compiled_step() -> str | None:
    """The instruction set of the compiled training step, None where it was not built."""
    from linefit.fused import instruction_set

    return instruction_set()
