"""Levels that a user defines beside a study: trained by workers, part of the key, refused in words in time."""

import shutil
from importlib.metadata import EntryPoint

import numpy as np
import pytest

import ablations
from ablations.execution.trial import try_levels
from ablations.records.yardsticks import yardstick_key
from ablations.study.reader import load_study
from ablations.study.study import StudyError
from linefit import levels

LEVELS = '''
"""My levels."""
from typing import Annotated

import torch
from torch import nn

from helpers import rings
from linefit.legal import Between


class MyNet(nn.Module):
    """A net of its own."""

    def __init__(self, width, coordinates, pooling, *, kernel: Annotated[int, Between(1, 9)] = 3):
        super().__init__()
        self.coordinates = coordinates
        self.convolution = nn.Conv2d(coordinates.out_channels, width, kernel, padding=kernel // 2)
        self.pooling = pooling(width)
        self.line = nn.Linear(self.pooling.out_features, 2)

    def forward(self, images):
        return self.line(self.pooling(self.convolution(self.coordinates(images)).relu()))


def my_stack(in_channels, width, convolution):
    """Features: coordinates, pooling and head come from the study."""
    return nn.Sequential(convolution(in_channels, width, 5), nn.Tanh())


def my_rings(height, width):
    """Channels."""
    return rings(height, width)


class MyPooling(nn.Module):
    """A pooling."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, maps):
        return maps.amax((2, 3)) * self.weight


class Blind(nn.Module):
    """Takes nothing."""

    def __init__(self):
        super().__init__()
        self.line = nn.Parameter(torch.zeros(2))

    def forward(self, images):
        return self.line.expand(len(images), 2)
'''
HELPERS = """
import torch

def rings(height, width):
    y, x = torch.arange(height)[:, None], torch.arange(width)
    return torch.sin(0.3 * (x + y))[None]
"""
STUDY = """
seeds = 1
[protocol]
epochs = 1
train_size = 64
batch_size = 32
[grid]
architecture = ["mylevels.py:MyNet", { name = "mylevels.py:MyNet", kernel = 5 }, "mylevels.py:my_stack", "conv1"]
coordinates = ["mylevels.py:my_rings", "cartesian"]
pooling = ["mylevels.py:MyPooling", "max"]
width = 4
[evaluation]
splits = ["test"]
yardsticks = ["least_squares"]
"""
BLIND = """
[[include]]
name = "blind"
architecture = "mylevels.py:Blind"
coordinates = "none"
pooling = "none"
width = 1
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mylevels.py").write_text(LEVELS)
    (tmp_path / "helpers.py").write_text(HELPERS)
    (tmp_path / "mine.toml").write_text(STUDY + BLIND)
    return tmp_path


def keys(folder):
    study = load_study(folder / "mine.toml")
    return {cell.variant.name: cell.key for cell in study.cells([0])}


def test_a_study_with_levels_of_its_own_trains_and_is_compared(folder, tmp_path, monkeypatch):
    monkeypatch.chdir("/")  # where a worker stands does not matter
    results = ablations.run(folder / "mine.toml", results_dir=tmp_path / "results", workers=1)
    assert results.cells["status"].tolist() == ["ok"] * 17
    engines = dict(zip(results.cells["variant"], results.cells["engine_used"], strict=True))
    assert engines["mylevels.py:MyNet-cartesian-max"] == "delta"  # an unmodified module
    # The results hold the code that they come from: neither an edit nor the loss of the files takes them away.
    (folder / "mylevels.py").unlink()
    again = ablations.load_results("mine", results_dir=tmp_path / "results")
    np.testing.assert_array_equal(
        again.splits["test"].variants[0].predictions, results.splits["test"].variants[0].predictions
    )


def test_keys_do_not_depend_on_where_the_study_stands(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "elsewhere (a copy)")
    assert keys(folder) == keys(copy)


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("mylevels.py", '"""A net of its own."""', '"""Documented."""', set()),
        ("mylevels.py", ".relu()", ".tanh()", {"MyNet"}),
        ("mylevels.py", "nn.Tanh()", "nn.ReLU()", {"my_stack"}),
        ("helpers.py", "0.3", "0.4", {"my_rings"}),
        ("mylevels.py", "torch.ones(channels)", "torch.zeros(channels)", {"MyPooling"}),
    ],
)
def test_an_edited_level_gives_its_cells_new_keys_and_no_others(folder, file, old, new, changed):
    before = keys(folder)
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))
    after = keys(folder)
    for name in before:
        assert (before[name] != after[name]) == any(level in name for level in changed), name


@pytest.mark.parametrize(
    ("level", "message"),
    [
        ('"nowhere.py:Net"', "nowhere.py: expected a readable file of Python"),
        (
            '"mylevels.py:Net"',
            "'Net': expected the name of a function or class of this file: MyNet, my_stack",
        ),
        ('"../mylevels.py:MyNet"', "a file in the folder of the study"),
        ('"nosuchpackage.nets:Net"', "nosuchpackage.nets: expected a module that is installed"),
        (
            '{ name = "mylevels.py:MyNet", kernel = 10 }',
            "10 is not legal; expected an integer from 1 to 9",
        ),
        ('"convv2"', "or a level of your own as file.py:name (did you mean 'conv2'?)"),
    ],
)
def test_a_level_that_is_nowhere_is_refused_when_the_study_is_read(folder, level, message):
    (folder / "mine.toml").write_text(STUDY.replace('"mylevels.py:my_stack"', level))
    with pytest.raises(StudyError) as error:
        load_study(folder / "mine.toml")
    assert len(error.value.problems) == 1
    assert message in str(error.value)


def test_a_net_that_takes_no_factor_goes_with_the_neutral_level(folder):
    (folder / "mine.toml").write_text(
        BLIND.replace('"none"', '"max"').replace("width = 1", "width = 3")
    )
    with pytest.raises(StudyError) as error:
        load_study(folder / "mine.toml")
    text = str(error.value)
    assert "'max' is not legal" in text  # of coordinates
    (folder / "mine.toml").write_text(BLIND.replace("width = 1", "width = 3"))
    with pytest.raises(StudyError, match=r"mylevels\.py:Blind takes no width"):
        load_study(folder / "mine.toml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "nn.Linear(self.pooling.out_features, 2)",
            "nn.Linear(self.pooling.out_features, 3)",
            r"it gives (2, 3)",
        ),
        (
            "return self.line(self",
            "raise KeyError('oops')\n        return self.line(self",
            "KeyError: 'oops'",
        ),
        ("self.line(self.pooling", "list(self.pooling", "it gives list"),
        (
            "return rings(height, width)",
            "return rings(width, height)[:, 1:]",
            "expected channels (C, 40, 40)",
        ),
        ("def __init__(self, channels):", "def __init__(self, channels, what):", "argument what"),
    ],
)
def test_a_net_that_gives_no_lines_is_refused_before_anything_trains(
    folder, old, new, message, tmp_path
):
    assert old in LEVELS
    (folder / "mylevels.py").write_text(LEVELS.replace(old, new))
    with pytest.raises(StudyError) as error:
        ablations.run(folder / "mine.toml", results_dir=tmp_path / "results")
    text = str(error.value)
    assert message in text
    assert "mylevels.py" in text
    assert "(N, 1, 40, 40)" in text
    assert not (tmp_path / "results" / "mine" / "study.toml").exists()


def test_an_installed_package_brings_levels_by_entry_points(monkeypatch, folder):
    point = EntryPoint("large", "linefit.convolutions:large_kernel", "linefit.architecture")
    monkeypatch.setattr(
        levels, "entry_points", lambda group: [point] if group == point.group else []
    )
    text = STUDY.replace('"mylevels.py:my_stack"', '{ name = "large", kernel = 7 }')
    (folder / "mine.toml").write_text(text)
    cells = load_study(folder / "mine.toml").cells()
    assert "large(kernel=7)" in {cell.variant.levels["architecture"] for cell in cells}
    try_levels("mine", cells)


def test_levels_of_the_package_need_no_trial(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "linefit.architectures", None)
    try_levels("quick", load_study("quick").cells())


YARDSTICKS = """
import numpy as np
from typing import Annotated
from linefit.legal import Between

