"""A comparison in words: the table for a person, the defensible sentence, the methods paragraph.

Numbers come from `comparison_table`; nothing is computed here but their spelling.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ablations.comparison.metrics import METRICS
from ablations.comparison.scored import FLOOR
from ablations.comparison.spelling import number, p_value, share, two_digits, with_interval
from ablations.comparison.table import ENOUGH_IMAGES
from ablations.records.results import StudyResults

FEW_IMAGES_NOTE = (
    f"On fewer than {ENOUGH_IMAGES:,} images the intervals of comparisons with an estimator without training are "
    "too short: a few images in a thousand hold most of its error (see `lab` in results/statistics/simulation.md). "
    "P(beats) and ratios of two variants keep their coverage."
)
PARTS = {
    "mse": "MSE",
    "slope_mse": "slope MSE",
    "intercept_mse": "intercept MSE",
}  # column -> heading
YARDSTICK_WORDS = {FLOOR: "the floor (the posterior mean)", "constant": "the constant predictor"}


def words_for(name: str, is_variant: bool) -> str:
    """An estimator's name in running text."""
    return name if is_variant else YARDSTICK_WORDS.get(name, name.replace("_", " "))


def display_table(table: pd.DataFrame, metric: str, confidence: float) -> pd.DataFrame:
    """The table as strings: one column a figure with its interval, columns without content left out."""
    interval, column = f"[{confidence:.0%} CI]", METRICS[metric].column
    shown = []
    for row in table.to_dict("records"):
        is_variant = row["kind"] == "variant"
        marks = ("*" if row["flagged"] else "") + ("†" if row["few_images"] else "")

        def cell(name: str, row: Mapping[Any, Any] = row) -> str:
            low = "low" if name == column else f"{name}_low"
            high = "high" if name == column else f"{name}_high"
            return with_interval(row[name], row[low], row[high])

        shown.append(
            {
                "rank": f"{row['rank']}{'*' if row['flagged'] else ''}" if is_variant else "",
                "estimator": row["variant"] + marks,
                "ok": f"{row['n_ok']}/{row['n_seeds']}" if is_variant else "",
                f"{METRICS[metric].words} {interval}": cell(column),
                **{words: number(row[part]) for part, words in PARTS.items() if part != column},
                f"ratio {interval}": cell("ratio"),
                "p": p_value(row["p"]),
                "p (Holm)": p_value(row["p_holm"]),
                f"P(beats) {interval}": cell("p_beats"),
                "verdict": row["verdict"],
                f"times the floor {interval}": cell("ratio_to_floor"),
                "given convergence": cell("ratio_given_convergence") if row["flagged"] else "",
                "worst 1% hold": share(row["worst_1_percent_share"]),
                "published": number(row["published"]),
            }
        )
    display = pd.DataFrame(shown)
    return display.loc[:, [column for column in display if display[column].ne("").any()]]


def footnotes(table: pd.DataFrame, reference: str) -> list[str]:
    """What the marks in the table mean, and how to read yardsticks."""
    notes = []
    if table["kind"].eq("yardstick").any():
        notes.append("Intervals of yardsticks are over images alone: they have no seeds.")
    if table["flagged"].any():
        notes.append(
            "* Has failed cells, which score as the constant predictor; `given convergence` is the ratio to "
            f"{reference} of the others. Its rank is not comparable."
        )
    if table["few_images"].any():
        notes.append(f"† {FEW_IMAGES_NOTE}")
    return notes


