"""Study files: parse and validate TOML, and expand the grid to variants.

A file that is wrong in five places raises one `StudyError` that lists all five.
"""

from __future__ import annotations

import itertools
import json
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ablations.study.problems import Problem, nearest
from ablations.study.study import (
    FACTORS,
    LEGAL_SEEDS,
    NET_FACTORS,
    PROTOCOL_FACTORS,
    Level,
    Study,
    StudyError,
    Variant,
    read_seeds,
)
from linefit.architectures import ARCHITECTURES
from linefit.coordinates import COORDINATES
from linefit.images import SPLITS
from linefit.pooling import POOLINGS
from linefit.protocol import ENGINES, Protocol
from linefit.yardsticks import YARDSTICKS

SHIPPED = Path(__file__).parents[1] / "studies"
EVALUATION_SPLITS = tuple(name for name in SPLITS if name not in ("train", "val"))
LEGAL_NAMES: dict[str, tuple[str, ...]] = {
    "architecture": tuple(ARCHITECTURES),
    "coordinates": tuple(COORDINATES),
    "pooling": tuple(POOLINGS),
    "engine": ENGINES,
}
# Beyond this many images the training split would reach into the seeds of val.
MOST_TRAINING_IMAGES = SPLITS["val"].random_offset
LEGAL_INTEGERS = {
    "width": (1, 4096),
    "train_size": (1, MOST_TRAINING_IMAGES),
    "epochs": (1, 100_000),
    "batch_size": (1, MOST_TRAINING_IMAGES),
}
VARIANT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.=+-]*")


def shipped_studies() -> list[Path]:
    """The files of the studies that come with the package, by name."""
    return sorted(SHIPPED.glob("*.toml"))


