"""The lab's nets, and what a seed decides."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from linefit.architectures import ARCHITECTURES, build
from linefit.coordinates import COORDINATES
from linefit.pooling import POOLINGS


@pytest.mark.parametrize(
    ("levels", "parameters"),
    [
        (("conv1", "none", "flatten", 48), 9_831_266),
        (("conv2", "none", "max", 48), 27_794),
        (("conv2", "cartesian", "max", 48), 28_658),
    ],
)
def test_the_labs_nets_have_the_labs_parameters(levels, parameters):
    assert sum(p.numel() for p in build(*levels, seed=0).parameters()) == parameters


def test_coordconv_is_the_labs_forward_pass_written_out():
    net = build("conv2", "cartesian", "max", 48, seed=3)
    images = (torch.rand(4, 1, 40, 40) < 0.01).float()
    axis = torch.arange(-20, 20) / 40
    columns = axis.expand(4, 1, 40, 40)
    rows = axis[:, None].expand(4, 1, 40, 40)
    first, second = (m for m in net.modules() if isinstance(m, nn.Conv2d))
    hidden, out = (m for m in net.modules() if isinstance(m, nn.Linear))
    x = F.relu(F.conv2d(torch.cat([images, columns, rows], 1), first.weight, first.bias, padding=1))
    x = F.relu(F.conv2d(x, second.weight, second.bias, padding=1)).amax(dim=(2, 3))
    x = F.relu(x @ hidden.weight.T + hidden.bias) @ out.weight.T + out.bias
    torch.testing.assert_close(net(images), x)


@pytest.mark.parametrize(
    "levels",
    list(itertools.product(ARCHITECTURES, COORDINATES, POOLINGS)),
    ids=lambda levels: "-".join(levels),
)
def test_every_combination_of_levels_gives_two_outputs(levels):
    net = build(*levels, 3, dim=9, seed=0)
    assert net(torch.zeros(5, 1, 9, 9)).shape == (5, 2)


def test_a_seed_decides_the_initialisation_and_the_global_generator_is_left_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    one, same, other = (build("conv1", "none", "max", 4, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(torch.rand(3), expected)
    for a, b, c in zip(one.parameters(), same.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


def test_initialisation_is_torchs_default():
    with torch.random.fork_rng():
        torch.manual_seed(11)
        first, hidden, out = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4, 128), nn.Linear(128, 2)
    net = build("conv1", "none", "max", 4, seed=11)
    for expected, given in zip(
        [first, hidden, out], (m for m in net.modules() if hasattr(m, "weight")), strict=True
    ):
        assert torch.equal(expected.weight, given.weight)
        assert torch.equal(expected.bias, given.bias)


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (("conv9", "none", "max", 4), "architecture 'conv9' is not one of conv1, conv2"),
        (("conv1", "polar", "max", 4), "coordinates 'polar' is not one of none, cartesian"),
        (("conv1", "none", "min", 4), "pooling 'min' is not one of flatten, max"),
        (("conv1", "none", "max", 0), "width 0"),
    ],
)
def test_an_unknown_level_names_its_factor_and_the_legal_levels(levels, message):
    with pytest.raises(ValueError, match=message):
        build(*levels, seed=0)
