"""Study files: parse and validate TOML.

A file that is wrong in five places raises one `StudyError` that lists all five. What a factor's levels may be is in
`factors`, how a grid becomes variants in `grid`.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ablations.study.factors import (
    FACTORS,
    PROTOCOL_FACTORS,
    REQUIRED,
    YARDSTICK,
    Factor,
    Level,
    LevelError,
    varying,
)
from ablations.study.grid import MOST_CELLS, Grid, Inclusion
from ablations.study.problems import Problem, nearest
from ablations.study.study import LEGAL_SEEDS, Study, StudyError, read_seeds
from ablations.study.tables import Tables
from linefit.images import SPLITS
from linefit.protocol import Protocol
from linefit.yardsticks import YARDSTICKS

SHIPPED = Path(__file__).parents[1] / "studies"
EVALUATION_SPLITS = tuple(name for name in SPLITS if name not in ("train", "val"))
DEFAULT_SPLITS = ("test", "test_large")  # where a study names none
# The constant predictor scores failed cells and the posterior mean is the floor of every table.
NEEDED_YARDSTICKS = ("constant", "least_squares", "posterior_mean")
SECTIONS = (
    "title",
    "seeds",
    "protocol",
    "grid",
    "include",
    "exclude",
    "evaluation",
    "comparison",
    "set",  # what the command line puts in the place of the protocol's settings
)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.=+-]{0,99}")
LEGAL_NAME = "a letter or digit, then letters, digits and _ . = + -, at most 100 in all"


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
            legal = f"one of {', '.join(names)}, or a path to a .toml file"
            raise StudyError("study", [Problem("", str(study), legal, nearest(str(study), names))])
        path = SHIPPED / f"{study}.toml"
    elif path.stem in names and path.resolve().parent != SHIPPED.resolve():
        # Results go by the study's name: this file's would replace those of the shipped study.
        legal = f"another file name: {path.stem} is a study that is shipped"
        raise StudyError(str(path), [Problem("", path.name, legal)])
    return parse_study(read_text(path), name=path.stem, source=str(path), folder=path.parent)


def read_text(path: Path) -> str:
    """The text of a study file. Raises StudyError for one that cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, or a null byte in the path
        problem = Problem("", None, f"a readable text file ({error})")
        raise StudyError(str(path), [problem]) from error


def parse_study(text: str, *, name: str, source: str, folder: Path = Path()) -> Study:
    """A study from the text of its file; `source` is what error messages call it, `folder` where it stands."""
    if not NAME.fullmatch(name):
        # Results lie in a folder of this name.
        raise StudyError(source, [Problem("name of the study", name, LEGAL_NAME)])
    try:
        data = tomllib.loads(text)
    except ValueError as error:
        raise StudyError(source, [Problem("", None, f"valid TOML ({error})")]) from error
    except RecursionError:
        problem = Problem("", None, "TOML that is not nested hundreds deep")
        raise StudyError(source, [problem]) from None
    reader = _Reader(folder.resolve())
    study = reader.study(data, name, text)
    if study is None or reader.problems:
        raise StudyError(source, reader.problems)
    return study


