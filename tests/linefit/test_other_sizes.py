"""Nets on images of another size: which can take them, with the same parameters, and what they say in pixels."""

import numpy as np
import pytest
import torch

from linefit.architectures import build, net_at
from linefit.closed_form import least_squares
from linefit.images import LAB_DIM, lab_images
from linefit.other_sizes import in_pixels, size_problem
from tests.linefit.combinations import FACTORS, combinations

CARTESIAN_MAX = {"architecture": "conv2", "coordinates": "cartesian", "pooling": "max", "width": 4}
ONE_SIZE = ("flatten", "learned", "noise", "shuffled", "pixels", "sinusoidal", "sinusoidal_added")


def built(levels, dim=LAB_DIM):
    return build(**levels, dim=dim, seed=0).double().eval()


@pytest.mark.parametrize("dim", [33, 48])
def test_every_net_without_a_problem_takes_another_size(dim):
    """Over legal combinations of all levels: the same parameters, and lines from images of that size."""
    images = torch.from_numpy(lab_images(2, dim).pixels)[:, None].double()
    levels_seen = set()
    for levels in combinations(4)[::3]:
        if size_problem(levels) is None:
            net = built(levels)
            other = net_at(net, levels, dim)
            found, expected = other.state_dict(), net.state_dict()
            assert found.keys() == expected.keys()
            assert all(torch.equal(found[name], expected[name]) for name in found)
            assert other(images).shape == (2, 2)
            levels_seen |= {(factor, levels[factor]) for factor in FACTORS}
    assert len(levels_seen) > 30


@pytest.mark.parametrize("levels", combinations(4)[::2], ids=str)
def test_the_reason_names_a_level_that_is_made_for_one_size(levels):
    given = {str(levels[factor]) for factor in ("coordinates", "pooling")} & set(ONE_SIZE)
    problem = size_problem(levels)
    assert (problem is None) == (not given)
    assert problem is None or problem.split()[1] in given


@pytest.mark.parametrize("change", [{"pooling": "flatten"}, {"coordinates": "learned"}])
def test_what_has_parameters_for_each_site_really_cannot(change):
    levels = CARTESIAN_MAX | change
    assert size_problem(levels) is not None
    with pytest.raises(RuntimeError, match="size mismatch"):
        net_at(built(levels), levels, 32)


@pytest.mark.parametrize(
    "change", [{"architecture": "nets.py:Net"}, {"pooling": "package.module:pool"}]
)
def test_of_levels_of_the_users_nothing_is_known(change):
    assert "is not the package's own" in size_problem(CARTESIAN_MAX | change)


@pytest.mark.parametrize("dim", [32, 56, 80])
def test_a_line_looks_the_same_where_positions_are_relative(dim):
    """Points of a line in an image of side `dim`, drawn where they are in the lab's: its line there is what a net says,
    and in pixels it is the line that was drawn."""
    rng = np.random.default_rng(dim)
    for slope, intercept in rng.uniform([-3, -20], [3, 20], (20, 2)):
        x = np.arange(dim)
        row = dim - (slope * x + intercept)
        across, down = (x - dim // 2) / dim, (row - dim // 2) / dim  # as `cartesian` has them
        lab_x, lab_row = (LAB_DIM * at + LAB_DIM // 2 for at in (across, down))
        said = np.polyfit(lab_x, LAB_DIM - lab_row, 1)
        found = in_pixels(said[None], CARTESIAN_MAX, dim)
        np.testing.assert_allclose(found, [[slope, intercept]], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dim", [32, 56, 80])
def test_the_closed_form_of_least_squares_says_pixels(dim):
    """With equal weights the head is ordinary least squares, at every size."""
    levels = {**CARTESIAN_MAX, "pooling": "none", "head": "least_squares"}
    net = built(levels)
    torch.nn.init.zeros_(net.head.score.weight)
    pixels = lab_images(40, dim, 5000).pixels
    with torch.no_grad():
        said = net_at(net, levels, dim)(torch.from_numpy(pixels)[:, None].double())
    found = in_pixels(said.numpy(), levels, dim)
    np.testing.assert_allclose(found, least_squares(pixels), rtol=1e-3, atol=1e-3)


def test_lab_images_are_already_in_pixels():
    lines = np.array([[1.5, -3.0]])
    np.testing.assert_array_equal(in_pixels(lines, CARTESIAN_MAX, LAB_DIM), lines)
