"""Tables as text keep every entry, fit the terminal, and are what their readers (LaTeX, Markdown, CSV) take."""

import csv
import io
import json
import re

from hypothesis import given
from hypothesis import strategies as st

from ablations.comparison.layout import (
    FORMATS,
    draw,
    fitted_table,
    latex_table,
    latex_text,
    markdown_table,
    plain_table,
    typst_table,
    typst_text,
)

COLUMNS = ["rank", "estimator", "MSE [95% CI]", "slope MSE", "p", "verdict"]
ROWS = [
    [1, "coordconv†", "2.48 [1.45, 4.24]", "0.321", "<0.001", "worse"],
    ["", "a_very-long & odd|name*", "15.0 [10.2, 22.0]", "0.900", "", "not distinguishable"],
]
SHEDDABLE = ["slope MSE", "p", "rank"]
words = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), max_size=12)
tables = st.integers(1, 6).flatmap(
    lambda n: st.tuples(
        st.lists(words.filter(bool), min_size=n, max_size=n, unique=True),
        st.lists(st.lists(words, min_size=n, max_size=n), min_size=1, max_size=5),
    )
)


def test_plain_columns_stand_below_each_other():
    lines = plain_table(COLUMNS, ROWS).splitlines()
    for column, entry in zip(COLUMNS, ROWS[1], strict=True):
        assert lines[2][lines[0].index(column) :].startswith(str(entry))


def test_a_wide_terminal_gets_all_columns():
    assert fitted_table(COLUMNS, ROWS, 200, SHEDDABLE) == plain_table(COLUMNS, ROWS)


def test_a_narrow_one_loses_the_least_important_first_and_is_told():
    shown = fitted_table(COLUMNS, ROWS, 75, SHEDDABLE).split("\n")
    assert max(map(len, shown[:-1])) <= 75
    assert "slope MSE" not in shown[0]
    assert shown[0].split()[0] == "rank"
    assert shown[-1].startswith("Left out to fit 75 columns: slope MSE")


@given(tables, st.integers(2, 60), st.data())
def test_no_row_is_wrapped_or_lost_at_any_width(table, width, data):
    columns, rows = table
    sheddable = data.draw(st.permutations(columns))[:-1]
    shown = fitted_table(columns, rows, width, sheddable).split("\n")
    body = [line for line in shown if not line.startswith("Left out to fit")]
    assert len(body) == len(rows) + 1
    assert all(len(line) <= width for line in body)


@given(tables)
def test_latex_has_a_row_a_line_and_nothing_unescaped(table):
    columns, rows = table
    lines = latex_table(columns, rows).split("\n")
    assert len(lines) == len(rows) + 7
    for line in (lines[3], *lines[5:-2]):
        assert line.endswith(r" \\")
        text = line[:-3]
        # what is left after commands, maths and escaped characters are taken out
        plain = re.sub(r"\\text\w+\{\}|\\[&%$#_{}]|\$[^$]*\$", "", text)
        assert plain.count("&") == len(columns) - 1
        assert not re.search(r"[%#$~^\\]", plain)


def test_latex_sets_numbers_to_the_right_and_guards_brackets():
    lines = latex_table(COLUMNS, ROWS).splitlines()
    assert lines[1] == r"\begin{tabular}{rlrrrl}"
    assert r"a\_very-long \& odd$|$name$^*$" in lines[6]
    assert r"coordconv\textdagger{}" in lines[5]
    assert latex_text("[1, 2]") == "{[1, 2]}"


def test_bars_in_markdown_are_no_columns():
    lines = markdown_table(COLUMNS, ROWS).splitlines()
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {len(COLUMNS) + 1}


def test_every_format_holds_every_row():
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in ROWS]
    for output in FORMATS:
        assert draw(rows, output).count("very-long") == 1
    assert json.loads(draw(rows, "json")) == rows
    assert list(csv.reader(io.StringIO(draw(rows, "csv"))))[2][1] == ROWS[1][1]


def test_a_typst_table_has_an_entry_a_cell_and_aligns_numbers_right():
    text = typst_table(COLUMNS, ROWS)
    assert "columns: 6," in text
    assert "align: (right, left, right, right, right, left,)," in text
    assert text.count("table.header(") == 1
    assert r"[MSE \[95% CI\]]" in text
    assert r"[a\_very-long & odd|name\*]" in text


@given(words)
def test_text_in_typst_means_itself(text):
    """Without the backslashes it is the text, and nothing with a meaning is without one."""
    escaped = typst_text(text)
    assert re.sub(r"\\(.)", r"\1", escaped) == text
    assert not re.search(r"(?<!\\)[#$*_`<>@\[\]]", re.sub(r"\\\\", "", escaped))
