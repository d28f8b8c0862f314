"""Made-up `StudyResults` of a chosen size, for tests of what reads them.

Errors are heavy-tailed and have seed and image effects, as those of trained nets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import islice, product
from math import prod

import numpy as np
import pandas as pd

from ablations.records.results import (
    CELL_TYPES,
    CURVE_TYPES,
    SplitResults,
    StudyResults,
    VariantResults,
    typed,
)
from ablations.study.study import PROTOCOL_FACTORS, Level, Study, Variant
from linefit.images import lab_images
from linefit.protocol import Protocol

RANDOM_OFFSET = 99_999  # the lab's test split
GRID: Mapping[str, Sequence[Level]] = {
    "architecture": ("conv2", "conv1", "conv3-wide"),
    "coordinates": ("none", "cartesian", "radial", "sinusoidal-8", "cartesian-centred-scaled"),
    "pooling": ("max", "log-sum-exp"),
    "width": (48, 8),
}
FACTORS = tuple(GRID)
# RMS error relative to least squares, whose MSE on the lab's test split is 0.0788.
YARDSTICKS = {
    "least_squares": 1.0,
    "total_least_squares": 1.001,
    "theil_sen": 1.05,
    "huber": 1.0,
    "least_absolute_deviations": 1.12,
    "chebyshev": 0.93,
    "posterior_mean": 0.88,
    "posterior_mode": 0.99,
}


def synthetic_results(
    n_variants: int = 3,
    n_seeds: int = 5,
    n_images: int = 500,
    *,
    failures: Mapping[tuple[int, int], str] | None = None,
    epochs: int = 10,
    splits: tuple[str, ...] = ("test",),
    seed: int = 0,
    grid: Mapping[str, Sequence[Level]] | None = None,
) -> StudyResults:
    """Results with `n_variants` of `n_seeds` cells each, the first of `GRID`, which has 60, and of more widths.

    `failures` maps (variant, seed), both counted from 0, to a status. All variants of a `grid` over the same factors
    instead, whose levels have effects of their own on the error, the first factor's the largest.
    """
    rng = np.random.default_rng(seed)
    failures = failures or {}
    if grid is None:
        others = prod(len(GRID[factor]) for factor in FACTORS[:-1])
        widths = (48, 8, *range(49, 49 + max(-(-n_variants // others) - 2, 0)))
        levels_of = [*(GRID[factor] for factor in FACTORS[:-1]), widths]
        rows = list(islice(product(*levels_of), n_variants))
        log_rms = {row: rng.uniform(-0.7, 0.7) for row in rows}
    else:
        rows = list(product(*(grid[factor] for factor in FACTORS)))
        log_rms = _log_rms(grid, rows, rng)
    protocol = Protocol(epochs=epochs)
    names = ["-".join(map(str, row[:-1])) + f"-w{row[-1]}" for row in rows]
    levels = {
        name: {**dict(zip(FACTORS, row, strict=True)), **asdict(protocol)}
        for name, row in zip(names, rows, strict=True)
    }
    status = {
        (name, k): failures.get((v, k), "ok")
        for v, name in enumerate(names)
        for k in range(n_seeds)
    }
    rms = {name: 10 ** log_rms[row] for name, row in zip(names, rows, strict=True)}
    curves = [
        curve
        for (name, k), end in status.items()
        for curve in _curve(name, k, end, rms[name], epochs, rng)
    ]
    cells = pd.DataFrame(
        {
            "key": [f"{rng.integers(2**63):016x}" * 4 for _ in status],
            "variant": [name for name, _ in status],
            **{
                factor: [levels[name][factor] for name, _ in status]
                for factor in (*FACTORS, *PROTOCOL_FACTORS)
            },
            "seed": [k for _, k in status],
            "status": list(status.values()),
            "message": [
                "" if s == "ok" else "loss is not finite (step 12)" for s in status.values()
            ],
            "parameters": 28_658,
            "steps": 40 * epochs,
            "seconds": rng.uniform(10, 20, len(status)),
            "peak_memory_mib": 512.0,
            "engine_used": "dense",
            "device": "cpu",
            "threads": 1,
            "epochs_done": [epochs if s == "ok" else epochs // 2 for s in status.values()],
            "train_loss": [
                rms[name] ** 2 if s == "ok" else np.nan for (name, _), s in status.items()
            ],
            "val_mse": [rms[name] ** 2 if s == "ok" else np.nan for (name, _), s in status.items()],
        }
    )
    published = {names[0]: 16.5643}
    return StudyResults(
        study=Study(
            name="synthetic",
            title="Synthetic grid",
            variants=tuple(Variant(name, levels[name], published.get(name)) for name in names),
            factors=FACTORS,
            seeds=tuple(range(n_seeds)),
            protocol=protocol,
            splits=splits,
            yardsticks=("constant", *YARDSTICKS),
            against="least_squares",
            margin=1.25,
            text="",
        ),
        cells=typed(cells, CELL_TYPES),
        curves=typed(pd.DataFrame(curves, columns=list(CURVE_TYPES)), CURVE_TYPES),
        splits={
            split: _split(split, i * n_images, names, levels, status, rms, n_seeds, n_images, rng)
            for i, split in enumerate(splits)
        },
        provenance={
            "git_commit": "0123456789abcdef",
            "git_dirty": False,
            "versions": {"torch": "2.13.0", "numpy": "2.4.6"},
            "cpu": "x86_64",
            "cores": [2, 16],
            "gpu": None,
        },
    )


def _log_rms(
    grid: Mapping[str, Sequence[Level]], rows: Sequence[tuple[Level, ...]], rng: np.random.Generator
) -> dict[tuple[Level, ...], float]:
    """Of each row: an effect a factor's level, one of the first two factors together, and a little of its own."""
    found = dict.fromkeys(rows, 0.0)
    for at, factor in enumerate(FACTORS):
        effect = {level: rng.normal(0, 0.5 / (at + 1)) for level in grid[factor]}
        found = {row: value + effect[row[at]] for row, value in found.items()}
    both = {pair: rng.normal(0, 0.15) for pair in product(*(grid[f] for f in FACTORS[:2]))}
    return {row: value + both[row[:2]] + rng.normal(0, 0.05) for row, value in found.items()}