def importance_display(table: pd.DataFrame) -> pd.DataFrame:
    """Factor importance as strings."""
    if "share" in table:
        return pd.DataFrame(
            {
                "factors": table["term"],
                "of": table["kind"].map({"effect": "effect", "shapley": "all effects (Shapley)"}),
                "share of the variance of log MSE": [
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
    row: Mapping[Any, Any], reference: str, metric: str, n_images: int, confidence: float
) -> str:
    """One defensible sentence on a row of the table."""
    is_variant = row["kind"] == "variant"
    name = words_for(row["variant"], is_variant)
    converged = f"{row['n_ok']} of {row['n_seeds']} seeds converged" if is_variant else ""
    images = f"{n_images:,} images"

    def interval(low: float, high: float, spell: Callable[[float], str]) -> str:
        if pd.isna(low):
            return "too few seeds for an interval"
        over = "" if is_variant else " over images"
        return f"{confidence:.0%} CI{over} [{spell(low)}, {spell(high)}]"

    if row["verdict"] == "reference":
        figure = f"{METRICS[metric].words} {number(row[METRICS[metric].column])}"
        facts = [interval(row["low"], row["high"], number), converged, images]
        return (
            f"{name}: {figure} ({'; '.join(filter(None, facts))}); the others are compared with it"
        )
    figure = f"{two_digits(row['ratio'])}x the {METRICS[metric].words} of {reference}"
    facts = [interval(row["ratio_low"], row["ratio_high"], two_digits), converged, images]
    if row["few_images"]:
        facts.append("too few images for a reliable interval")
    if row["flagged"]:
        given = row["ratio_given_convergence"]
        failed = "failed cells score as the constant predictor"
        facts.append(
            failed if pd.isna(given) else f"{failed}, {two_digits(given)}x given convergence"
        )
    return f"{name}: {figure} ({'; '.join(filter(None, facts))})"


def listed(items: Iterable[object]) -> str:
    """`a, b and c`."""
    words = [str(item) for item in items]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def methods(
    results: StudyResults,
    split: str,
    table: pd.DataFrame,
    reference: str,
    metric: str,
    margin: float,
    confidence: float,
    importance_note: str,
) -> str:
    """The paragraph for a paper: what was compared with what, by which method, with every n."""
    variants = table[table["kind"] == "variant"]
    yardsticks = table[table["kind"] == "yardstick"]["variant"]
    n_images = len(results.splits[split].params)
    n_ok, n_cells = int(variants["n_ok"].sum()), int(variants["n_seeds"].sum())
    seeds = sorted(set(variants["n_seeds"]))
    family = int(variants["p_holm"].notna().sum())
    detectable = variants["minimum_detectable_ratio"].dropna()
    equivalence = 2 * confidence - 1
    parts = [
        f"Study `{results.study.name}`: {len(variants)} variants with {listed(seeds)} seeds each, {n_cells} trained "
        f"networks, of which {n_ok} converged, and {len(yardsticks)} estimators without training, all evaluated "
        f"on the same {n_images:,} images of split `{split}`.",
        f"The measure is the {METRICS[metric].words}"
        + (" (the mean of the squared errors of slope and intercept)." if metric == "mse" else "."),
        "Networks that failed were kept and scored as the constant predictor."
        if n_ok < n_cells
        else "No network failed.",
        "Seeds are nested in variants and crossed with images; the variance of a mean is (MS_seed + MS_image - "
        "MS_cell)/(K M), never below either part, with Satterthwaite degrees of freedom, at most the weighted "
        "harmonic mean of the parts', those of the image variance by its sample kurtosis (O'Neill 2014).",
        f"Intervals are {confidence:.0%} t intervals on the log scale for means and ratios of means (delta method, "
        "with the covariance that shared images bring) and on the linear scale for differences; those of "
        "estimators without training are over images alone.",
    ]
    if family:
        parts.append(
            f"Ratios to {reference} were tested two-sidedly; p-values are adjusted by Holm's method for the family of "
            f"{family} variants, and `better` and `worse` rest on adjusted values. `Equivalent` means that the "
            f"{equivalence:.0%} interval of the ratio is within 1/{margin:g} to {margin:g} (two one-sided tests), "
            f"`non-inferior` that the upper limit of the {confidence:.0%} interval is below {margin:g}; these two are "
            "per variant, not adjusted."
        )
    if len(detectable):
        low, high = (two_digits(x) for x in (detectable.min(), detectable.max()))
        spread = low if low == high else f"{low} to {high}"
        parts.append(
            f"The smallest ratio that this run would have detected with a probability of 80% is {spread}."
        )
    if variants["few_images"].any():
        parts.append(FEW_IMAGES_NOTE)
    parts.append(f"Factor importance: {importance_note}.")
    parts.append(f"Code: {commit(results.provenance)}.")
    return " ".join(parts)


def commit(provenance: Mapping[str, Any]) -> str:
    """The commit of the code that made the results, in words."""
    found = provenance.get("git_commit")
    commits: Sequence[Any] = found if isinstance(found, list) else [found]
    dirty = provenance.get("git_dirty")
    changed = bool(np.any(dirty))
    names = [str(name)[:12] for name in commits if name]
    if not names:
        return "commit unknown"
    return f"commit {listed(names)}" + (" with local changes" if changed else "")
