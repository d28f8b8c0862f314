"""The lab's nets, and what a seed decides."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from linefit.architectures import build
from linefit.images import lab_images
from linefit.levels import PADDINGS
from tests.linefit.combinations import combinations


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


@pytest.mark.parametrize("levels", combinations(4), ids=str)
def test_every_combination_of_levels_gives_two_outputs_and_gradients(levels):
    net = build(**levels, dim=16, seed=0)
    images = torch.from_numpy(lab_images(3, dim=16).pixels)[:, None].float()
    outputs = net(images)
    assert outputs.shape == (3, 2)
    assert outputs.isfinite().all()
    outputs.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


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
        (("conv1", "none", "min", 4), "pooling 'min' is not one of none, flatten, max"),
        (("conv1", "none", "max", 0), "width 0"),
    ],
)
def test_an_unknown_level_names_its_factor_and_the_legal_levels(levels, message):
    with pytest.raises(ValueError, match=message):
        build(*levels, seed=0)


def padded(maps, padding):
    """One more site on every side, site by site."""
    height, width = maps.shape[2:]
    result = torch.zeros(*maps.shape[:2], height + 2, width + 2)
    for y in range(-1, height + 1):
        for x in range(-1, width + 1):
            inside = 0 <= y < height and 0 <= x < width
            if padding == "circular":
                from_y, from_x = y % height, x % width
            elif padding == "reflect":  # about the outermost sites
                from_y, from_x = (
                    (abs(y) if y < height else height - 2),
                    (abs(x) if x < width else width - 2),
                )
            elif inside:
                from_y, from_x = y, x
            else:
                continue
            result[:, :, y + 1, x + 1] = maps[:, :, from_y, from_x]
    return result


@pytest.mark.parametrize("padding", PADDINGS)
def test_padding_is_what_stands_beyond_the_border(padding):
    net = build("conv2", "cartesian", "flatten", 3, padding=padding, dim=9, seed=0)
    images = torch.from_numpy(lab_images(2, dim=9).pixels)[:, None].float()
    maps = net.coordinates(images)
    for layer in (m for m in net.modules() if isinstance(m, nn.Conv2d)):
        beyond = maps if padding == "none" else padded(maps, padding)
        maps = F.relu(F.conv2d(beyond, layer.weight, layer.bias))
    assert maps.shape[2] == (5 if padding == "none" else 9)
    torch.testing.assert_close(net(images), net.head(maps.flatten(1)))


@pytest.mark.parametrize(
    ("placement", "channels"), [("first", [3, 5, 5]), ("every", [3, 7, 7]), ("last", [1, 5, 7])]
)
def test_placement_is_where_the_channels_come_in(placement, channels):
    net = build("conv3", "cartesian", "max", 5, placement=placement, seed=0)
    found = [m.in_channels for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert found == channels


def test_coordinates_in_every_layer_fit_maps_that_get_smaller():
    net = build("conv3", "cartesian", "max", 5, placement="every", padding="none", dim=16, seed=0)
    modules = [m for m in net.modules() if hasattr(m, "channels")]
    assert [tuple(m.channels.shape) for m in modules] == [(2, 16, 16), (2, 14, 14), (2, 12, 12)]


def test_residual_blocks_add_what_they_are_given():
    net = build("residual(blocks=1)", "none", "flatten", 2, dim=5, seed=0)
    first, second, third = (m for m in net.modules() if isinstance(m, nn.Conv2d))
    images = torch.rand(2, 1, 5, 5)
    x = first(images).clamp_min(0)
    y = third(second(x).clamp_min(0))
    torch.testing.assert_close(net(images), net.head((x + y).clamp_min(0).flatten(1)))


def test_large_kernels_see_further():
    for kernel in (5, 7):
        level = f"large_kernel(kernel={kernel})"
        net = build(level, "none", "flatten", 2, dim=31, seed=0)
        for parameter in net.parameters():
            torch.nn.init.ones_(parameter)  # no ReLU is in the way
        image = torch.zeros(1, 1, 31, 31, requires_grad=True)
        net.convolutions(image)[0, 0, 15, 15].backward()
        assert int((image.grad[0, 0, 15] != 0).sum()) == 2 * kernel - 1


def test_strided_maps_are_an_eighth_as_high():
    net = build("strided", "none", "flatten", 4, seed=0)
    assert net.convolutions(torch.zeros(1, 1, 40, 40)).shape == (1, 16, 5, 5)
