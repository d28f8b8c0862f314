"""Every pooling against a slow loop over images, channels and sites."""

import math

import numpy as np
import pytest
import torch

from linefit.architectures import make_level
from linefit.levels import POOLINGS

HEIGHT, WIDTH, CHANNELS = 5, 7, 3
MAPS = torch.randn(
    2, CHANNELS, HEIGHT, WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
)


def module(level):
    torch.manual_seed(2)
    return make_level("pooling", level, channels=CHANNELS, height=HEIGHT, width=WIDTH).double()


def softmax(values):
    shares = [math.exp(value) for value in values]
    return [share / sum(shares) for share in shares]


def sites():
    return list(np.ndindex(HEIGHT, WIDTH))


def spatial_softmax(channels, temperature=1.0):
    """Expected position of each channel, columns first."""
    shares = [softmax([channel[site] / temperature for site in sites()]) for channel in channels]
    columns = [
        sum(s * (2 * x / (WIDTH - 1) - 1) for s, (_, x) in zip(share, sites(), strict=True))
        for share in shares
    ]
    rows = [
        sum(s * (2 * y / (HEIGHT - 1) - 1) for s, (y, _) in zip(share, sites(), strict=True))
        for share in shares
    ]
    return columns + rows


def grid(k):
    """Cells as torch divides an axis: from floor(i n / k) to ceil((i + 1) n / k)."""

    def edges(size, i):
        return range(i * size // k, -(-(i + 1) * size // k))

    def pool(channels):
        return [
            max(channel[y, x] for y in edges(HEIGHT, i) for x in edges(WIDTH, j))
            for channel in channels
            for i in range(k)
            for j in range(k)
        ]

    return pool


DEFINITIONS = {
    "flatten": lambda channels: [channel[site] for channel in channels for site in sites()],
    "max": lambda channels: [max(channel[site] for site in sites()) for channel in channels],
    "average": lambda channels: [
        sum(channel[site] for site in sites()) / 35 for channel in channels
    ],
    "sum": lambda channels: [sum(channel[site] for site in sites()) for channel in channels],
    "max_average": lambda channels: DEFINITIONS["max"](channels) + DEFINITIONS["average"](channels),
    "logsumexp": lambda channels: [
        math.log(sum(math.exp(channel[site]) for site in sites())) for channel in channels
    ],
    "softpool": lambda channels: [
        sum(
            share * channel[site]
            for share, site in zip(softmax([channel[s] for s in sites()]), sites(), strict=True)
        )
        for channel in channels
    ],
    "gem": lambda channels: [
        (sum(max(channel[site], 1e-6) ** 3 for site in sites()) / 35) ** (1 / 3)
        for channel in channels
    ],
    "spatial_softmax": spatial_softmax,
    "grid2": grid(2),
    "grid4": grid(4),
}


@pytest.mark.parametrize("name", DEFINITIONS)
def test_pooling_is_its_definition(name):
    expected = [DEFINITIONS[name](image) for image in MAPS.numpy()]
    tolerance = 1e-7 if name == "spatial_softmax" else 1e-12  # positions are float32
    np.testing.assert_allclose(
        module(name)(MAPS).detach(), expected, rtol=tolerance, atol=tolerance
    )


def linear(convolution, vector):
    weight = convolution.weight.detach().numpy()[:, :, 0, 0]
    return weight @ vector + convolution.bias.detach().numpy()


@pytest.mark.parametrize("name", ["attention", "gated_attention"])
def test_attention_is_its_definition(name):
    net = module(f"{name}(hidden=4)")
    expected = []
    for image in MAPS.numpy():
        scores = []
        for y, x in sites():
            hidden = np.tanh(linear(net.value, image[:, y, x]))
            if name == "gated_attention":
                hidden = hidden / (1 + np.exp(-linear(net.gate, image[:, y, x])))
            scores.append(float(linear(net.score, hidden)[0]))
        shares = softmax(scores)
        expected.append(sum(a * image[:, y, x] for a, (y, x) in zip(shares, sites(), strict=True)))
    np.testing.assert_allclose(net(MAPS).detach(), expected, rtol=1e-12)


def test_gem_learns_an_exponent_per_channel():
    net = module("gem")
    with torch.no_grad():
        net.exponent.copy_(torch.tensor([1.0, 2.0, 400.0]))
    found = net(MAPS)
    clamped = np.maximum(MAPS.numpy(), 1e-6)
    np.testing.assert_allclose(found[:, 0].detach(), clamped[:, 0].mean((1, 2)))
    np.testing.assert_allclose(found[:, 1].detach(), np.sqrt((clamped[:, 1] ** 2).mean((1, 2))))
    np.testing.assert_allclose(found[:, 2].detach(), clamped[:, 2].max((1, 2)), rtol=0.01)
    assert torch.autograd.gradcheck(net, MAPS.clone().requires_grad_())


def test_spatial_softmax_learns_its_temperature():
    net = module("spatial_softmax")
    with torch.no_grad():
        net.log_temperature.fill_(math.log(0.5))
    expected = [spatial_softmax(image, temperature=0.5) for image in MAPS.numpy()]
    np.testing.assert_allclose(net(MAPS).detach(), expected, atol=1e-7)
    net(MAPS).sum().backward()
    assert net.log_temperature.grad != 0


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in POOLINGS
        if name not in ("none", "flatten", "spatial_softmax", "grid2", "grid4")
    ],
)
def test_a_global_pooling_says_nothing_of_places(name):
    net = module(name)
    order = torch.randperm(HEIGHT * WIDTH, generator=torch.Generator().manual_seed(0))
    moved = MAPS.flatten(2)[:, :, order].view_as(MAPS)
    torch.testing.assert_close(net(moved), net(MAPS), rtol=1e-12, atol=1e-12)
