"""pytest-benchmark of a training step: `pytest tests/benchmarks/test_training_step.py --benchmark-enable`.

One thread, float32, batches of 128. Ratios are better read off `python -m benchmarks.training_step`, which lets
the ways take turns.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from benchmarks.training_step import BATCH, LAB_CASES, Case, delta_step, dense_step
from linefit.allocator import tune_allocator
from linefit.deltamap import DeltaImages
from linefit.images import LineImages, lab_split


@pytest.fixture(scope="module")
def train_split() -> LineImages:
    return lab_split("train")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    tune_allocator()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("case", LAB_CASES, ids=str)
@pytest.mark.parametrize("way", ["dense, channels first", "dense, channels last", "delta"])
def test_training_step(benchmark: Any, train_split: LineImages, way: str, case: Case) -> None:
    if way == "delta":
        step = delta_step(case, train_split, DeltaImages(train_split.pixels))
    else:
        step = dense_step(case, train_split, tuned=True, channels_last=way.endswith("last"))
    benchmark.group = str(case)
    loss = benchmark.pedantic(step, (torch.arange(BATCH),), rounds=5, warmup_rounds=1)
    assert torch.isfinite(loss)
