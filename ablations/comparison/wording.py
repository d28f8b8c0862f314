"""A comparison in words: the tables for a person, their notes, the defensible sentence.

Numbers come from `comparison_table`; nothing is computed here but their spelling. The paragraph for a paper is in
`methods`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from ablations.comparison.metrics import Measure
from ablations.comparison.spelling import (
    listed,
    number,
    p_value,
    share,
    two_digits,
    with_interval,
)
from ablations.comparison.stopping import FIXED, Stopping
from ablations.comparison.table import ENOUGH_IMAGES
from linefit.known_risk import CONSTANT, FLOOR, REFERENCE

FEW_IMAGES_NOTE = (
    f"On fewer than {ENOUGH_IMAGES:,} images the intervals of what involves an estimator without training are too "
    "short, unless its mean is known: a few images in a thousand hold most of its error (`before` in "
    "results/statistics/risk.md)."
)
BRIEF = 7  # columns of the brief table at most
NAMED = 8  # variants that a note names for one reason at most
PARTS = {
    "mse": "MSE",
    "slope_mse": "slope MSE",
    "intercept_mse": "intercept MSE",
}  # column -> heading
YARDSTICK_LINES = {FLOOR: "floor", REFERENCE: "least squares", CONSTANT: "constant"}  # on axes
YARDSTICK_WORDS = {FLOOR: "the floor (the posterior mean)", "constant": "the constant predictor"}


def words_for(name: str, is_variant: bool) -> str:
    """An estimator's name in running text."""
    return name if is_variant else YARDSTICK_WORDS.get(name, name.replace("_", " "))


def marks(row: Mapping[Any, Any]) -> str:
    """What a reader has to know of a row: failed cells, few images, a net that imitates, outlying seeds."""
    found = {
        "*": row["flagged"],
        "†": row["few_images"],
        "‡": row["imitates"],
        "§": row["outlying_seeds"],
    }
    return "".join(mark for mark, holds in found.items() if holds)


def display_table(
    table: pd.DataFrame,
    reference: str,
    metric: Measure,
    n_images: int,
    interval: str,
    *,
    wide: bool,
) -> pd.DataFrame:
    """The table as strings: one column a figure with its interval, columns without content left out.

    The brief one has at most seven columns, the wide one all; `interval` is what intervals are called.
    """
    interval, column = f"[{interval}]", metric.column
    shown = []
    for row in table.to_dict("records"):
        is_variant = row["kind"] == "variant"
        exact = row["exact"]

        def cell(
            name: str, row: Mapping[Any, Any] = row, prefix: str | None = None, exact: bool = exact
        ) -> str:
            low, high = (f"{name if prefix is None else prefix}{end}" for end in ("_low", "_high"))
            if exact:
                return number(row[name])
            return with_interval(row[name], row[low.lstrip("_")], row[high.lstrip("_")])

        one = {
            "rank": f"{row['rank']}{'*' if row['flagged'] else ''}" if is_variant else "",
            "estimator": row["variant"] + marks(row),
            "ok": f"{row['n_ok']}/{row['n_seeds']}" if is_variant else "",
            f"{metric.words} {interval}": cell(column, prefix=""),
            **{
                heading: number(row[part])
                for part, heading in PARTS.items()
                if part != column and part in row
            },
            f"regret {interval}": cell("regret"),
            f"ratio to {reference} {interval}": cell("ratio"),
            f"ratio on these images {interval}": cell("ratio_on_these_images", exact=False),
            "p": "" if exact else p_value(row["p"]),
            "p (Holm)": p_value(row["p_holm"]),
            "p of no equivalence (Holm)": p_value(row["p_different_holm"]),
            f"P(beats) {interval}": cell("p_beats", exact=False),
            "verdict": row["verdict"],
            f"times the floor {interval}": cell("ratio_to_floor"),
            f"median over seeds {interval}": cell("median_over_seeds"),
            "given convergence": cell("ratio_given_convergence") if row["flagged"] else "",
            "worst 1% hold": share(row["worst_1_percent_share"]),
            "published": number(row["published"]),
        }
        shown.append(one)
    display = pd.DataFrame(shown)
    display = display.loc[:, [name for name in display if display[name].ne("").any()]]
    return display if wide else display[_brief(list(display.columns), n_images)]


def _brief(columns: list[str], n_images: int) -> list[str]:
    """The columns of the brief table, of those that there are."""
    wanted = ["estimator", "ok", "regret", "ratio to", "verdict", "published"]
    if n_images < ENOUGH_IMAGES:
        wanted.append("ratio on")
    after_ok = columns[columns.index("ok") + 1] if "ok" in columns else columns[1]
    chosen = [c for c in columns if c == after_ok or c.startswith(tuple(wanted))]
    # with the published values and the ratio on the images themselves there is no room for the regret
    return [c for c in chosen if len(chosen) <= BRIEF or not c.startswith("regret")]


def sheddable(columns: list[str]) -> list[str]:
    """Columns that a narrow terminal does without, the first one first: never the estimator, its ratio and verdict."""
    kept = ("estimator", "ratio to", "verdict")
    later = ("rank", "ok", "p (Holm)", columns[columns.index("estimator") + 1])
    optional = [column for column in columns if not column.startswith(kept)]
    return sorted(optional, key=lambda column: (column in later, -columns.index(column)))


