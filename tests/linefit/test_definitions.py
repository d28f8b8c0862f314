"""What is read from the source of a level, and when its fingerprint changes."""

import pytest

from linefit.definitions import DefinitionError, construct, definition, fingerprint
from linefit.legal import Between

LEVEL = '''
"""A module."""
import math
from typing import Annotated, Literal
from helper import double
from linefit.legal import Between

SCALE = 3
UNUSED = 4

class Net:
    """First line,
    goes on.

    Second paragraph."""

    def __init__(self, width, dim=40, *, power: Annotated[int, Between(1, 4)] = 2,
                 kind: Literal["a", "b"] = "a", flag: bool = False):
        self.value = inner(width) * SCALE ** power  # a comment
        self.kind = kind

class Child(Net):
    pass

def inner(x: int) -> int:
    """Doc."""
    return double(x) + 1
'''
HELPER = "def double(x):\n    return 2 * x\n\ndef other(x):\n    return x\n"


@pytest.fixture
def reference(tmp_path):
    (tmp_path / "level.py").write_text(LEVEL)
    (tmp_path / "helper.py").write_text(HELPER)
    return f"{tmp_path / 'level.py'}:Net"


def test_a_level_is_read_from_its_source(reference):
    found = definition(reference)
    assert found.takes == ("width",)
    assert found.summary == "First line, goes on."
    assert list(found.parameters) == ["power", "kind", "flag"]
    power, kind, flag = found.parameters.values()
    assert (power.default, power.legal.kind, power.legal.range) == (2, int, Between(1, 4))
    assert (kind.default, kind.legal.choices) == ("a", ("a", "b"))
    assert str(flag.legal) == "true or false"
    assert definition(reference.replace(":Net", ":Child")).takes == ("width",)
    assert construct(reference, {"power": 1}, {"width": 5, "more": 0}).value == 33


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# a comment", ""),
        ("First line", "Another line"),
        ("x: int", "x: float"),
        ("    return double(x) + 1", "    return (double(x)\n        + 1)"),
        ("UNUSED = 4", "UNUSED = 5"),
        ("import math\n", "import math, os\n"),
        ("class Child(Net):\n    pass\n", ""),
    ],
)
def test_documenting_and_moving_leave_the_fingerprint(reference, tmp_path, old, new):
    before = fingerprint(reference)
    assert old in LEVEL
    (tmp_path / "moved.py").write_text(LEVEL.replace(old, new))
    assert fingerprint(f"{tmp_path / 'moved.py'}:Net") == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("level.py", "SCALE = 3", "SCALE = 4"),
        ("level.py", "double(x) + 1", "double(x) + 2"),
        ("level.py", "= 2,", "= 3,"),
        ("level.py", "self.kind = kind", "self.kind = None"),
        ("helper.py", "2 * x", "3 * x"),
    ],
)
def test_a_change_of_anything_that_is_used_changes_it(reference, tmp_path, file, old, new):
    before = fingerprint(reference)
    text = (tmp_path / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new))
    assert fingerprint(reference) != before


def test_what_a_used_file_holds_besides_is_no_part_of_it(reference, tmp_path):
    before = fingerprint(reference)
    (tmp_path / "helper.py").write_text(HELPER.replace("return x", "return 5"))
    assert fingerprint(reference) == before


def test_code_that_is_moved_to_another_file_keeps_the_fingerprint(reference, tmp_path):
    before = fingerprint(reference)
    start = LEVEL.index("def inner")
    (tmp_path / "apart.py").write_text("from helper import double\n" + LEVEL[start:])
    (tmp_path / "level.py").write_text("from apart import inner\n" + LEVEL[:start])
    assert fingerprint(reference) == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "expected the name of a function or class of this file: none"),
        ("def Net(*, a: int): ...", "parameter a: expected a legal default and a type"),
        ("def Net(*, a=3): ...", "parameter a"),
        ("def Net(*, a: list = 3): ...", "parameter a"),
        ("def Net(*, a: int = 'x'): ...", "parameter a"),
        ("def Net(", "readable file of Python"),
    ],
)
def test_a_definition_that_is_none_says_what_was_expected(tmp_path, text, message):
    (tmp_path / "bad.py").write_text(text)
    with pytest.raises(DefinitionError, match=message) as error:
        definition(f"{tmp_path / 'bad.py'}:Net")
    assert "bad.py" in str(error.value)


@pytest.mark.parametrize(
    "reference", ["nosuchmodule:Net", "no/such/file.py:Net", "Net", "x:", "os:1"]
)
def test_a_reference_that_leads_nowhere_is_refused(reference):
    with pytest.raises(DefinitionError):
        definition(reference)


def test_a_module_that_fails_is_told_with_its_error(tmp_path):
    (tmp_path / "level.py").write_text("def Net(): ...\nraise KeyError('oops')")
    with pytest.raises(DefinitionError, match="KeyError: 'oops'"):
        construct(f"{tmp_path / 'level.py'}:Net", {}, {})