def _split(
    split: str,
    offset: int,
    names: list[str],
    levels: Mapping[str, Mapping[str, Level]],
    status: Mapping[tuple[str, int], str],
    rms: Mapping[str, float],
    n_seeds: int,
    n_images: int,
    rng: np.random.Generator,
) -> SplitResults:
    params = lab_images(n_images, random_offset=RANDOM_OFFSET + offset).params
    scale = np.array([0.1, 1.0]) * 2**0.5  # nearly all of the MSE is the intercept's
    hardness = rng.lognormal(0, 0.6, (n_images, 1))
    hardness /= np.sqrt((hardness**2).mean())
    variants = []
    for name in names:
        seed_scale = rng.lognormal(0, 0.2, (n_seeds, 1, 1))
        noise = (
            rng.standard_normal((n_seeds, n_images, 2)) * hardness * scale * rms[name] * seed_scale
        )
        ends = tuple(status[name, k] for k in range(n_seeds))
        noise[[end != "ok" for end in ends]] = np.nan
        variants.append(
            VariantResults(
                name=name,
                levels=levels[name],
                seeds=np.arange(n_seeds),
                status=ends,
                predictions=(params + noise).astype(np.float32),
            )
        )
    base = rng.standard_normal((n_images, 2)) * hardness * scale * 0.0788**0.5
    yardsticks = {
        "constant": np.broadcast_to(params.mean(axis=0, dtype=np.float64), params.shape),
        **{name: params + factor * base for name, factor in YARDSTICKS.items()},
    }
    return SplitResults(split, params, tuple(variants), yardsticks)


def _curve(
    name: str, seed: int, end: str, rms: float, epochs: int, rng: np.random.Generator
) -> list[tuple[str, int, int, float, float]]:
    """Rows of a cell: falling from the constant predictor's loss; a failed cell stops half-way."""
    t = np.arange(1, epochs + 1)
    val = (rms**2 + 85 * np.exp(-4 * t / epochs)) * rng.lognormal(0, 0.25, epochs)
    train = val * rng.lognormal(-0.3, 0.05, epochs)
    if end != "ok":
        t = t[: max(1, epochs // 2)]
        val[t[-1] - 1] *= 1e4
        if end == "diverged":
            train[t[-1] - 1] = np.nan
    return [(name, seed, int(e), float(train[e - 1]), float(val[e - 1])) for e in t]
