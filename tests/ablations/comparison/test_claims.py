"""Claims: what is read, what is refused, and that refusals show the offending text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablations.comparison.claims import Claim, parse_claim

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.+=(),:-]{0,20}", fullmatch=True).filter(
    lambda name: "==" not in name  # reads as a comparator
)


@pytest.mark.parametrize(
    ("text", "claim"),
    [
        ("variant<=1.25*least_squares", Claim("variant", 1.25, "least_squares")),
        (" conv2-cartesian-max-w48 <= 2 * floor ", Claim("conv2-cartesian-max-w48", 2, "floor")),
        ("conv2.5+x<=1e1*a", Claim("conv2.5+x", 10, "a")),
        (
            "fourier(bandwidth=4, seed=1)-w8 <= 2 * epochs=3",
            Claim("fourier(bandwidth=4,seed=1)-w8", 2, "epochs=3"),
        ),
    ],
)
def test_claims_are_read(text, claim):
    assert parse_claim(text) == claim


@given(names, st.floats(1e-6, 1e6), names)
def test_a_written_claim_reads_back(left, factor, right):
    assert parse_claim(f"{left} <= {factor!r} * {right}") == Claim(left, factor, right)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "needs the comparator '<=' once, got none"),
        ("variant", "needs the comparator '<=' once, got none"),
        ("variant<1.25*least_squares", "needs the comparator '<=' once, got '<'"),
        ("variant>=1.25*least_squares", "needs the comparator '<=' once, got '>='"),
        ("a<=2*b<=3*c", "needs the comparator '<=' once, got '<=' and '<='"),
        ("variant<=least_squares", "the right side needs a factor and"),
        ("variant<=x*least_squares", "'x' is no number"),
        ("variant<=*least_squares", "'' is no number"),
        ("variant<=0*least_squares", "the factor must be positive and finite, got 0"),
        ("variant<=-1*least_squares", "the factor must be positive and finite, got -1"),
        ("variant<=inf*least_squares", "the factor must be positive and finite, got inf"),
        ("<=1.25*least_squares", "an estimator's name starts with a letter"),
        ("variant<=1.25*", "an estimator's name starts with a letter"),
        ("a/b<=1.25*c", "an estimator's name starts with a letter"),
    ],
)
def test_what_cannot_be_read_is_shown_and_explained(text, reason):
    with pytest.raises(ValueError, match="expected ESTIMATOR<=FACTOR") as raised:
        parse_claim(text)
    assert str(raised.value).startswith(f"claim {text!r}: {reason}")