def flat(pixels, train, *, height: Annotated[float, Between(0, 40)] = 20.0):
    \"\"\"A flat line at one height.\"\"\"
    return np.tile([0.0, height], (len(pixels), 1))
"""


def test_a_yardstick_of_the_users_is_compared_and_kept(folder, tmp_path):
    (folder / "fits.py").write_text(YARDSTICKS)
    grid = STUDY[STUDY.index("architecture") : STUDY.index("pooling")]
    text = STUDY.replace(grid, 'architecture = "conv1"\ncoordinates = "none"\n')
    yardsticks = '["fits.py:flat", { name = "fits.py:flat", height = 7 }]'
    (folder / "mine.toml").write_text(text.replace('["least_squares"]', yardsticks))
    results = ablations.run(folder / "mine.toml", results_dir=tmp_path / "results", workers=1)
    for name, height in (("fits.py:flat", 20), ("fits.py:flat(height=7)", 7)):
        found = results.splits["test"].yardsticks[name]
        np.testing.assert_array_equal(found, np.tile([0.0, height], (500, 1)))
        assert name in results.compare().to_text("csv")
    before = yardstick_key(results.study, "fits.py:flat", "test")
    (folder / "fits.py").write_text(YARDSTICKS.replace("[0.0,", "[0.1,"))
    edited = load_study(folder / "mine.toml")
    assert yardstick_key(edited, "fits.py:flat", "test") != before
    assert yardstick_key(edited, "least_squares", "test") == yardstick_key(
        results.study, "least_squares", "test"
    )
    kept = ablations.load_results("mine", results_dir=tmp_path / "results")
    assert (kept.splits["test"].yardsticks["fits.py:flat"][:, 0] == 0).all()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("(len(pixels), 1)", "(3, 1)", "(3, 2) from (500, 40, 40)"),
        ("return np", "raise KeyError('oops')\n    return np", "KeyError: 'oops'"),
    ],
)
def test_a_yardstick_that_gives_no_lines_is_refused(folder, tmp_path, old, new, message):
    (folder / "fits.py").write_text(YARDSTICKS.replace(old, new))
    (folder / "mine.toml").write_text(STUDY.replace('"least_squares"', '"fits.py:flat"'))
    with pytest.raises(StudyError) as error:
        ablations.run(folder / "mine.toml", results_dir=tmp_path / "results", workers=1)
    assert message in str(error.value)
    assert "fits.py" in str(error.value)
    assert "(N, dim, dim)" in str(error.value)


def test_a_yardstick_that_is_nowhere_is_refused_when_the_study_is_read(folder):
    (folder / "mine.toml").write_text(
        STUDY.replace('"least_squares"', '"fits.py:flat", "least_square"')
    )
    with pytest.raises(StudyError) as error:
        load_study(folder / "mine.toml")
    assert "evaluation.yardsticks[0]: 'fits.py:flat' is not legal" in str(error.value)
    assert "did you mean 'least_squares'" in str(error.value)


def test_a_failed_cell_is_told_by_a_warning(folder, tmp_path):
    (folder / "mylevels.py").write_text(
        LEVELS.replace(
            "return self.line.expand",
            "assert len(images) < 9, 'too many'\n        return self.line.expand",
        )
    )
    (folder / "mine.toml").write_text(
        STUDY[: STUDY.index("[grid]")] + BLIND + STUDY[STUDY.index("[evaluation]") :]
    )
    with pytest.warns(UserWarning, match="1 of 1 cells failed, one with: AssertionError: too many"):
        ablations.run(folder / "mine.toml", results_dir=tmp_path / "results", workers=1)
