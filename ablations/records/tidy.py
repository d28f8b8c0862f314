"""Errors from anywhere: a tidy table with a row a variant, seed and item, read, checked and turned into arrays.

What the errors are of, and who made them, does not matter here. Results of studies are in `results`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from ablations.study.problems import Problem, nearest
from ablations.study.study import StudyError

ErrorArray = npt.NDArray[np.float64]
READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": lambda path: pd.read_csv(path),
    ".parquet": lambda path: pd.read_parquet(path),
}


@dataclass(frozen=True)
class Columns:
    """What the columns of a table are called. `seed` may be missing from it: then no variant has seeds."""

    variant: str = "variant"
    seed: str = "seed"
    item: str = "item"  # what is predicted, the same for all: an image, a question
    error: str = "error"  # not negative, the smaller the better


@dataclass(frozen=True)
class ErrorTable:
    """Errors of every estimator on the same items.

    `variants`: those with seeds, `(K, M)`, rows of NaN where a run failed; `baselines`: those without, `(M,)`.
    `levels`: a row a variant, a column a factor.
    """

    variants: Mapping[str, ErrorArray]
    baselines: Mapping[str, ErrorArray]
    levels: pd.DataFrame
    n_items: int


def parse_columns(text: str) -> Columns:
    """`variant=model,item=image`. Raises StudyError for what is no column of `Columns`, and for repeats."""
    legal = [field.name for field in fields(Columns)]
    named: dict[str, str] = {}
    problems = []
    for part in text.split(","):
        name, equals, column = (word.strip() for word in part.partition("="))
        if not (equals and column) or name not in legal or name in named:
            expected = f"NAME=COLUMN with each of {', '.join(legal)} at most once"
            problems.append(Problem("--columns", part, expected, nearest(name, legal)))
        named[name] = column
    if problems:
        raise StudyError("command line", problems)
    return Columns(**named)


def read_table(path: Path) -> pd.DataFrame:
    """A CSV or Parquet file. Raises ValueError for another kind and for one that cannot be read as what it says."""
    if path.suffix not in READERS:
        raise ValueError(f"{path}: is not one of {', '.join(f'*{kind}' for kind in READERS)}")
    try:
        return READERS[path.suffix](path)
    except (ValueError, ArithmeticError) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from error


def error_table(
    frame: pd.DataFrame,
    columns: Columns | None = None,
    *,
    factors: Sequence[str] = (),
    common_items: bool = False,
    source: str = "table",
) -> ErrorTable:
    """Check a tidy table and sort it into arrays.

    A variant whose seeds are all missing has none and is a baseline. A run whose errors are all missing has failed.
    Every run has to hold every item; with `common_items` those that some run lacks are left out instead. Raises
    StudyError with all that is wrong.
    """
    named = columns or Columns()
    problems = _missing(frame, named, factors)
    if problems:
        raise StudyError(source, problems)
    rows = pd.DataFrame(
        {
            "variant": frame[named.variant].astype("str"),
            "seed": frame.get(named.seed, np.nan),
            "item": frame[named.item],
            "error": pd.to_numeric(frame[named.error], errors="coerce").astype(np.float64),
        }
    )
    problems = [*_values(frame, rows, named), *_factors(frame, named, factors)]
    if not problems:
        table = rows.pivot(index=["variant", "seed"], columns="item", values="error")
        present = rows.assign(there=1).pivot(
            index=["variant", "seed"], columns="item", values="there"
        )
        complete = present.notna().all()
        if common_items:
            table = table.loc[:, complete]
        elif not complete.all():
            problems.append(_unbalanced(present, named))
        if not problems:
            problems = _failures(table, named)
    if problems:
        raise StudyError(source, problems)
    levels = frame.drop_duplicates(named.variant).set_index(named.variant)[list(factors)]
    levels.index = levels.index.astype("str")
    variants, baselines = {}, {}
    for name, runs in table.groupby(level="variant", sort=False):
        values = runs.to_numpy(np.float64)
        if runs.index.get_level_values("seed").isna().all():
            baselines[str(name)] = values[0]
        else:
            variants[str(name)] = values
    return ErrorTable(variants, baselines, _whole(levels.loc[list(variants)]), table.shape[1])


def _whole(levels: pd.DataFrame) -> pd.DataFrame:
    """Whole numbers as such, which a table holds as fractions where what has no seeds has no levels."""
    whole = [
        factor
        for factor in levels
        if levels[factor].dtype.kind == "f" and (levels[factor] % 1 == 0).all()
    ]
    return levels.astype(dict.fromkeys(whole, np.int64))


def _missing(frame: pd.DataFrame, named: Columns, factors: Sequence[str]) -> list[Problem]:
    if frame.empty:
        return [Problem("", None, "a table with rows")]
    there = [str(column) for column in frame]
    needed = {"variant": named.variant, "item": named.item, "error": named.error}
    if named.seed != Columns.seed:
        needed["seed"] = named.seed
    needed |= {f"factor {factor}": factor for factor in factors}
    return [
        Problem(role, column, f"a column of the table: {', '.join(there)}", nearest(column, there))
        for role, column in needed.items()
        if column not in frame
    ]


def _values(frame: pd.DataFrame, rows: pd.DataFrame, named: Columns) -> list[Problem]:
    """Rows that are no errors, or the same twice."""
    problems = []
    given = frame[named.error]
    wrong = rows["error"].isna() & given.notna() | np.isinf(rows["error"]) | (rows["error"] < 0)
    if wrong.any():
        example = given[wrong].iloc[0]
        legal = f"finite numbers that are not negative, in {int(wrong.sum())} more rows"
        problems.append(
            Problem(f"column {named.error}", str(example), legal.replace(", in 0 more rows", ""))
        )
    if rows["item"].isna().any():
        problems.append(Problem(f"column {named.item}", None, "an item in every row"))
    mixed = rows.groupby("variant")["seed"].agg(lambda seeds: 0 < seeds.isna().mean() < 1)
    for name in mixed.index[mixed]:
        problems.append(
            Problem(f"column {named.seed}", None, f"seeds in all rows of {name}, or in none")
        )
    twice = rows.duplicated(["variant", "seed", "item"])
    if twice.any():
        first = rows[twice].iloc[0]
        which = f"{first['variant']}, seed {first['seed']}, item {first['item']}"
        legal = f"each variant, seed and item once; {which} and {int(twice.sum()) - 1} others are repeated"
        problems.append(Problem("", None, legal))
    return problems


def _factors(frame: pd.DataFrame, named: Columns, factors: Sequence[str]) -> list[Problem]:
    counts = frame.groupby(named.variant)[list(factors)].nunique(dropna=False)
    return [
        Problem(f"column {factor}", None, f"one level a variant; {name} has {count}")
        for factor in factors
        for name, count in counts[factor].items()
        if count > 1
    ]


def _unbalanced(present: pd.DataFrame, named: Columns) -> Problem:
    counts = present.notna().sum(axis=1)
    variant, seed = cast(tuple[str, Any], counts.idxmin())
    fewest = int(counts.min())
    lacking = int((counts < present.shape[1]).sum())
    run = variant if pd.isna(seed) else f"{variant}, {named.seed} {seed},"
    return Problem(
        "",
        None,
        f"every run to hold all {present.shape[1]} items: {run} holds {fewest}, and {lacking} of {len(counts)} runs "
        "lack some; compare on the items that all hold with --common-items (common_items=True)",
    )


def _failures(table: pd.DataFrame, named: Columns) -> list[Problem]:
    """Runs that miss some errors: one that failed misses all, and a baseline none."""
    if table.shape[1] < 2:
        return [
            Problem(f"column {named.item}", table.shape[1], "at least 2 items that all runs hold")
        ]
    missing = table.isna()
    partly = missing.any(axis=1) & ~missing.all(axis=1)
    without_seed = np.asarray(table.index.get_level_values("seed").isna())
    bad = (partly | (missing.any(axis=1) & without_seed)).to_numpy()
    return [
        Problem(
            f"column {named.error}",
            None,
            f"errors of all items, or of none, for {variant}, {named.seed} {seed}",
        )
        for variant, seed in table.index[bad]
    ]
