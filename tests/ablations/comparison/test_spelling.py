"""Numbers are spelled alike wherever they stand, and lose nothing but digits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablations.comparison.spelling import number, p_value, share, two_digits, with_interval


@given(st.floats(1e-12, 1e12), st.sampled_from([-1, 1]))
def test_numbers_keep_three_significant_digits(size, sign):
    text = number(sign * size)
    assert float(text.replace(",", "")) == pytest.approx(sign * size, rel=5.01e-3)
    assert not text.endswith(".")
    assert sum(c.isdigit() for c in text.partition("e")[0].lstrip("-0.")) >= 3


def test_numbers_read_as_they_are_written_by_hand():
    values = [0.0788, 16.5643, 0.17, 15, 1, 123.6, 999.7, 9_831.2, 1e8, 0.0, np.nan]
    spelled = ["0.0788", "16.6", "0.170", "15.0", "1.00", "124", "1,000", "9,831", "1.00e+08", "0"]
    assert [number(v) for v in values] == [*spelled, ""]


@pytest.mark.parametrize(
    ("value", "spelled"),
    [
        (1.94, "1.9"),
        (1.0, "1.0"),
        (0.9996, "1.0"),
        (0.123, "0.12"),
        (20.4, "20"),
        (1234.5, "1,234"),
    ],
)
def test_two_digits(value, spelled):
    assert two_digits(value) == spelled


def test_spelling_of_small_p_shares_and_missing_figures():
    assert (p_value(0.0004), p_value(0.0123), p_value(np.nan)) == ("<0.001", "0.012", "")
    assert with_interval(1.234, np.nan, np.nan) == "1.23"
    assert with_interval(15, 10.4, 21.6) == "15.0 [10.4, 21.6]"
    assert with_interval(np.nan, np.nan, np.nan) == ""
    assert (share(0.118), share(np.nan)) == ("12%", "")