def footnotes(table: pd.DataFrame, reference: str, items: str) -> list[str]:
    """What the marks in the table mean, and how to read yardsticks."""
    notes = []
    if table["exact"].any():
        notes.append(
            "Figures of estimators without training are known: means over all images of the lab's prior "
            "(results/yardsticks/population.md). Of a variant, MSE = floor + regret; ratios are to known numbers."
        )
    elif table["kind"].eq("yardstick").any():
        notes.append(f"Intervals of what has no seeds are over {items} alone.")
    if table["flagged"].any():
        notes.append(
            "* Has failed cells, which score as the constant predictor; `given convergence` is the ratio to "
            f"{reference} of the others. Its rank is not comparable."
        )
    if table["few_images"].any():
        notes.append(f"† {FEW_IMAGES_NOTE}")
    if table["imitates"].any():
        notes.append("‡ Errs where least squares errs (beta of the control variate 0.5 or more).")
    if table["outlying_seeds"].any():
        notes.append(
            "§ Its seeds fall into two groups, or one is apart (p < 0.05 were they log-normal), by a factor of 2 or "
            "more: an interval of their mean may be too short. By it stands the median over seeds, for new seeds on "
            "these images."
        )
    return notes


def not_applicable_note(reasons: Mapping[str, str], n_variants: int) -> str:
    """Which variants have no row in a table, of `n_variants` in all, and why: `reasons` by variant."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        by_reason.setdefault(reason, []).append(name)
    told = [
        f"{reason} ({listed(names[:NAMED])}{f' and {len(names) - NAMED} more' if len(names) > NAMED else ''})"
        for reason, names in by_reason.items()
    ]
    return f"Not applicable to {len(reasons)} of {n_variants} variants, which have no row here: {'; '.join(told)}."


def importance_display(table: pd.DataFrame, words: str = "MSE") -> pd.DataFrame:
    """Factor importance as strings; `words` are those of the measure."""
    if "share" in table:
        return pd.DataFrame(
            {
                "factors": table["term"],
                "of": table["kind"].map({"effect": "effect", "shapley": "all effects (Shapley)"}),
                f"share of the variance of log {words}": [
                    with_interval(*row) for row in table[["share", "low", "high"]].to_numpy()
                ],
            }
        )
    return pd.DataFrame(
        {
            "factors": table["term"],
            "df": table["df"].map(lambda df: f"{df:.0f}"),
            "F": table["f"].map(number),
            "p": table["p"].map(p_value),
            "omega squared": table["omega_squared"].map(number),
        }
    )


def pairs_display(table: pd.DataFrame) -> pd.DataFrame:
    """Pairs of variants as strings."""
    return pd.DataFrame(
        {
            "variant": table["variant"] + table["flagged"].map({True: "*", False: ""}),
            "against": table["against"],
            "ratio": [
                with_interval(*row)
                for row in table[["ratio", "ratio_low", "ratio_high"]].to_numpy()
            ],
            "p": table["p"].map(p_value),
            "p (Benjamini-Hochberg)": table["p_bh"].map(p_value),
            "P(beats)": [
                with_interval(*row)
                for row in table[["p_beats", "p_beats_low", "p_beats_high"]].to_numpy()
            ],
        }
    )


def sentence(
    row: Mapping[Any, Any],
    reference: str,
    metric: Measure,
    n_images: int,
    confidence: float,
    stopping: Stopping = FIXED,
) -> str:
    """One defensible sentence on a row of the table."""
    is_variant = row["kind"] == "variant"
    exact = row["exact"]
    name = words_for(row["variant"], is_variant)

    def interval(low: float, high: float, spell: Callable[[float], str]) -> str:
        if exact:
            return "known, over all images of the lab's prior"
        if pd.isna(low):
            return "too few seeds for an interval"
        over = "" if is_variant else f" over {metric.items}"
        return f"{stopping.interval(confidence)}{over} [{spell(low)}, {spell(high)}]"

    facts = []
    if row["verdict"] == "reference":
        figure = f"{metric.words} {number(row[metric.column])}"
        facts.append(interval(row["low"], row["high"], number))
    else:
        figure = f"{two_digits(row['ratio'])}x the {metric.words} of {reference}"
        facts.append(interval(row["ratio_low"], row["ratio_high"], two_digits))
    facts += [*_seeds(row), *stopping.fact(confidence)] if is_variant else []
    facts += [] if exact else [f"{n_images:,} {metric.items}"]
    if row["few_images"]:
        facts.append(f"too few {metric.items} for a reliable interval")
    if row["flagged"] and row["verdict"] != "reference":
        given = row["ratio_given_convergence"]
        failed = "failed cells score as the constant predictor"
        facts.append(
            failed if pd.isna(given) else f"{failed}, {two_digits(given)}x given convergence"
        )
    ending = "; the others are compared with it" if row["verdict"] == "reference" else ""
    return f"{name}: {figure} ({'; '.join(facts)}){ending}"


def _seeds(row: Mapping[Any, Any]) -> list[str]:
    """What the seeds of a variant show and what they cannot."""
    rate = share(row["failure_rate_not_excluded"])
    facts = [
        f"{row['n_ok']} of {row['n_seeds']} seeds converged, a failure rate up to {rate} is not excluded"
    ]
    if row["outlying_seeds"]:
        middle = (row[f"median_over_seeds{end}"] for end in ("", "_low", "_high"))
        facts.append(f"outlying seeds, their median {with_interval(*middle)}")
    return facts
