"""A study file becomes variants and cells, or a list of everything that is wrong with it."""

import json
import re
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ablations.study.factors import FACTORS, NET_FACTORS, REQUIRED
from ablations.study.reader import load_study, parse_study, shipped_studies
from ablations.study.study import StudyError
from linefit.architectures import build
from linefit.levels import POOLINGS
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
        f"conv{depth}-{coordinates}-w{width}"
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
    assert study.factors == (*REQUIRED, "epochs")


def test_a_factor_of_the_protocol_can_be_ablated():
    study = parse(GRID.replace("width = [8, 16]", "width = 8\nlearning_rate = [1e-3, 1e-2]"))
    assert study.factors == ("architecture", "coordinates", "learning_rate")
    assert {cell.protocol.learning_rate for cell in study.cells()} == {1e-3, 1e-2}
    assert study.variants[0].name == "conv1-none-learning_rate=0.001"


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
        "grid.pooling[0]": "(did you mean 'max'?)",
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
        (GRID + '[protocol]\nengine = "fast"\n', "one of auto, delta, dense"),
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
        ("conv1-none-w8", "different names"),
    ],
)
def test_names_of_included_variants_are_usable_and_unique(name, message):
    entry = '[[include]]\narchitecture="conv4"\ncoordinates="none"\npooling="max"\nwidth=8\n'
    with pytest.raises(StudyError) as caught:
        parse(GRID + entry + f'name = "{name}"\n')
    assert message in str(caught.value)


def test_the_same_levels_under_two_names_are_refused():
    entry = '[[include]]\nname="twin"\narchitecture="conv1"\ncoordinates="none"\npooling="max"\nwidth=8\n'
    with pytest.raises(StudyError, match="it has the levels of conv1-none-w8"):
        parse(GRID + entry)


@pytest.mark.parametrize("path", shipped_studies(), ids=lambda path: path.stem)
def test_shipped_studies_can_be_read_and_open_with_their_question(path):
    study = load_study(path.stem)
    assert study.title != study.name
    assert len(study.seeds) >= 5


@pytest.mark.parametrize("name", ["quick", "lab5"])
def test_the_labs_studies_hold_its_nets(name):
    study = load_study(name)
    nets = {
        v.name: build(**{f: v.levels[f] for f in NET_FACTORS}, seed=0)
        for v in study.variants
        if v.published is not None
    }
    parameters = {name: sum(p.numel() for p in net.parameters()) for name, net in nets.items()}
    assert parameters == {"simple": 9_831_266, "global-max-pooling": 27_794, "coordconv": 28_658}


def test_an_unknown_study_names_the_shipped_ones():
    with pytest.raises(
        StudyError, match=r"lab5, .*quick, .*or a path to a .toml file \(did you mean 'quick'\?\)"
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
    is_a_study_or_a_study_error(data)


@pytest.mark.slow
@settings(max_examples=10_000)
@given(sections)
def test_ten_thousand_files_are_studies_or_study_errors(data):
    is_a_study_or_a_study_error(data)


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda b: b.decode("latin-1")))
def test_whatever_a_text_is_it_is_a_study_or_a_study_error(text):
    try:
        parse(text)
    except StudyError as error:
        assert error.problems


def is_a_study_or_a_study_error(data):
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


def test_a_file_named_like_a_shipped_study_cannot_take_its_results(tmp_path):
    (tmp_path / "quick.toml").write_text(GRID)
    with pytest.raises(StudyError, match=r"another file name: quick is a study that is shipped"):
        load_study(tmp_path / "quick.toml")
    assert load_study(shipped_studies()[0]).name == shipped_studies()[0].stem


def test_a_grid_that_no_one_can_train_is_refused_at_once():
    widths = list(range(1, 4097))
    rates = [1 + i / 1000 for i in range(1000)]
    text = GRID.replace(
        "width = [8, 16]", f"width = {widths}\nlearning_rate = {rates}\nepochs = {widths}"
    )
    with pytest.raises(
        StudyError, match=r"at most 1,000,000 cells; it has 67,108,864,000 variants with 2 seeds"
    ):
        parse(text)


def test_a_large_grid_is_read_in_linear_time():
    text = GRID.replace("width = [8, 16]", f"width = {list(range(1, 4097))}")
    study = parse(text + "[[exclude]]\nwidth = 7\n")
    assert len(study.variants) == 4 * 4095
    assert len({variant.name for variant in study.variants}) == len(study.variants)


@pytest.mark.parametrize("name", ["..", ".hidden", "a b", "", "x" * 101, "caf\udce9", "a/b", "-x"])
def test_a_name_that_is_no_folder_of_its_own_is_refused(name):
    with pytest.raises(StudyError, match="name of the study"):
        parse_study(GRID, name=name, source="study.toml")


def test_a_file_of_dots_does_not_write_outside_the_results(tmp_path):
    (tmp_path / "...toml").write_text(GRID)
    with pytest.raises(StudyError, match="name of the study"):
        load_study(tmp_path / "...toml")


@pytest.mark.parametrize("title", ["a\nb", "\x1b[31mred", "", "x" * 201, "a\u2028b"])
def test_a_title_is_one_line_that_can_be_printed(title):
    with pytest.raises(StudyError, match=r"title: .* a text of one line"):
        parse(f"title = {json.dumps(title)}\n" + GRID)


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 3000 + "]" * 3000,
        "x = " + "{a = " * 500 + "1" + "}" * 500,
        "seeds = 1" + "0" * 5000,
        "seeds = 0x" + "f" * 5000,
        "title = " + '"' * 3 + "a" * 100_000 + '"' * 3,
        '"\\u0000" = 1',
    ],
)
def test_what_breaks_parsers_is_a_mistake_like_any_other(text):
    with pytest.raises(StudyError) as caught:
        parse(text)
    assert all(len(str(problem)) < 1000 for problem in caught.value.problems)