def load_study(study: str | Path) -> Study:
    """A shipped study by name, or a study file by path (anything that ends in `.toml`).

    Raises StudyError with every problem of the file, or with the shipped names if there is no such study.
    """
    path = Path(study)
    names = [file.stem for file in shipped_studies()]
    if path.suffix != ".toml":
        if str(study) not in names:
            hint = nearest(str(study), names)
            raise StudyError(
                "study",
                [
                    Problem(
                        "",
                        str(study),
                        f"one of {', '.join(names)}, or a path to a .toml file",
                        hint,
                    )
                ],
            )
        path = SHIPPED / f"{study}.toml"
    elif path.stem in names and path.resolve().parent != SHIPPED.resolve():
        # Results go by the study's name: this file's would replace those of the shipped study.
        raise StudyError(
            str(path),
            [Problem("", path.name, f"another file name: {path.stem} is a study that is shipped")],
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(
            str(path), [Problem("", None, f"a readable text file ({error})")]
        ) from error
    return parse_study(text, name=path.stem, source=str(path))


def parse_study(text: str, *, name: str, source: str) -> Study:
    """A study from the text of its file; `source` is what error messages call it."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise StudyError(source, [Problem("", None, f"valid TOML ({error})")]) from error
    reader = _Reader()
    study = reader.study(data, name, text)
    if reader.problems:
        raise StudyError(source, reader.problems)
    assert study is not None  # no study without a problem that says why
    return study


class _Reader:
    """Reads a parsed file top down and collects every problem on the way instead of stopping at the first."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def problem(self, key: str, given: object, legal: str, hint: str | None = None) -> None:
        self.problems.append(Problem(key, given, legal, hint))

    def table(self, data: Mapping[str, Any], key: str, legal: Iterable[str]) -> dict[str, Any]:
        value = data.get(key, {})
        if not isinstance(value, dict):
            self.problem(key, value, "a table")
            return {}
        return self.known(value, f"{key}.", legal)

    def known(self, table: Mapping[str, Any], prefix: str, legal: Iterable[str]) -> dict[str, Any]:
        names = list(legal)
        for key in [key for key in table if key not in names]:
            self.problem(
                f"{prefix}{key}", None, f"a known key: {', '.join(names)}", nearest(key, names)
            )
        return {key: value for key, value in table.items() if key in names}

    def name(self, key: str, value: object, names: Iterable[str]) -> bool:
        legal = list(names)
        if value in legal:
            return True
        hint = nearest(value, legal) if isinstance(value, str) else None
        self.problem(key, value, f"one of {', '.join(legal)}", hint)
        return False

    def level(self, factor: str, key: str, value: object) -> bool:
        """Whether a level is legal for its factor."""
        if factor in LEGAL_NAMES:
            return self.name(key, value, LEGAL_NAMES[factor])
        if factor in LEGAL_INTEGERS:
            low, high = LEGAL_INTEGERS[factor]
            if type(value) is int and low <= value <= high:
                return True
            self.problem(key, value, f"an integer from {low} to {high}")
            return False
        if type(value) in (int, float) and 0 < value <= sys.float_info.max:  # type: ignore[operator]
            return True
        self.problem(key, value, "a positive number")
        return False

    def names(self, key: str, value: object, legal: Iterable[str]) -> tuple[str, ...]:
        options = list(legal)
        if not isinstance(value, list) or not value:
            self.problem(key, value, f"a list of some of {', '.join(options)}")
            return ()
        chosen = [item for i, item in enumerate(value) if self.name(f"{key}[{i}]", item, options)]
        return tuple(dict.fromkeys(chosen))

    def seeds(self, value: object) -> tuple[int, ...]:
        seeds = read_seeds(value)
        if seeds is None:
            self.problem("seeds", value, LEGAL_SEEDS)
        return seeds or ()

    def levels(self, grid: Mapping[str, Any]) -> dict[str, list[Level]]:
        """The grid's levels; one level may be written without brackets."""
        read: dict[str, list[Level]] = {}
        for factor, value in grid.items():
            items = value if isinstance(value, list) else [value]
            if not items:
                self.problem(f"grid.{factor}", value, "at least one level")
            legal = [
                canonical(factor, x)
                for i, x in enumerate(items)
                if self.level(factor, f"grid.{factor}[{i}]", x)
            ]
            if len({json.dumps(x) for x in legal}) < len(legal):
                self.problem(f"grid.{factor}", value, "levels without repeats")
            read[factor] = legal
        for factor in NET_FACTORS:
            if grid and factor not in grid:
                self.problem(
                    f"grid.{factor}", None, "present: a grid names all of " + ", ".join(NET_FACTORS)
                )
        return read

    def entries(
        self, data: Mapping[str, Any], key: str, extra: Iterable[str]
    ) -> list[dict[str, Any]]:
        """The tables of `[[include]]` or `[[exclude]]`."""
        value = data.get(key, [])
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            self.problem(key, value, f"tables, each under [[{key}]]")
            return []
        read = []
        for i, entry in enumerate(value):
            entry = self.known(entry, f"{key}[{i}].", (*FACTORS, *extra))
            for factor in [name for name in FACTORS if name in entry]:
                if self.level(factor, f"{key}[{i}].{factor}", entry[factor]):
                    entry[factor] = canonical(factor, entry[factor])
            read.append(entry)
        return read

    def included(self, data: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The tables of `[[include]]`, each a whole variant."""
        include = self.entries(data, "include", ("name", "published"))
        for i, entry in enumerate(include):
            missing = [factor for factor in NET_FACTORS if factor not in entry]
            if missing:
                self.problem(f"include[{i}]", None, f"complete: it lacks {', '.join(missing)}")
            if "name" in entry:
                label = entry["name"]
                usable = isinstance(label, str) and VARIANT_NAME.fullmatch(label)
                if not usable or label in YARDSTICKS:
                    legal = "letters, digits and _ . = + -, and not a yardstick's name"
                    self.problem(f"include[{i}].name", label, legal)
            published = entry.get("published", 1.0)
            if type(published) not in (int, float) or not 0 < published <= sys.float_info.max:
                legal = "a positive number, the published test MSE"
                self.problem(f"include[{i}].published", published, legal)
        return include

    def study(self, data: Mapping[str, Any], name: str, text: str) -> Study | None:
        legal = (
            "title",
            "seeds",
            "protocol",
            "grid",
            "include",
            "exclude",
            "evaluation",
            "comparison",
        )
        data = self.known(data, "", legal)
        title = data.get("title", name)
        if not isinstance(title, str):
            self.problem("title", title, "a text")
        seeds = self.seeds(data.get("seeds", 5))
        shared = self.table(data, "protocol", PROTOCOL_FACTORS)
        for factor, value in shared.items():
            if self.level(factor, f"protocol.{factor}", value):
                shared[factor] = canonical(factor, value)
        grid = self.levels(self.table(data, "grid", FACTORS))
        include = self.included(data)
        exclude = self.entries(data, "exclude", ())
        for i, entry in enumerate(data.get("exclude", []) if exclude else []):
            if not entry:
                self.problem(f"exclude[{i}]", entry, "at least one factor and its level")
        evaluation = self.table(data, "evaluation", ("splits", "yardsticks"))
        comparison = self.table(data, "comparison", ("against", "margin"))
        splits = self.names(
            "evaluation.splits",
            evaluation.get("splits", list(EVALUATION_SPLITS)),
            EVALUATION_SPLITS,
        )
        yardsticks = self.names(
            "evaluation.yardsticks", evaluation.get("yardsticks", list(YARDSTICKS)), YARDSTICKS
        )
        # The constant predictor scores failed cells and the posterior mean is the floor of every table.
        needed = [
            *yardsticks,
            *(n for n in ("constant", "least_squares", "posterior_mean") if n not in yardsticks),
        ]
        against = comparison.get("against", "least_squares")
        self.name("comparison.against", against, needed)
        margin = comparison.get("margin", 1.25)
        if type(margin) not in (int, float) or not 1 < margin < 100:
            self.problem("comparison.margin", margin, "a ratio above 1 and below 100")
        if self.problems:
            return None
        variants = self.variants(grid, include, exclude, {**asdict(Protocol()), **shared})
        if self.problems:
            return None
        factors = tuple(f for f in FACTORS if len({json.dumps(v.levels[f]) for v in variants}) > 1)
        return Study(
            name,
            title,
            variants,
            factors,
            seeds,
            Protocol(**shared),
            splits,
            tuple(needed),
            against,
            margin,
            text,
        )

    def variants(
        self,
        grid: Mapping[str, list[Level]],
        include: list[dict[str, Any]],
        exclude: list[dict[str, Any]],
        shared: dict[str, Level],
    ) -> tuple[Variant, ...]:
        """The grid less what `exclude` matches, then what `include` adds. Levels are legal by now."""
        used = [False] * len(exclude)
        combinations = (
            [dict(zip(grid, c, strict=True)) for c in itertools.product(*grid.values())]
            if grid
            else []
        )
        named: list[tuple[str, dict[str, Level], float | None]] = []
        for levels in combinations:
            hits = [
                all(levels.get(f, shared.get(f)) == value for f, value in e.items())
                for e in exclude
            ]
            used = [a or b for a, b in zip(used, hits, strict=True)]
            if not any(hits):
                named.append((variant_name(levels), levels, None))
        for i, seen in enumerate(used):
            if not seen:
                self.problem(
                    f"exclude[{i}]", exclude[i], "a table that matches some combination of the grid"
                )
        for entry in include:
            levels = {f: entry[f] for f in FACTORS if f in entry}
            named.append((entry.get("name", variant_name(levels)), levels, entry.get("published")))
        if not named and not self.problems:
            self.problem("grid", None, "at least one variant, from [grid] or [[include]]")
        variants = tuple(
            Variant(label, {**shared, **levels}, published) for label, levels, published in named
        )
        for one, other in itertools.combinations(variants, 2):
            if one.name == other.name:
                self.problem("include", one.name, "variants with different names")
            elif one.levels == other.levels:
                self.problem(
                    "include", other.name, f"a variant of its own: it has the levels of {one.name}"
                )
        return variants


def canonical(factor: str, level: Level) -> Level:
    """A legal level in the one form that keys and names are made of: a learning rate of 1 is one of 1.0."""
    return level if factor in LEGAL_NAMES or factor in LEGAL_INTEGERS else float(level)


def variant_name(levels: Mapping[str, Level]) -> str:
    """`conv2-cartesian-max-w48`, with `-epochs=10` and the like for levels of the protocol."""
    net = "{architecture}-{coordinates}-{pooling}-w{width}".format(**levels)
    return "-".join(
        [net, *(f"{name}={value}" for name, value in levels.items() if name not in NET_FACTORS)]
    )
