"""Claims that a comparison must hold, such as `variant <= 1.25 * least_squares`: syntax here, verdicts there.

A claim says that the estimator on its left is not inferior to the one on its right: it holds when the upper
limit of the ratio's interval is below the factor.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

EVERY_VARIANT = "variant"  # on the left of a claim: each variant of the study
SYNTAX = "ESTIMATOR<=FACTOR*ESTIMATOR, for example variant<=1.25*least_squares"
# Names of variants hold levels with their parameters: `conv2-fourier(bandwidth=4)`, `epochs=3`, `mynets.py:Net`.
NAME = r"[A-Za-z0-9][\w.+=(),:-]*"
COMPARATOR = re.compile(r"[<>!]=?|==")
CLAIM = re.compile(rf"(?P<left>{NAME})<=(?P<factor>[^*]*)\*(?P<right>{NAME})")


@dataclass(frozen=True)
class Claim:
    """`left <= factor * right`; `left` may be `variant`, which means every variant."""

    left: str
    factor: float
    right: str

    def __str__(self) -> str:
        return f"{self.left}<={self.factor:g}*{self.right}"


@dataclass(frozen=True)
class Check:
    """A claim about one estimator, and whether the data bear it out."""

    claim: Claim
    holds: bool
    reason: str

    def __str__(self) -> str:
        return f"{'holds' if self.holds else 'FAILS'}: {self.claim} ({self.reason})"


def parse_claim(text: str) -> Claim:
    """Read a claim; white space does not matter.

    Raises ValueError that shows the text and what is wrong with it.
    """

    def refuse(reason: str) -> ValueError:
        return ValueError(f"claim {text!r}: {reason}; expected {SYNTAX}")

    compact = "".join(text.split())
    comparators = COMPARATOR.findall(compact)
    if comparators != ["<="]:
        given = " and ".join(map(repr, comparators)) or "none"
        raise refuse(f"needs the comparator '<=' once, got {given}")
    if "*" not in compact:
        raise refuse("the right side needs a factor and '*'")
    match = CLAIM.fullmatch(compact)
    if match is None:
        raise refuse(
            "an estimator's name starts with a letter or digit and holds these and _ - . + = ( ) , :"
        )
    try:
        factor = float(match["factor"])
    except ValueError:
        raise refuse(f"{match['factor']!r} is no number") from None
    if not 0 < factor < float("inf"):
        raise refuse(f"the factor must be positive and finite, got {match['factor']}")
    return Claim(match["left"], factor, match["right"])