class _Reader(Tables):
    """Reads a parsed file top down and collects every problem on the way instead of stopping at the first."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def study(self, data: Mapping[str, Any], name: str, text: str) -> Study | None:
        data = self.known(data, "", SECTIONS)
        title = data.get("title", name)
        if not (isinstance(title, str) and title.isprintable() and 1 <= len(title) <= 200):
            self.problem("title", title, "a text of one line, at most 200 characters")
        seeds = self.seeds(data.get("seeds", 5))
        grid = self.grid(data)
        evaluation = self.table(data, "evaluation", ("splits", "yardsticks"))
        comparison = self.table(data, "comparison", ("against", "margin"))
        splits = self.names(
            "evaluation.splits",
            evaluation.get("splits", list(DEFAULT_SPLITS)),
            EVALUATION_SPLITS,
        )
        yardsticks = self.yardsticks(evaluation.get("yardsticks", list(YARDSTICKS)))
        yardsticks += tuple(name for name in NEEDED_YARDSTICKS if name not in yardsticks)
        against = comparison.get("against", "least_squares")
        self.name("comparison.against", against, yardsticks)
        margin = comparison.get("margin", 1.25)
        if type(margin) not in (int, float) or not 1 < margin < 100:
            self.problem("comparison.margin", margin, "a ratio above 1 and below 100")
        if not self.problems and grid.size() * len(seeds) > MOST_CELLS:
            size = f"{grid.size():,} variants with {len(seeds):,} seeds each"
            self.problem("grid", None, f"at most {MOST_CELLS:,} cells; it has {size}")
        if self.problems:
            return None
        variants, problems = grid.variants(self.folder)
        self.problems += problems
        return Study(
            name,
            title,
            tuple(variants),
            tuple(varying([variant.levels for variant in variants])),
            seeds,
            Protocol(**grid.shared),  # type: ignore[arg-type]
            splits,
            yardsticks,
            against,
            margin,
            text,
            self.folder,
        )

    def grid(self, data: Mapping[str, Any]) -> Grid:
        """Everything that decides which variants there are."""
        shared = self.settings(data, "protocol") | self.settings(data, "set")
        axes = self.axes(self.table(data, "grid", FACTORS))
        include = self.include(data)
        for factor in data.get("set", {}):
            if factor in axes or any(factor in entry.levels for entry in include):
                self.problem(f"set.{factor}", None, "a setting that the study itself does not vary")
        return Grid(shared, axes, self.exclude(data), include)

    def settings(self, data: Mapping[str, Any], section: str) -> dict[str, Level]:
        """Settings of the protocol."""
        given = self.table(data, section, PROTOCOL_FACTORS)
        read = {
            factor: self.levels(factor, f"{section}.{factor}", x) for factor, x in given.items()
        }
        return {factor: levels[0] for factor, levels in read.items() if levels}

    def axes(self, grid: Mapping[str, Any]) -> dict[str, list[Level]]:
        """The grid's levels; one level may be written without brackets."""
        read: dict[str, list[Level]] = {}
        for factor, value in grid.items():
            items = value if isinstance(value, list) else [value]
            if not items:
                self.problem(f"grid.{factor}", value, "at least one level")
            keys = [f"grid.{factor}[{i}]" for i in range(len(items))]
            read[factor] = [
                x
                for key, item in zip(keys, items, strict=True)
                for x in self.levels(factor, key, item)
            ]
            if len(set(read[factor])) < len(read[factor]):
                self.problem(f"grid.{factor}", value, "levels without repeats")
        for factor in REQUIRED:
            if grid and factor not in grid:
                legal = f"present: a grid names all of {', '.join(REQUIRED)}"
                self.problem(f"grid.{factor}", None, legal)
        return read

    def exclude(self, data: Mapping[str, Any]) -> list[dict[str, list[Level]]]:
        """The tables of `[[exclude]]`: for each factor the levels of which any is meant."""
        read = []
        for key, entry in self.entries(data, "exclude", FACTORS):
            if not entry:
                self.problem(key, entry, "at least one factor and its level")
            read.append(
                {
                    factor: [
                        x
                        for item in (value if isinstance(value, list) else [value])
                        for x in self.levels(factor, f"{key}.{factor}", item)
                    ]
                    for factor, value in entry.items()
                }
            )
        return read

    def include(self, data: Mapping[str, Any]) -> list[Inclusion]:
        """The tables of `[[include]]`, each a whole variant."""
        read = []
        for key, entry in self.entries(data, "include", (*FACTORS, "name", "published")):
            levels = {
                f: x[0]
                for f in FACTORS
                if f in entry and (x := self.levels(f, f"{key}.{f}", entry[f]))
            }
            missing = [factor for factor in REQUIRED if factor not in entry]
            if missing:
                self.problem(key, None, f"complete: it lacks {', '.join(missing)}")
            name = entry.get("name")
            if name is not None and (
                not isinstance(name, str) or not NAME.fullmatch(name) or name in YARDSTICKS
            ):
                self.problem(f"{key}.name", name, f"{LEGAL_NAME}, and not a yardstick's name")
            published = entry.get("published")
            if published is not None and (
                type(published) not in (int, float) or not 0 < published <= sys.float_info.max
            ):
                legal = "a positive number, the published test MSE"
                self.problem(f"{key}.published", published, legal)
            read.append(Inclusion(levels, name, published))
        return read

    def levels(self, factor: str, key: str, value: object) -> list[Level]:
        """The level of a factor, or no level where it is not legal."""
        return self.level(FACTORS[factor], key, value)

    def level(self, factor: Factor, key: str, value: object) -> list[Level]:
        try:
            return [factor.read(key, value, self.folder)]
        except LevelError as error:
            self.problems += error.problems
            return []

    def seeds(self, value: object) -> tuple[int, ...]:
        seeds = read_seeds(value)
        if seeds is None:
            self.problem("seeds", value, LEGAL_SEEDS)
        return seeds or ()

    def yardsticks(self, value: object) -> tuple[str, ...]:
        """Names of the package's yardsticks, or of the user's own."""
        given = value if isinstance(value, list) else [value]
        keys = [f"evaluation.yardsticks[{i}]" for i in range(len(given))]
        if not given:
            self.problem("evaluation.yardsticks", value, "at least one yardstick")
        read = [
            str(level)
            for key, x in zip(keys, given, strict=True)
            for level in self.level(YARDSTICK, key, x)
        ]
        return tuple(dict.fromkeys(read))
