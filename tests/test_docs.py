"""Tables in the pages of docs/ are what the commands beside them print."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
TABLE = re.compile(
    r"<!-- table: python (?P<command>[^\n]*) -->\n(?P<table>.*?)<!-- end -->", re.DOTALL
)
TABLES = [
    pytest.param(match["command"], match["table"], id=f"{path.name}: {match['command']}")
    for path in sorted(DOCS.glob("*.md"))
    for match in TABLE.finditer(path.read_text())
]


@pytest.mark.parametrize(("command", "table"), TABLES)
def test_tables_are_what_their_commands_print(command, table):
    done = subprocess.run(
        [sys.executable, *command.split()], capture_output=True, text=True, check=True
    )
    assert table == done.stdout


def test_there_are_tables():
    assert TABLES
