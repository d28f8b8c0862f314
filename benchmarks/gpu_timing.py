"""How `benchmarks.gpu` times a way of training, how much it measures, and the device's own rates."""

from __future__ import annotations

import gc
import statistics
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.gpu_ways import Way

ROUNDS = 3  # that are timed of each way
EPOCHS = 100  # of the training that an hour is counted in


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    train: int = 5000
    batch: int = 128
    widths: tuple[int, ...] = (8, 16, 48, 96)
    cells: int = 64  # of a pack, and of stacked modules
    curve: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256)
    images_checked: int = 64
    seeds: int = 20  # of lab5
    seconds: float = 440.0  # after which nothing new is begun
    seconds_a_way: float = 1.5  # of timed steps
    # Shares of the seconds after which the next part begins, whatever is missing of these.
    nets_until: float = 0.4
    curve_until: float = 0.55
    lab5_until: float = 0.85
    smoke: bool = False


SMOKE = Size(48, 16, (2,), 2, (1, 2), 4, seeds=1, seconds=1000.0, seconds_a_way=1.0, smoke=True)


def seconds_per_step(way: Way, size: Size, device: torch.device) -> float:
    """Seconds of a step of one cell, the median of a few rounds of whole batches, after one that does not count.

    A round is an epoch, or as many of its steps as fit into the seconds of a way. All take the same images, so that
    nothing is recorded anew in between.
    """
    orders = np.stack([np.random.default_rng(c).permutation(size.train) for c in range(way.cells)])

    def seconds(steps: int) -> float:
        start = time.perf_counter()
        way.epoch(orders[:, : steps * size.batch])
        wait(device)
        return time.perf_counter() - start

    steps = size.train // size.batch
    seconds(1)
    affordable = size.seconds_a_way / (ROUNDS + 1) / seconds(1)
    steps = min(steps, max(1, int(affordable)))
    rounds = [seconds(steps) for _ in range(ROUNDS + 1)][1:]
    if not bool(torch.isfinite(way.losses()).all()):
        raise RuntimeError("a loss is not finite: what was timed is no training")
    return statistics.median(rounds) / steps / way.cells


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peaks(device: torch.device, side: int) -> tuple[float, float]:
    """FLOP/s of a float32 product of `side`^3 and bytes/s of a copy: the best of five."""
    a, b = (torch.randn(side, side, device=device) for _ in range(2))
    source = torch.randn(side * side * 8, device=device)
    target = torch.empty_like(source)

    def best(run: Callable[[], object]) -> float:
        seconds = []
        for _ in range(6):
            wait(device)
            start = time.perf_counter()
            run()
            wait(device)
            seconds.append(time.perf_counter() - start)
        return min(seconds[1:])

    flops = 2 * side**3 / best(lambda: torch.mm(a, b))
    return flops, 2 * source.nbytes / best(lambda: target.copy_(source))


def attempt(way: Callable[[], Way], size: Size, device: torch.device) -> float | str:
    """Seconds a step, or why there are none: one way that fails is no reason to lose what the others take."""
    gc.collect()  # an earlier way's memory
    try:
        return seconds_per_step(way(), size, device)
    except torch.OutOfMemoryError:
        return "no memory"
    except Exception as error:  # whatever a device may raise
        traceback.print_exc()
        return f"{type(error).__name__}: {error}".splitlines()[0]


def an_hour(seconds: float | str, size: Size) -> float | str:
    """Trainings of 100 epochs an hour, evaluation apart."""
    steps = EPOCHS * -(-size.train // size.batch)
    return seconds if isinstance(seconds, str) else 3600 / (steps * seconds)
