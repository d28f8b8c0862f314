"""Tables as text: for terminals and Markdown, and plain data as CSV and JSON. What stands in them is made elsewhere."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

Format = Literal["table", "csv", "json", "markdown"]
FORMATS: tuple[Format, ...] = get_args(Format)
Columns = Sequence[str]
Rows = Sequence[Sequence[object]]


def plain_table(columns: Columns, rows: Rows) -> str:
    """Columns aligned by spaces, text to the left."""
    lines = [list(columns), *[[str(entry) for entry in row] for row in rows]]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def markdown_table(columns: Columns, rows: Rows) -> str:
    """A pipe table."""
    lines = [list(columns), ["---"] * len(columns), *rows]
    return "\n".join(
        "| " + " | ".join(str(entry).replace("|", r"\|") for entry in line) + " |" for line in lines
    )


# How a table is drawn for people; csv and json are for programs.
DRAWN: dict[str, Callable[[Columns, Rows], str]] = {
    "table": plain_table,
    "markdown": markdown_table,
}


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
