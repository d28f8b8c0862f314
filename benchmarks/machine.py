"""What every benchmark needs: a clock, the machine's rates, and where its figures come from."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import torch

from ablations.execution.provenance import cpu_model


def timed(function: Callable[[], object], repeats: int) -> list[float]:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return seconds


@dataclass
class MachineRates:
    """The best rates seen so far; each round adds a look, so that a neighbour's load at one time does not decide."""

    sgemm_gflops: float = 0.0  # of a 2048^3 float32 matrix product
    copy_gbs: float = 0.0  # read plus written, copying 256 MB

    def look(self) -> None:
        a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
        source, target = torch.randn(2**26), torch.zeros(2**26)
        product = min(timed(partial(torch.mm, a, b), 2))
        copy = min(timed(partial(target.copy_, source), 2))
        self.sgemm_gflops = max(self.sgemm_gflops, 2 * 2048**3 / product / 1e9)
        self.copy_gbs = max(self.copy_gbs, 2 * 2**28 / copy / 1e9)


def provenance(module: str) -> dict[str, Any]:
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python", "-m", module, *sys.argv[1:]]),
        "cpu": cpu_model(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
