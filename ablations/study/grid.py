"""From a study's grid, exclusions and inclusions to its variants and their names."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ablations.study.factors import FACTORS, REQUIRED, Level, varying
from ablations.study.problems import Problem
from ablations.study.study import FIRST_LEVELS, Variant
from linefit.definitions import fingerprint
from linefit.legal import spelled
from linefit.levels import absolute, has_logits, reference_of
from linefit.levels import problems as net_problems
from linefit.yardsticks import YARDSTICKS

MOST_CELLS = 1_000_000  # of a study: what one machine trains in a year of 30-second cells
# Factors whose levels are told by their names alone.
OBVIOUS = ("architecture", "coordinates", "pooling")

Levels = Mapping[str, Level]


@dataclass(frozen=True)
class Inclusion:
    """A variant that a study file spells out."""

    levels: Levels
    name: str | None
    published: float | None


@dataclass(frozen=True)
class Grid:
    """The parts of a study file that make its variants, every level legal and in its one form."""

    shared: Levels  # of the protocol, over the defaults
    axes: Mapping[str, Sequence[Level]]
    exclude: Sequence[Mapping[str, Sequence[Level]]]  # factor -> any of these levels
    include: Sequence[Inclusion]

    def size(self) -> int:
        """Variants, before any is excluded."""
        product = math.prod(map(len, self.axes.values())) if self.axes else 0
        return product + len(self.include)

    def variants(self, folder: Path) -> tuple[list[Variant], list[Problem]]:
        """The axes' combinations less what `exclude` matches, then what `include` adds; and what is wrong with them."""
        rest = {name: factor.default for name, factor in FACTORS.items()} | dict(self.shared)

        def complete(levels: Levels) -> Levels:
            """A level for every factor, in one order."""
            found = {**rest, **levels}
            return {name: level for name in FACTORS if (level := found[name]) is not None}

        used = [False] * len(self.exclude)
        grid = [Inclusion(complete(levels), None, None) for levels in self._combinations()]
        kept = [entry for entry in grid if not self._excluded(entry.levels, used)]
        kept += [replace(entry, levels=complete(entry.levels)) for entry in self.include]
        problems = [
            Problem(
                f"exclude[{i}]",
                self.exclude[i],
                "a table that matches some combination of the grid",
            )
            for i, seen in enumerate(used)
            if not seen
        ]
        if not kept:
            problems.append(
                Problem("grid", None, "at least one variant, from [grid] or [[include]]")
            )
        unnamed = [entry.levels for entry in kept if entry.name is None]
        factors = tuple(varying(unnamed)) or REQUIRED
        code = _Code(folder)
        variants = [
            Variant(
                e.name or variant_name(e.levels, factors),
                e.levels,
                e.published,
                str(folder),
                code.of(e.levels),
            )
            for e in kept
        ]
        return variants, problems + list(_twins(variants)) + _conflicts(variants)

    def _combinations(self) -> Iterator[dict[str, Level]]:
        if self.axes:
            for levels in itertools.product(*self.axes.values()):
                yield dict(zip(self.axes, levels, strict=True))

    def _excluded(self, levels: Levels, used: list[bool]) -> bool:
        """Whether some exclusion matches; `used` notes which."""
        hits = [all(levels[f] in any_of for f, any_of in e.items()) for e in self.exclude]
        used[:] = [a or b for a, b in zip(used, hits, strict=True)]
        return any(hits)


class _Code:
    """Fingerprints of levels, each computed once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: dict[tuple[str, Level], str] = {}

    def of(self, levels: Levels) -> dict[str, str]:
        """Factor -> fingerprint, of the levels whose code the version of the engine does not stand for."""
        later = [f for f, first in FIRST_LEVELS.items() if levels[f] not in first]
        return {factor: self._fingerprint(factor, levels[factor]) for factor in later}

    def _fingerprint(self, factor: str, level: Level) -> str:
        if (factor, level) not in self.known:
            reference = reference_of(factor, absolute(str(level), self.folder))
            self.known[factor, level] = fingerprint(reference)
        return self.known[factor, level]


def variant_name(levels: Levels, factors: Sequence[str]) -> str:
    """`conv2-cartesian-w48-epochs=10` from the levels of the factors that vary, and of no other."""
    names = {
        f: levels[f]
        if f in OBVIOUS
        else f"w{levels[f]}"
        if f == "width"
        else f"{f}={spelled(levels[f])}"
        for f in factors
    }
    name = "-".join(map(str, names.values()))
    # Tables hold variants and yardsticks side by side.
    return f"{factors[0]}={name}" if name in YARDSTICKS else name


def _conflicts(variants: Sequence[Variant]) -> list[Problem]:
    """Settings of the protocol that do not go together with the other levels of their variant, each once."""
    found = []
    for variant in variants:
        conflicts = variant.protocol.conflicts()
        if variant.protocol.loss == "cross_entropy" and not has_logits(variant.levels):
            legal = "another one: cross_entropy takes head categorical or architecture hough"
            conflicts.append(("loss", legal))
        found += [Problem(setting, variant.levels[setting], legal) for setting, legal in conflicts]
    return list(dict.fromkeys(found)) + list(_nets(variants))


def _nets(variants: Sequence[Variant]) -> Iterator[Problem]:
    """Levels that make no net together, each reason once."""
    found: dict[str, list[str]] = {}
    for variant in variants:
        for reason in net_problems(variant.net):
            found.setdefault(reason, []).append(variant.name)
    for reason, names in found.items():
        legal = f"levels that go together ([[exclude]] takes others out): {reason}"
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield Problem("levels", None, f"{legal} (so in {names[0]}{others})")


def _twins(variants: Sequence[Variant]) -> Iterator[Problem]:
    """Variants that share a name, or their levels under two names."""
    names = Counter(variant.name for variant in variants)
    for name in [name for name, count in names.items() if count > 1]:
        yield Problem("include", name, "variants with different names")
    first: dict[tuple[Level, ...], str] = {}
    for variant in variants:
        name = first.setdefault(tuple(variant.levels.values()), variant.name)
        if name != variant.name:
            yield Problem(
                "include", variant.name, f"a variant of its own: it has the levels of {name}"
            )
