"""Registries, parameters of levels, and which levels go together. Nothing of it needs torch."""

import subprocess
import sys

import pytest

from linefit.definitions import definition, load
from linefit.levels import DEFAULTS, REGISTRIES, problems, resolve
from tests.linefit.combinations import FACTORS, combinations

NET = {"architecture": "conv2", "coordinates": "cartesian", "pooling": "max", "width": 8}
EVERY_LEVEL = [(factor, name) for factor, registry in REGISTRIES.items() for name in registry]


@pytest.mark.parametrize(("factor", "name"), EVERY_LEVEL)
def test_every_level_leads_to_a_documented_callable(factor, name):
    reference = REGISTRIES[factor][name]
    found = definition(reference)
    assert callable(load(reference))
    assert found.summary.endswith((".", ":"))
    assert found.read({}) == {name: p.default for name, p in found.parameters.items()}


def test_legality_is_decided_without_torch():
    code = (
        "import sys; from linefit.levels import problems;"
        "problems(dict(architecture='pointnet', coordinates='fourier(bandwidth=2)', pooling='max', width=8));"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("levels", "reason"),
    [
        ({"pooling": "none"}, "needs a pooling"),
        ({"coordinates": "none", "placement": "last"}, "says nothing where coordinates are none"),
        ({"coordinates": "gated", "placement": "every"}, "made of the image"),
        ({"architecture": "conv1", "placement": "last"}, "one convolution"),
        ({"head": "least_squares"}, "pools by itself"),
        ({"head": "least_squares", "pooling": "none", "padding": "none"}, "image's size"),
        ({"head": "least_squares", "pooling": "none", "architecture": "strided"}, "image's size"),
        ({"architecture": "pointnet", "coordinates": "none"}, "sees lit pixels alone"),
        ({"architecture": "pointnet", "pooling": "attention"}, "unlit pixels"),
        ({"architecture": "pointnet", "padding": "reflect"}, "takes no padding"),
        ({"architecture": "pointnet", "placement": "every"}, "takes no placement"),
        ({"architecture": "set_transformer"}, "pools by itself"),
        (
            {"architecture": "set_transformer", "pooling": "none", "width": 9},
            "no multiple of its 4",
        ),
        ({"architecture": "residual", "padding": "none"}, "smaller"),
    ],
)
def test_what_does_not_go_together_is_refused_with_the_reason(levels, reason):
    found = problems(NET | levels)
    assert len(found) == 1
    assert reason in found[0]


@pytest.mark.parametrize(
    "levels",
    [
        {},
        {"epochs": 3},
        {"head": "least_squares", "pooling": "none"},
        {"head": "least_squares(residual=true)"},
        {"architecture": "pointnet", "head": "least_squares", "pooling": "none"},
        {"architecture": "set_transformer", "pooling": "none", "head": "categorical"},
        {
            "architecture": "set_transformer(attention_heads=3)",
            "pooling": "none",
            "width": 9,
        },
    ],
)
def test_what_goes_together_has_no_problems(levels):
    assert problems(NET | levels) == []
    assert problems(DEFAULTS | NET | levels) == []


def test_every_level_is_in_some_legal_combination():
    chosen = combinations(4)
    for factor, levels in FACTORS.items():
        for level in levels:
            assert any(net[factor] == level for net in chosen), (factor, level)
    assert len(chosen) < 400


@pytest.mark.parametrize(
    ("level", "message"),
    [
        ("polar", "coordinates 'polar' is not one of none, cartesian"),
        ("fourier(width=1)", "width: expected one of bandwidth, frequencies, seed"),
        ("cartesian(width=1)", r"width: expected one of \(no parameter\)"),
        ("fourier(bandwidth=1e9)", "bandwidth=1e9: expected a number from 0.01 to 100"),
        ("fourier(bandwidth=nan)", "bandwidth=nan"),
        ("fourier(bandwidth=true)", "bandwidth=true: expected a number"),
        ("fourier(frequencies=2.5)", "frequencies=2.5: expected an integer from 1 to 512"),
    ],
)
def test_an_illegal_parameter_is_named_with_the_legal_ones(level, message):
    with pytest.raises(ValueError, match=message):
        resolve("coordinates", level)


def test_parameters_have_one_form():
    reference, parameters = resolve("coordinates", "fourier(bandwidth=4)")
    assert reference == "linefit.coordinates:fourier"
    assert parameters == {"bandwidth": 4.0, "frequencies": 8, "seed": 0}
    assert type(parameters["bandwidth"]) is float
