"""Tables as text: for terminals and documents, and plain data as CSV and JSON; their content is made elsewhere."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

Format = Literal["table", "csv", "json", "markdown", "latex", "typst"]
FORMATS: tuple[Format, ...] = get_args(Format)
Columns = Sequence[str]
Rows = Sequence[Sequence[object]]

GAP = "  "  # between the columns of a plain table
ELLIPSIS = "…"
# Such as `1.9 [1.6, 2.2]`, `<0.001`, `3/5`, `12%` and nothing.
NUMERIC = re.compile(r"([-<]?\d[\d,.e+-]*%?(/\d+)?( \[.*\])?|–)?[*†‡§]*")
COMMENTS = {"latex": "% ", "typst": "// "}
TYPST = re.compile(r"[\\#$*_`<>@\[\]~]|^[=+/-]|(?<=-)-|(?<=/)/|-(?=\?)")  # what is markup there
LATEX = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "*": r"$^*$",
    "|": r"$|$",
    "†": r"\textdagger{}",
    "§": r"\S{}",
    "‡": r"\textdaggerdbl{}",
    "²": r"$^2$",
    "×": r"$\times$",
    "–": "--",
}


def plain_table(columns: Columns, rows: Rows) -> str:
    """Columns aligned by spaces, text to the left."""
    lines = _lines(columns, rows)
    widths = _widths(lines)
    return "\n".join(
        GAP.join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def fitted_table(columns: Columns, rows: Rows, width: int, sheddable: Sequence[str]) -> str:
    """A plain table at most `width` characters wide, and a line on what it leaves out.

    Of the columns in `sheddable` so many are left out, the first first, as it takes; rows are never wrapped: where the
    rest is too wide still, they end in an ellipsis.
    """
    kept, left_out = list(columns), []
    for column in sheddable:
        chosen = [columns.index(name) for name in kept]
        table = plain_table(kept, [[row[i] for i in chosen] for row in rows])
        if max(map(len, table.split("\n"))) <= width:
            break
        if column in kept:
            kept.remove(column)
            left_out.append(column)
    chosen = [columns.index(name) for name in kept]
    table = plain_table(kept, [[row[i] for i in chosen] for row in rows])
    lines = [
        line if len(line) <= width else line[: width - 1] + ELLIPSIS for line in table.split("\n")
    ]
    if left_out:
        missing = ", ".join(name for name in columns if name in left_out)
        lines += [f"Left out to fit {width} columns: {missing} (all: pipe through `less -S`)"]
    return "\n".join(lines)


def markdown_table(columns: Columns, rows: Rows) -> str:
    """A pipe table."""
    lines = [list(columns), ["---"] * len(columns), *rows]
    return "\n".join(
        "| " + " | ".join(str(entry).replace("|", r"\|") for entry in line) + " |" for line in lines
    )


def latex_table(columns: Columns, rows: Rows) -> str:
    """A `tabular` with rules of booktabs; columns of numbers are set flush right."""
    lines = _lines(columns, rows)
    numeric = [all(NUMERIC.fullmatch(line[i]) for line in lines[1:]) for i in range(len(columns))]
    body = [" & ".join(map(latex_text, line)) + r" \\" for line in lines]
    return "\n".join(
        [
            r"% \usepackage{booktabs}",
            r"\begin{tabular}{" + "".join("r" if right else "l" for right in numeric) + "}",
            r"\toprule",
            body[0],
            r"\midrule",
            *body[1:],
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )


def latex_text(text: str) -> str:
    """Text as LaTeX sets it as it stands. A bracket is guarded: after `\\\\` it would be an argument."""
    escaped = "".join(LATEX.get(character, character) for character in text)
    return f"{{{escaped}}}" if escaped.startswith("[") else escaped


def typst_table(columns: Columns, rows: Rows) -> str:
    """A `table` with a rule below its head; columns of numbers are set flush right."""
    lines = _lines(columns, rows)
    numeric = [all(NUMERIC.fullmatch(line[i]) for line in lines[1:]) for i in range(len(columns))]
    head, *body = (", ".join(f"[{typst_text(entry)}]" for entry in line) for line in lines)
    return "\n".join(
        [
            "#table(",
            f"  columns: {len(columns)},",
            f"  align: ({', '.join('right' if right else 'left' for right in numeric)},),",
            "  stroke: none,",
            f"  table.header({head}),",
            "  table.hline(),",
            *(f"  {line}," for line in body),
            ")",
        ]
    )


def typst_text(text: str) -> str:
    """Text as Typst sets it as it stands."""
    return TYPST.sub(r"\\\g<0>", text)


def comment(text: str, output: Format) -> str:
    """Text that stands by a table: a comment where tables are source of a document."""
    return "\n".join(COMMENTS.get(output, "") + line for line in text.split("\n"))


def _lines(columns: Columns, rows: Rows) -> list[list[str]]:
    return [list(columns), *[[str(entry) for entry in row] for row in rows]]


def _widths(lines: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*lines, strict=True)]


# How a table is drawn for people; csv and json are for programs.
DRAWN: dict[str, Callable[[Columns, Rows], str]] = {
    "table": plain_table,
    "markdown": markdown_table,
    "latex": latex_table,
    "typst": typst_table,
}


def drawn_table(
    columns: Columns, rows: Rows, output: Format, width: int | None, sheddable: Sequence[str]
) -> str:
    """A table in one of the formats for people; a plain one fits a `width`, if there is one, as `fitted_table` does."""
    if width is None or output != "table":
        return DRAWN[output](columns, rows)
    return fitted_table(columns, rows, width, sheddable)


def _latex_paragraph(text: str) -> str:
    set_as = (latex_text, lambda code: rf"\texttt{{{latex_text(code)}}}")
    return rf"\paragraph{{Reproducibility.}} {_coded(text, *set_as)}"


def _typst_paragraph(text: str) -> str:
    return f"*Reproducibility.* {_coded(text, typst_text, lambda code: f'`{code}`')}"


# A paragraph with `code` in it as the source of a document.
PARAGRAPHS: dict[str, Callable[[str], str]] = {"latex": _latex_paragraph, "typst": _typst_paragraph}


def _coded(text: str, plain: Callable[[str], str], code: Callable[[str], str]) -> str:
    return "".join(code(x) if i % 2 else plain(x) for i, x in enumerate(text.split("`")))


def draw(rows: Sequence[Mapping[str, object]], output: Format) -> str:
    """At least one row, all with the same columns, in any format."""
    if output == "json":
        return json.dumps(rows, indent=2)
    columns = list(rows[0])
    values = [list(row.values()) for row in rows]
    if output == "csv":
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([columns, *values])
        return text.getvalue().rstrip("\n")
    return DRAWN[output](columns, values)
