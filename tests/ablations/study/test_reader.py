"""A study file becomes variants and cells, or a list of everything that is wrong with it."""

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablations.study.reader import (
    LEGAL_NAMES,
    load_study,
    parse_study,
    shipped_studies,
    variant_name,
)
from ablations.study.study import FACTORS, NET_FACTORS, StudyError
from linefit.architectures import build
from linefit.protocol import Protocol

GRID = """
seeds = 2
[grid]
architecture = ["conv1", "conv2"]
coordinates = ["none", "cartesian"]
pooling = "max"
width = [8, 16]
"""


def parse(text):
    return parse_study(text, name="study", source="study.toml")


def test_a_grid_is_every_combination_with_every_seed():
    study = parse(GRID)
    assert [v.name for v in study.variants] == [
        f"conv{depth}-{coordinates}-max-w{width}"
        for depth in (1, 2)
        for coordinates in ("none", "cartesian")
        for width in (8, 16)
    ]
    assert study.factors == ("architecture", "coordinates", "width")
    assert len(study.cells()) == 16
    assert len({cell.key for cell in study.cells()}) == 16


def test_seeds_come_in_rounds_so_that_an_interrupted_run_has_compared_all_variants():
    assert [cell.seed for cell in parse(GRID).cells()] == [0] * 8 + [1] * 8


def test_exclude_takes_out_what_matches_and_include_adds():
    study = parse(
        GRID
        + """
[[exclude]]
coordinates = "none"
width = 16
[[include]]
name = "long"
architecture = "conv3"
coordinates = "none"
pooling = "average"
width = 8
epochs = 7
published = 1.5
"""
    )
    assert len(study.variants) == 7
    assert study.variants[-1].name == "long"
    assert study.variants[-1].published == 1.5
    assert study.cells()[-1].protocol == Protocol(epochs=7)
    assert study.factors == (*NET_FACTORS, "epochs")


def test_a_factor_of_the_protocol_can_be_ablated():
    study = parse(GRID.replace("width = [8, 16]", "width = 8\nlearning_rate = [1e-3, 1e-2]"))
    assert study.factors == ("architecture", "coordinates", "learning_rate")
    assert {cell.protocol.learning_rate for cell in study.cells()} == {1e-3, 1e-2}
    assert study.variants[0].name == "conv1-none-max-w8-learning_rate=0.001"


def test_five_mistakes_get_five_messages():
    with pytest.raises(StudyError) as caught:
        parse(
            """
seeds = 0
titel = "typo"
[protocol]
epochs = -1
[grid]
architecture = ["conv2", "conv22"]
coordinates = "none"
pooling = "maximum"
width = 8
"""
        )
    messages = str(caught.value).splitlines()
    assert len(messages) == len(caught.value.problems) == 5
    assert all(message.startswith("study.toml: ") for message in messages)
    expected = {
        "titel": "did you mean 'title'",
        "seeds": "0 is not legal; expected a number of seeds from 1 to 10000",
        "protocol.epochs": "-1 is not legal; expected an integer from 1 to 100000",
        "grid.architecture[1]": "'conv22' is not legal; expected one of conv1, conv2, conv3, conv4",
        "grid.pooling[0]": "expected one of flatten, max, average (did you mean 'max'?)",
    }
    for key, text in expected.items():
        assert any(f": {key}: " in message and text in message for message in messages), key


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at least one variant"),
        ("[grid", "valid TOML"),
        (GRID + "[[exclude]]\nwidth = 32\n", "matches some combination"),
        (GRID + '[[include]]\narchitecture = "conv2"\n', "lacks coordinates, pooling, width"),
        (GRID.replace('pooling = "max"\n', ""), "a grid names all of architecture"),
        (GRID + "[[exclude]]\n", "at least one factor"),
        (
            GRID.replace("seeds = 2", "seeds = [99999999999999999999]"),
            "integers from 0 to 4294967295",
        ),
        (GRID.replace("[8, 16]", "[8, 8]"), "without repeats"),
        (GRID.replace("[8, 16]", "[]"), "at least one level"),
        (GRID.replace("[8, 16]", "[8, true]"), "an integer from 1"),
        (GRID.replace("seeds = 2", "seeds = [1, 1]"), "without repeats"),
        (GRID.replace("seeds = 2", 'title = 3\nseeds = "x"'), "title: 3 is not legal"),
        (GRID + "[protocol]\ntrain_size = 40000\n", "from 1 to 33333"),
        (GRID + "[protocol]\nlearning_rate = 0\n", "a positive number"),
        (GRID + '[protocol]\nengine = "fast"\n', "one of auto, dense"),
        (GRID + '[evaluation]\nsplits = ["val"]\n', "one of test, test_large"),
        (GRID + '[evaluation]\nyardsticks = ["least_square"]\n', "did you mean 'least_squares'"),
        (GRID + '[comparison]\nagainst = "best"\nmargin = 0.9\n', "a ratio above 1"),
        ("grid = 3\n", "a table"),
        ("include = [1]\n" + GRID, "[[include]]"),
    ],
)
def test_each_mistake_is_named(text, message):
    with pytest.raises(StudyError, match=r"study\.toml: ") as caught:
        parse(text)
    assert message in str(caught.value)


