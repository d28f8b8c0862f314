"""What a study is: a named grid plus a protocol, its variants and its cells, and the key of a cell.

Reading study files is in `reader`, expanding grids in `grid`; nothing here trains, reads results or prints.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from ablations.study.factors import FACTORS, NET_FACTORS, PROTOCOL_FACTORS, Level
from ablations.study.problems import Problem
from linefit.images import LAB_DIM, SPLITS, Split
from linefit.levels import absolute, reference_of
from linefit.other_sizes import size_problem
from linefit.protocol import Protocol
from linefit.yardsticks import YARDSTICKS

ENGINE_VERSION = 2  # raise it when a change of the code changes what a cell's numbers are
# In every cell's key. A factor or a field of a split that came later is in it only where it is not at its default, so
# that cells which do not use it keep their keys. Never add to these.
FIRST_FACTORS = (
    "architecture",
    "coordinates",
    "pooling",
    "width",
    "train_size",
    "epochs",
    "batch_size",
    "learning_rate",
    "engine",
)
# The code of these is what ENGINE_VERSION stands for; that of every other level is in the key as a fingerprint.
FIRST_LEVELS = {
    "architecture": ("conv1", "conv2", "conv3", "conv4"),
    "coordinates": ("none", "cartesian"),
    "pooling": ("flatten", "max", "average"),
    "head": ("mlp",),
}
FIRST_SPLIT_FIELDS = ("size", "random_offset")
MOST_SEEDS = 10_000
LARGEST_SEED = 2**32 - 1
LEGAL_SEEDS = (
    f"a number of seeds from 1 to {MOST_SEEDS} "
    f"or a list of integers from 0 to {LARGEST_SEED} without repeats"
)


class StudyError(ValueError):
    """A study that cannot be run; `problems` holds every reason."""

    def __init__(self, source: str, problems: Iterable[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{source}: {problem}" for problem in self.problems))


def configuration_key(configuration: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of a cell's configuration, 64 hexadecimal digits."""
    text = json.dumps(configuration, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def split_facts(name: str) -> dict[str, Any]:
    """What the images of a split depend on."""
    return dict(_facts(SPLITS[name]))


@cache  # every cell's key asks for them
def _facts(split: Split) -> dict[str, Any]:
    later = {f.name: f.default for f in fields(split) if f.name not in FIRST_SPLIT_FIELDS}
    return {k: x for k, x in asdict(split).items() if k not in later or x != later[k]}


@dataclass(frozen=True)
class Variant:
    """One combination of levels, with everything resolved but the seed."""

    name: str
    levels: Mapping[str, Level]  # every factor of FACTORS
    published: float | None = None  # test MSE of the one published report
    folder: str = field(
        default="", compare=False
    )  # where files stand that levels of the user's are defined in
    # Factor -> hash of its level's code, for levels that came after the first release and those of the user's.
    fingerprints: Mapping[str, str] = field(default_factory=dict)

    @property
    def net(self) -> dict[str, Any]:
        """What `linefit.architectures.build` takes."""
        levels = {name: self.levels[name] for name in NET_FACTORS}
        folder = Path(self.folder)
        return {k: absolute(x, folder) if isinstance(x, str) else x for k, x in levels.items()}

    def not_applicable(self, split: str) -> str | None:
        """Why the net cannot be evaluated on a split, None where it can."""
        known = SPLITS.get(split)  # results may have others
        return None if known is None or known.dim == LAB_DIM else size_problem(self.net)

    @property
    def protocol(self) -> Protocol:
        return Protocol(**{name: self.levels[name] for name in PROTOCOL_FACTORS})  # type: ignore[arg-type]


@dataclass(frozen=True)
class Cell:
    """One variant with one seed: one training run."""

    variant: Variant
    seed: int
    splits: tuple[str, ...]

    @property
    def protocol(self) -> Protocol:
        return self.variant.protocol

    @property
    def evaluated(self) -> list[str]:
        """The evaluation splits that the net can be evaluated on."""
        return [s for s in self.splits if self.variant.not_applicable(s) is None]

    @property
    def configuration(self) -> dict[str, Any]:
        """All that decides the cell's numbers, and nothing else: neither its name nor where it runs."""
        levels = self.variant.levels
        return {
            **{
                name: levels[name]
                for name, factor in FACTORS.items()
                if name in FIRST_FACTORS or levels[name] != factor.default
            },
            "seed": self.seed,
            "dtype": "float32",
            "evaluation": {name: split_facts(name) for name in sorted(self.splits)},
            "engine_version": ENGINE_VERSION,
            **(
                {"fingerprints": dict(self.variant.fingerprints)}
                if self.variant.fingerprints
                else {}
            ),
        }

    @cached_property
    def key(self) -> str:
        """SHA-256 of the configuration, 64 hexadecimal digits."""
        return configuration_key(self.configuration)


@dataclass(frozen=True)
class Study:
    """A named grid plus a protocol."""

    name: str
    title: str
    variants: tuple[Variant, ...]
    factors: tuple[str, ...]  # those that differ between variants
    seeds: tuple[int, ...]
    protocol: Protocol  # what variants share; a factor of the protocol overrides it
    splits: tuple[str, ...]
    yardsticks: tuple[str, ...]
    against: str
    margin: float
    text: str  # the file as it was read
    folder: Path = field(
        default=Path(), compare=False
    )  # of the file, and of files that levels are defined in

    def reference(self, yardstick: str) -> str | None:
        """Where a yardstick of the user's is defined, None for one of the package's own."""
        if yardstick in YARDSTICKS:
            return None
        return reference_of("yardstick", absolute(yardstick, self.folder))

    def cells(self, seeds: Iterable[int] | None = None) -> list[Cell]:
        """Cells seed by seed, so that an interrupted run has compared every variant on some seeds."""
        chosen = self.seeds if seeds is None else tuple(seeds)
        return [Cell(v, seed, self.splits) for seed in chosen for v in self.variants]


def read_seeds(value: object) -> tuple[int, ...] | None:
    """`10` is seeds 0 to 9, a sequence is these very seeds; None for what is neither, see LEGAL_SEEDS."""
    if type(value) is int:
        return tuple(range(value)) if 1 <= value <= MOST_SEEDS else None
    if not isinstance(value, (list, tuple, range)) or not 1 <= len(value) <= MOST_SEEDS:
        return None
    legal = all(type(seed) is int and 0 <= seed <= LARGEST_SEED for seed in value)
    return tuple(value) if legal and len(set(value)) == len(value) else None
