"""Levels: what a study file may name, with parameters that the level's constructor declares."""

from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablations.study.factors import FACTORS, LevelError, Named
from ablations.study.reader import parse_study
from ablations.study.study import StudyError
from linefit.legal import Above, Between, legal_values, level_parts, spelled

GRID = """
[grid]
architecture = "conv2"
coordinates = [{ name = "fourier", bandwidth = 8, kind = "real" }, "fourier", "none"]
pooling = "max"
width = 8
"""


def fourier(
    dim: int,
    *,
    bandwidth: Annotated[float, Above(0)] = 4.0,
    channels: Annotated[int, Between(1, 64)] = 16,
    kind: Literal["real", "complex"] = "complex",
    learned: bool = False,
) -> None:
    """A made-up level: constructors say in their signatures what their parameters may be."""


def none(dim: int) -> None:
    """A made-up level without parameters."""


REGISTRY = {name: f"{__name__}:{name}" for name in ("none", "fourier")}


@pytest.fixture(autouse=True)
def registry(monkeypatch):
    monkeypatch.setitem(FACTORS, "coordinates", Named(REGISTRY))


def parse(text):
    return parse_study(text, name="study", source="study.toml")


def test_a_level_with_parameters_is_a_level_like_any_other():
    study = parse(GRID)
    assert [v.levels["coordinates"] for v in study.variants] == [
        "fourier(bandwidth=8,kind=real)",
        "fourier",
        "none",
    ]
    assert [v.name for v in study.variants] == ["fourier(bandwidth=8,kind=real)", "fourier", "none"]
    assert study.factors == ("coordinates",)
    assert len({cell.key for cell in study.cells([0])}) == 3


def test_a_parameter_at_its_default_is_left_out():
    spelled_out = GRID.replace('"fourier", "none"', '{ name = "fourier", bandwidth = 4 }, "none"')
    assert [c.key for c in parse(spelled_out).cells()] == [c.key for c in parse(GRID).cells()]
    with pytest.raises(StudyError, match="without repeats"):
        parse(GRID.replace('"none"', '{ name = "fourier", learned = false }'))


def test_every_mistake_of_a_level_is_told():
    level = '{ name = "fourier", bandwith = 1, bandwidth = -1, channels = 1.5, kind = "imaginary" }'
    with pytest.raises(StudyError) as caught:
        parse(GRID.replace('"none"', level))
    assert [str(problem) for problem in caught.value.problems] == [
        "grid.coordinates[2].bandwith: expected a parameter of fourier: bandwidth, channels, kind, learned "
        "(did you mean 'bandwidth'?)",
        "grid.coordinates[2].bandwidth: -1 is not legal; expected a positive number",
        "grid.coordinates[2].channels: 1.5 is not legal; expected an integer from 1 to 64",
        "grid.coordinates[2].kind: 'imaginary' is not legal; expected one of real, complex",
    ]
    with pytest.raises(StudyError, match=r"coordinates\[2\]\.name: 'fourrier' .* 'fourier'\?"):
        parse(GRID.replace('"none"', '{ name = "fourrier" }'))
    with pytest.raises(StudyError, match=r"x: expected a parameter of none: it has none"):
        parse(GRID.replace('"none"', '{ name = "none", x = 1 }'))


def test_exclude_takes_out_a_level_with_its_parameters_or_any_of_several_levels():
    one = parse(
        GRID + '[[exclude]]\ncoordinates = { name = "fourier", bandwidth = 8, kind = "real" }\n'
    )
    assert [v.levels["coordinates"] for v in one.variants] == ["fourier", "none"]
    two = parse(GRID + '[[exclude]]\ncoordinates = ["fourier", "none"]\n')
    assert len(two.variants) == 1


@given(
    st.floats(min_value=1e-300, allow_nan=False, allow_infinity=False),
    st.integers(1, 64),
    st.booleans(),
)
def test_the_text_of_a_level_holds_its_parameters_to_the_last_bit(bandwidth, channels, learned):
    table = {"name": "fourier", "bandwidth": bandwidth, "channels": channels, "learned": learned}
    text = Named(REGISTRY).read("coordinates", table)
    name, parts = level_parts(str(text))
    declared = Named(REGISTRY).parameters("fourier")
    read = {p: d.default for p, d in declared.items()}
    read |= {p: declared[p].legal.parse(x) for p, x in parts.items()}
    assert name == "fourier"
    assert {k: read[k] for k in table if k != "name"} == {
        k: x for k, x in table.items() if k != "name"
    }


@pytest.mark.parametrize(
    ("hint", "text", "value"),
    [
        (Annotated[int, Between(1, 9)], "7", 7),
        (Annotated[float, Above(0)], "1e-3", 1e-3),
        (Literal["a", "b"], "b", "b"),
        (bool, "false", False),
    ],
)
def test_a_text_is_read_as_what_the_type_declares(hint, text, value):
    legal = legal_values(hint)
    assert legal.parse(text) == legal.read(value) == value
    assert type(legal.parse(text)) is type(value)
    assert legal.parse(spelled(value)) == value


@pytest.mark.parametrize(
    ("hint", "text", "words"),
    [
        (Annotated[int, Between(1, 9)], "10", "an integer from 1 to 9"),
        (Annotated[int, Between(1, 9)], "x", "an integer from 1 to 9"),
        (Annotated[float, Above(0)], "nan", "a positive number"),
        (Annotated[float, Above(0)], "inf", "a positive number"),
        (Annotated[float, Above(1)], "1", "a number above 1"),
        (Annotated[float, Between(0.5, 2)], "3", "a number from 0.5 to 2"),
        (Literal["a", "b"], "c", "one of a, b"),
        (bool, "1", "true or false"),
    ],
)
def test_a_text_that_is_not_legal_is_answered_with_what_is(hint, text, words):
    with pytest.raises(ValueError, match=f"^{words}$"):
        legal_values(hint).parse(text)


def test_the_legal_values_of_a_level_are_checked_where_it_is_read():
    with pytest.raises(LevelError, match="width: True is not legal"):
        FACTORS["width"].read("width", True)
    with pytest.raises(LevelError, match="learning_rate: "):
        FACTORS["learning_rate"].read("learning_rate", 10**400)
    assert FACTORS["learning_rate"].read("learning_rate", 1) == 1.0