def test_a_level_named_like_a_yardstick_makes_no_variant_of_that_name(monkeypatch):
    monkeypatch.setitem(POOLINGS, "constant", "linefit.pooling:average")
    study = parse(
        GRID.replace('["conv1", "conv2"]', '"conv1"')
        .replace('["none", "cartesian"]', '"none"')
        .replace('"max"', '["max", "constant"]')
        .replace("[8, 16]", "8")
    )
    assert [variant.name for variant in study.variants] == ["max", "pooling=constant"]


def test_a_grid_of_one_variant_is_named_by_its_net():
    one = GRID.replace('["conv1", "conv2"]', '"conv1"').replace('["none", "cartesian"]', '"none"')
    study = parse(one.replace("[8, 16]", "8"))
    assert [variant.name for variant in study.variants] == ["conv1-none-max-w8"]
    assert study.factors == ()


def test_everything_about_training_can_be_a_setting_or_a_factor():
    study = parse(
        GRID
        + """
training_set = ["fixed", "per_seed", "fresh"]
loss = ["mse", "huber", "l1"]
weights = ["last", "best", "average"]
warmup = [0, 0.1]
[protocol]
target = "posterior"
optimiser = "adamw"
weight_decay = 0.01
schedule = "cosine"
"""
    )
    assert len(study.variants) == 8 * 3 * 3 * 3 * 2
    assert {(v.protocol.training_set, v.protocol.warmup) for v in study.variants} == {
        (training_set, warmup)
        for training_set in ("fixed", "per_seed", "fresh")
        for warmup in (0.0, 0.1)
    }
    assert all(v.protocol.optimiser == "adamw" for v in study.variants)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("weight_decay = 0.01", "weight_decay: 0.01 is not legal; expected 0 with optimiser adam"),
        ("warmup = 0.1", "warmup: 0.1 is not legal; expected 0 with schedule constant"),
        (
            'loss = "cross_entropy"',
            "loss: 'cross_entropy' is not legal; expected another one: cross_entropy takes",
        ),
        ('optimiser = ["adam", "adamw"]\nweight_decay = [0, 0.01]', "weight_decay: 0.01"),
    ],
)
def test_settings_that_do_not_go_together_are_refused_once_with_the_reason(settings, message):
    with pytest.raises(StudyError, match=re.escape(message)) as error:
        parse(GRID + settings)
    assert len(error.value.problems) == 1


def test_exclude_takes_out_settings_that_do_not_go_together():
    text = GRID + 'optimiser = ["adam", "adamw"]\nweight_decay = [0, 0.01]\n'
    study = parse(text + '[[exclude]]\noptimiser = "adam"\nweight_decay = 0.01\n')
    assert len(study.variants) == 8 * 3


CONFLICTS = """
[grid]
architecture = ["conv1", "conv2"]
coordinates = ["none", "cartesian"]
pooling = "max"
width = 8
placement = ["first", "every"]
"""


def test_levels_that_do_not_go_together_are_refused_with_the_reason_or_excluded():
    with pytest.raises(StudyError) as caught:
        parse(CONFLICTS)
    messages = [str(problem) for problem in caught.value.problems]
    assert len(messages) == 2
    assert (
        "placement every says nothing where coordinates are none (so in conv1-none-placement=every and 1 more)"
        in messages[0]
    )
    assert "conv1 has one convolution" in messages[1]
    assert all("[[exclude]]" in message for message in messages)
    exclude = """
    [[exclude]]
    placement = "every"
    coordinates = "none"
    [[exclude]]
    placement = "every"
    architecture = "conv1"
    """
    assert [v.name for v in parse(CONFLICTS + exclude).variants] == [
        "conv1-none-placement=first",
        "conv1-cartesian-placement=first",
        "conv2-none-placement=first",
        "conv2-cartesian-placement=first",
        "conv2-cartesian-placement=every",
    ]


@pytest.mark.parametrize(
    "levels",
    [
        'architecture = "hough"\ncoordinates = "none"\npooling = "none"\nwidth = 1',
        'architecture = "conv2"\ncoordinates = "none"\npooling = "max"\nwidth = 8\nhead = "categorical"',
    ],
)
def test_cross_entropy_goes_with_what_gives_distributions(levels):
    study = parse(f'[protocol]\nloss = "cross_entropy"\n[[include]]\nname = "net"\n{levels}\n')
    assert study.variants[0].protocol.loss == "cross_entropy"


@pytest.mark.parametrize("path", shipped_studies(), ids=lambda path: path.stem)
def test_every_shipped_study_opens_with_its_question(path):
    study = load_study(path.stem)
    opening = path.read_text().splitlines()[0]
    assert opening.startswith(("#", "title"))
    if path.stem not in ("quick", "lab5"):
        assert "?" in opening
    assert study.variants


def test_factorial_is_balanced_and_large():
    study = load_study("factorial")
    sizes = [len({v.levels[f] for v in study.variants}) for f in study.factors]
    assert sizes == [4, 5, 5, 3]
    assert len(study.cells()) == 1500
    assert len(study.variants) == 300