def test_mistakes_in_every_section_are_told_together():
    with pytest.raises(StudyError) as caught:
        parse(
            GRID.replace("seeds = 2", "seeds = [0.5]")
            + '[[include]]\nwidth = 0\nname = "a b"\npublished = -1\n[[exclude]]\n'
            + "[comparison]\nmargin = 1\n"
        )
    assert [problem.key for problem in caught.value.problems] == [
        "seeds",
        "include[0].width",
        "include[0]",
        "include[0].name",
        "include[0].published",
        "exclude[0]",
        "comparison.margin",
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("least_squares", "yardstick's name"),
        ("a b", "letters, digits"),
        ("conv1-none-max-w8", "different names"),
    ],
)
def test_names_of_included_variants_are_usable_and_unique(name, message):
    entry = '[[include]]\narchitecture="conv4"\ncoordinates="none"\npooling="max"\nwidth=8\n'
    with pytest.raises(StudyError) as caught:
        parse(GRID + entry + f'name = "{name}"\n')
    assert message in str(caught.value)


def test_the_same_levels_under_two_names_are_refused():
    entry = '[[include]]\nname="twin"\narchitecture="conv1"\ncoordinates="none"\npooling="max"\nwidth=8\n'
    with pytest.raises(StudyError, match="it has the levels of conv1-none-max-w8"):
        parse(GRID + entry)


def test_the_key_is_of_what_decides_the_numbers_alone():
    study, renamed = parse(GRID), parse(GRID.replace("seeds = 2", 'seeds = 2\ntitle = "another"'))
    assert [c.key for c in study.cells()] == [c.key for c in renamed.cells()]
    key = study.cells()[0].key
    assert key not in {c.key for c in parse(GRID + "[protocol]\nepochs = 3\n").cells()}
    assert key not in {c.key for c in parse(GRID + '[evaluation]\nsplits = ["test"]\n').cells()}
    # A default that is spelled out is the same configuration.
    assert key == parse(GRID + "[protocol]\nepochs = 100\n").cells()[0].key
    one, same = (
        parse(GRID + f"[protocol]\nlearning_rate = {x}\n").cells()[0] for x in ("1", "1.0")
    )
    assert one.key == same.key
    assert len(key) == 64
    assert set(key) <= set(string.hexdigits)


def test_configurations_survive_json():
    for cell in parse(GRID).cells():
        assert json.loads(json.dumps(cell.configuration)) == cell.configuration
        assert set(FACTORS) <= cell.configuration.keys()


@pytest.mark.parametrize("path", shipped_studies(), ids=lambda path: path.stem)
def test_shipped_studies_hold_the_labs_nets(path):
    study = load_study(path.stem)
    nets = {
        v.name: build(*(v.levels[f] for f in NET_FACTORS), seed=0)
        for v in study.variants
        if v.published is not None
    }
    parameters = {name: sum(p.numel() for p in net.parameters()) for name, net in nets.items()}
    assert parameters == {"simple": 9_831_266, "global-max-pooling": 27_794, "coordconv": 28_658}


def test_an_unknown_study_names_the_shipped_ones():
    with pytest.raises(
        StudyError, match=r"lab5, quick, or a path to a .toml file \(did you mean 'quick'\?\)"
    ):
        load_study("quik")


def test_a_file_that_cannot_be_read_is_told_with_its_path(tmp_path):
    with pytest.raises(StudyError, match=r"missing\.toml: expected a readable text file"):
        load_study(tmp_path / "missing.toml")
    (tmp_path / "latin.toml").write_bytes(b'title = "\xe9"')
    with pytest.raises(StudyError, match="readable text file"):
        load_study(tmp_path / "latin.toml")


toml_values = st.recursive(
    st.none().map(lambda _: 0)
    | st.booleans()
    | st.integers(-5, 5)
    | st.text(string.ascii_letters, max_size=6)
    | st.floats(allow_nan=False, allow_infinity=False, width=16),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", *FACTORS]), inner, max_size=3)
    ),
    max_leaves=6,
)
sections = st.dictionaries(
    st.sampled_from(
        [
            "title",
            "seeds",
            "protocol",
            "grid",
            "include",
            "exclude",
            "evaluation",
            "comparison",
            "x",
        ]
    ),
    toml_values,
    max_size=5,
)


@given(sections)
def test_whatever_a_file_holds_it_is_a_study_or_a_study_error(data):
    text = "\n".join(f"{key} = {_toml(value)}" for key, value in data.items())
    try:
        study = parse(text)
    except StudyError as error:
        assert error.problems
    else:
        assert study.cells()


def _toml(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(v)}" for key, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


levels = st.fixed_dictionaries(
    {f: st.sampled_from(LEGAL_NAMES[f]) for f in NET_FACTORS if f != "width"}
    | {"width": st.integers(1, 99)}
)


@given(levels, levels)
def test_different_levels_have_different_names(one, other):
    assert (variant_name(one) == variant_name(other)) == (one == other)


def test_a_file_named_like_a_shipped_study_cannot_take_its_results(tmp_path):
    (tmp_path / "quick.toml").write_text(GRID)
    with pytest.raises(StudyError, match=r"another file name: quick is a study that is shipped"):
        load_study(tmp_path / "quick.toml")
    assert load_study(shipped_studies()[0]).name == shipped_studies()[0].stem
