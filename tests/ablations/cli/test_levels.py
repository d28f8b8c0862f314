"""The verb `levels`: every level in one line, without torch, and a picture of them."""

import json
import subprocess
import sys

import pytest

from ablations.report.plots.catalogue import (
    encoding_channels,
    plot_levels,
    pooling_reading,
    toy_map,
)
from linefit.levels import COORDINATES, PADDINGS, PLACEMENTS, POOLINGS, REGISTRIES


def levels(*options):
    command = [sys.executable, "-m", "ablations", "levels", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_level_is_listed_with_its_parameters():
    done = levels("--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    rows = {(row["factor"], row["level"]): row for row in json.loads(done.stdout)}
    expected = {(factor, name) for factor, registry in REGISTRIES.items() for name in registry}
    expected |= {("placement", name) for name in PLACEMENTS} | {("padding", n) for n in PADDINGS}
    assert set(rows) == expected
    assert rows["coordinates", "fourier"]["parameters"] == "bandwidth=1, frequencies=8, seed=0"
    assert all(row["what it is"] for row in rows.values())


def test_the_list_needs_no_torch():
    code = "import sys; sys.argv = ['ablations', 'levels']; import ablations.cli.main as m\n"
    code += "try: m.main()\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 40


def test_the_figure_shows_every_encoding_and_every_pooling(tmp_path):
    figure = plot_levels()
    shown = {t.get_text() for axes in figure.axes for t in (*axes.texts, axes.title)}
    shown |= {axes.get_title(loc="left") for axes in figure.axes}
    words = {text.split("\n")[0] for text in shown}
    assert (set(COORDINATES) | set(POOLINGS)) - {"none"} <= words


def test_what_is_drawn_is_what_a_pooling_reads():
    top = toy_map().argmax()
    assert pooling_reading("max").argmax() == top
    assert (pooling_reading("max") != 0).sum() == 1
    assert (pooling_reading("grid2") != 0).sum() == 4
    assert pooling_reading("average").max() == pytest.approx(1 / toy_map().size)
    assert pooling_reading("softpool").argmax() == top
    assert encoding_channels("gated").shape[0] == 2
