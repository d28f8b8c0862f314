"""What two runs differ in besides their results: settings, seeds, code, machines, time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ablations.records.results import StudyResults, VariantResults
from ablations.study.factors import FACTORS

NOT_SET = "–"
SECONDS_PER_HOUR = 3600
COMMIT_SHOWN = 12  # characters


@dataclass(frozen=True)
class Difference:
    """What differs, and how it is on either side."""

    what: str
    one: str
    other: str

    def row(self) -> tuple[str, str, str]:
        return self.what, self.one, self.other


def differences(
    one: StudyResults, other: StudyResults, pairs: Sequence[tuple[VariantResults, VariantResults]]
) -> Iterator[Difference]:
    """Everything that the records of two runs hold otherwise; `pairs` are the variants that are compared."""
    facts = [_facts(run, [pair[i] for pair in pairs]) for i, run in enumerate((one, other))]
    for what in dict.fromkeys([*facts[0], *facts[1]]):
        values = [run.get(what, NOT_SET) for run in facts]
        if values[0] != values[1]:
            yield Difference(what, values[0], values[1])


def _facts(run: StudyResults, variants: Sequence[VariantResults]) -> dict[str, str]:
    """What a run says of the variants that are compared, flat, in words."""
    cells = run.cells[run.cells["variant"].isin([variant.name for variant in variants])]
    facts = {
        factor.replace("_", " "): _distinct(_spelled(v.levels[factor]) for v in variants)
        for factor in FACTORS
        if all(factor in v.levels for v in variants)
    }
    facts["seeds"] = _distinct(str(seed) for seed in sorted(set(cells["seed"])))
    for column in ("device", "threads", "engine_used"):
        facts[column.replace("_", " ")] = _distinct(cells[column].dropna().astype(str))
    facts |= dict(_flat(run.provenance))
    facts["hours of training"] = f"{cells['seconds'].sum() / SECONDS_PER_HOUR:.3g}"
    return facts


def _flat(provenance: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in provenance.items():
        words = f"{prefix}{name}".replace("_", " ")
        if isinstance(value, Mapping):
            yield from _flat(value, prefix="" if name == "versions" else f"{words} ")
        elif name == "git_commit":
            commits = value if isinstance(value, list) else [value]
            yield "commit", _distinct(str(commit)[:COMMIT_SHOWN] for commit in commits)
        elif name == "git_dirty":
            yield "local changes", _spelled(value)
        else:
            yield words, _spelled(value)


def _spelled(value: object) -> str:
    if value is None:
        return NOT_SET
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(_spelled, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _distinct(values: Any) -> str:
    found = list(dict.fromkeys(values))
    return (
        ", ".join(found) if len(found) <= 8 else f"{', '.join(found[:7])} and {len(found) - 7} more"
    )
