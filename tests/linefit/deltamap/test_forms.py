"""Layers beyond convolutions and plain pools, as nets write them, against dense autograd in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from linefit.deltamap import DeltaImages, UnsupportedOperation
from tests.linefit.deltamap.test_deltamap import (
    DIM,
    KERNELS,
    assert_equal,
    batches,
    outputs_and_gradients,
)

CHANNELS = 4
AXIS = torch.linspace(-1, 1, DIM, dtype=torch.float64)
GRID = torch.cartesian_prod(AXIS, AXIS)  # (DIM * DIM, 2)


class Function(nn.Module):
    """A function of the map, and a learned vector of its channels."""

    def __init__(self, function: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.function = function
        self.vector = nn.Parameter(torch.linspace(0.5, 2.5, CHANNELS))

    def forward(self, x: Any) -> Any:
        return self.function(x, self.vector)


class SqueezeExcite(nn.Module):
    """Hu et al. 2018: channels are scaled by what the image's means say."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(CHANNELS, 2), nn.ReLU(), nn.Linear(2, CHANNELS))

    def forward(self, x: Any) -> Any:
        return x * self.layers(x.mean((2, 3)))[:, :, None, None]


class Tokens(nn.Module):
    """Attention pooling as multiple instance learning writes it: sites first, linear layers over channels."""

    def __init__(self, heads: int, product: Callable[[Any, Any], Tensor]) -> None:
        super().__init__()
        self.values, self.gates = nn.Linear(CHANNELS, 3), nn.Linear(CHANNELS, 3)
        self.scores = nn.Linear(3, heads)
        self.product = product

    def forward(self, x: Any) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)  # (N, S, C)
        gated = torch.tanh(self.values(tokens)) * torch.sigmoid(self.gates(tokens))
        shares = self.scores(gated).softmax(1)  # (N, S, heads)
        return self.product(shares, tokens).flatten(1)


def heads(x: Any, k: int = 2) -> Any:
    """A softmax over sites for each of k scores, `(N, k, S)`."""
    weight = torch.linspace(-1, 1, CHANNELS * k, dtype=torch.float64).view(k, CHANNELS, 1, 1)
    return F.conv2d(x, weight).flatten(2).softmax(-1)


def marginals(x: Any) -> Tensor:
    """Expected column and row, by the softmax's marginals."""
    shares = x.flatten(2).softmax(-1).view(len(x), -1, DIM, DIM)
    return torch.cat([shares.sum(2) @ AXIS, (shares.sum(dim=3) * AXIS).sum(-1)], 1)


POOLS: dict[str, Callable[[], nn.Module]] = {
    "grid maxima": lambda: nn.AdaptiveMaxPool2d(2),
    "grid maxima of unequal windows": lambda: nn.AdaptiveMaxPool2d((3, 4)),
    "grid averages": lambda: nn.AdaptiveAvgPool2d((1, 4)),
    "as many columns as there are": lambda: nn.AdaptiveAvgPool2d((1, None)),
    "local maxima": lambda: nn.MaxPool2d(3, stride=2, padding=1),
    "local averages": lambda: nn.AvgPool2d((4, 5), stride=(3, 3)),
    "average over all sites, by its size": lambda: nn.AvgPool2d(DIM),
    "maxima of columns": lambda: Function(lambda x, _: x.amax(2)),
    "means of rows": lambda: Function(lambda x, _: x.mean(dim=3, keepdim=True)),
    "sums of rows": lambda: Function(lambda x, _: x.sum(axis=-1)),
    "log-sum-exps of columns": lambda: Function(lambda x, _: torch.logsumexp(x, dim=2)),
    "max over an axis": lambda: Function(lambda x, _: x.flatten(2).max(-1).values),
    "max as a tuple": lambda: Function(lambda x, _: torch.max(x.flatten(2), 2, keepdim=True)[0]),
    "min over an axis": lambda: Function(lambda x, _: x.flatten(2).min(dim=2)[0]),
    "amin": lambda: Function(lambda x, _: x.amin((2, 3))),
    "maximum of one convolution and its mean": lambda: Function(
        lambda x, _: torch.cat([x.amax((2, 3)), x.mean((2, 3))], 1)
    ),
    "mean of one convolution and its maximum": lambda: Function(
        lambda x, _: torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)
    ),
    "generalised mean with a learned exponent": lambda: Function(
        lambda x, p: x.clamp(min=0.1).pow(p[:1]).mean((2, 3)).pow(1 / p[:1])
    ),
    "generalised mean with an exponent a channel": lambda: Function(
        lambda x, p: (x.clamp(min=0.1) ** p[:, None, None]).mean((2, 3)) ** (1 / p)
    ),
    "generalised mean through logarithms": lambda: Function(
        lambda x, p: (torch.logsumexp(x.clamp(min=0.1).log() * p[:, None, None], (2, 3)) / p).exp()
    ),
    "softpool": lambda: Function(lambda x, _: (x.flatten(2).softmax(-1) * x.flatten(2)).sum(-1)),
    "softpool by hand": lambda: Function(
        lambda x, _: (x * x.exp()).sum((2, 3)) / x.exp().sum((2, 3))
    ),
    "softmax by marginals": lambda: Function(lambda x, _: marginals(x)),
    "softmax over a temperature": lambda: Function(
        lambda x, p: (x.flatten(2) / p[0]).softmax(-1) / 2 @ GRID
    ),
    "attention by bmm": lambda: Function(
        lambda x, _: torch.bmm(heads(x), x.flatten(2).transpose(1, 2))
    ),
    "attention by @": lambda: Function(lambda x, _: x.flatten(2) @ heads(x).mT),
    "attention by einsum": lambda: Function(
        lambda x, _: torch.einsum("nks,ncs->nck", heads(x), x.flatten(2))
    ),
    "attention by einsum over two axes": lambda: Function(
        lambda x, _: torch.einsum("nchw,nkhw->nc", x, heads(x, 1).view(len(x), 1, DIM, DIM))
    ),
    "expectation by einsum": lambda: Function(
        lambda x, _: torch.einsum("sd,nks->nkd", GRID, heads(x))
    ),
    "tokens": lambda: Tokens(1, lambda shares, tokens: (shares * tokens).sum(1)),
    "tokens by bmm": lambda: Tokens(
        2, lambda shares, tokens: torch.bmm(shares.transpose(1, 2), tokens)
    ),
    "tokens by einsum": lambda: Tokens(
        2, lambda shares, tokens: torch.einsum("nsk,nsc->nkc", shares, tokens)
    ),
    "mean of tokens": lambda: Function(
        lambda x, _: x.flatten(2).permute(0, 2, 1).square().mean(dim=1)
    ),
    "squeeze and excite, maximum": lambda: nn.Sequential(SqueezeExcite(), nn.AdaptiveMaxPool2d(1)),
    "squeeze and excite, grid": lambda: nn.Sequential(SqueezeExcite(), nn.AdaptiveMaxPool2d(3)),
    "squeeze and excite, mean": lambda: nn.Sequential(
        SqueezeExcite(), Function(lambda x, p: (x * p[:, None, None] / 2).flatten(2).mean(-1))
    ),
    "squeeze and excite twice, minimum": lambda: nn.Sequential(
        SqueezeExcite(), Function(lambda x, p: (x * x.mean((2, 3), True)).amin((2, 3)))
    ),
}

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "nothing": nn.Identity,
    "batch norm": lambda: nn.BatchNorm2d(CHANNELS),
    "batch norm without parameters": lambda: nn.BatchNorm2d(CHANNELS, affine=False, momentum=None),
    "batch norm without memory": lambda: nn.BatchNorm2d(CHANNELS, track_running_stats=False),
    "batch norm in evaluation": lambda: nn.BatchNorm2d(CHANNELS).eval(),
    "dropout in evaluation": lambda: nn.Sequential(nn.Dropout(), nn.Dropout2d()).eval(),
    "scale per channel": lambda: Function(lambda x, p: x * p[:, None, None] + p.view(1, -1, 1, 1)),
    "residual": lambda: Function(lambda x, p: x + torch.tanh(x * p[:, None, None])),
    "reciprocal": lambda: Function(lambda x, p: 1 / (2 + x.square())),
    "larger of two": lambda: Function(lambda x, p: torch.maximum(x, x.sin() * p[0])),
}


class Net(nn.Module):
    def __init__(self, layer: str, pool: str, padding: str) -> None:
        super().__init__()
        mode: Any = padding
        self.first = nn.Conv2d(5, CHANNELS, 3, padding=1, padding_mode=mode)
        self.layer = LAYERS[layer]()
        self.second = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, padding_mode=mode)
        self.pool = POOLS[pool]()
        self.register_buffer("channels", torch.stack([GRID[:, 0], GRID[:, 1]]).view(2, DIM, DIM))
        self.double()

    def forward(self, images: Any) -> Tensor:
        channels = self.channels.expand(len(images), -1, -1, -1)
        x = torch.cat([images, images * self.channels, channels], 1)
        return self.pool(self.second(self.layer(self.first(x)))).flatten(1)


@settings(max_examples=250, deadline=None)
@given(
    pixels=batches(),
    layer=st.sampled_from(list(LAYERS)),
    pool=st.sampled_from(list(POOLS)),
    padding=st.sampled_from(["zeros", "circular", "reflect"]),
    kernels=st.sampled_from(KERNELS),
    padded=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_layers_and_pools_agree_with_dense_autograd(
    pixels: NDArray[np.bool_],
    layer: str,
    pool: str,
    padding: str,
    kernels: Literal["torch", "numba"],
    padded: bool,
    seed: int,
) -> None:
    assert_agrees(pixels, layer, pool, padding, "torch" if padded else kernels, padded, seed)


def assert_agrees(
    pixels: NDArray[np.bool_],
    layer: str,
    pool: str,
    padding: str,
    kernels: Literal["torch", "numba"],
    padded: bool,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    net = Net(layer, pool, padding)
    dense = torch.from_numpy(pixels)[:, None].double()
    state = {name: value.clone() for name, value in net.state_dict().items()}
    with torch.no_grad():
        weights = torch.randn_like(net(dense))
    net.load_state_dict(state)
    expected = outputs_and_gradients(net, dense, weights)
    buffers = [buffer.clone() for buffer in net.buffers()]
    net.load_state_dict(state)
    images = DeltaImages(pixels, torch.float64, padded=padded, kernels=kernels)
    found = outputs_and_gradients(net, images.batch(range(len(pixels))), weights)
    assert found[0].shape == expected[0].shape
    # A bias before batch normalisation has a gradient of zero, which is a sum of large terms.
    assert_equal(found, expected, floor=0.1)
    for got, want in zip(net.buffers(), buffers, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("layer", "pool"), [*[("nothing", p) for p in POOLS], *[(x, "amin") for x in LAYERS]]
)
def test_each_form_agrees(layer: str, pool: str) -> None:
    pixels = np.random.default_rng(0).random((5, DIM, DIM)) < 0.05
    pixels[3] = True
    pixels[4] = False
    assert_agrees(pixels, layer, pool, "zeros", "numba", False, 0)


UNSUPPORTED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "dropout in training": (nn.Dropout2d(), "dropout2d: in training mode"),
    "group norm": (nn.GroupNorm(2, CHANNELS).double(), "group_norm"),
    "places of maxima": (lambda x: x.flatten(2).max(-1).indices + 1, "_Places"),
    "maxima of channels": (lambda x: x.max(1), "amax: over axes"),
    "maximum of everything": (lambda x: x.max(), "amax"),
    "strided pool with ceil": (nn.MaxPool2d(3, ceil_mode=True), "max_pool2d.*ceil"),
    "pool with indices": (nn.MaxPool2d(3, return_indices=True), "max_pool2d"),
    "padded average": (nn.AvgPool2d(3, padding=1), "avg_pool2d.*padding"),
    "convolution behind a factor per image": (
        lambda x: F.conv2d(
            x * x.mean((2, 3), keepdim=True), torch.ones(1, CHANNELS, 1, 1).double()
        ),
        "conv2d.*ScaledMap",
    ),
    "bias per image": (lambda x: x + x.mean((2, 3), keepdim=True), "image to image"),
    "map times map": (lambda x: x.flatten(2) @ x.flatten(2).mT, "matmul"),
    "tokens and a constant": (lambda x: x.flatten(2).mT + GRID, "sites are first"),
    "einsum of maps": (lambda x: torch.einsum("nchw,nchw->nc", x, x), "einsum"),
    "einsum that keeps sites": (
        lambda x: torch.einsum("ncs,ncs->ncs", x.flatten(2).softmax(-1), x.flatten(2)),
        "einsum",
    ),
    "softmax of channels": (lambda x: x.flatten(2).mT.softmax(-1), "softmax"),
    "strided convolution": (nn.Conv2d(CHANNELS, 2, 3, stride=2, padding=1).double(), "stride"),
    "transposed convolution": (nn.ConvTranspose2d(CHANNELS, 2, 3).double(), "conv_transpose2d"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_has_no_exact_form_says_so(name: str) -> None:
    operation, message = UNSUPPORTED[name]
    pixels = np.eye(DIM, dtype=bool)[None].repeat(3, axis=0)
    images = DeltaImages(pixels, torch.float64).batch(range(3))
    with pytest.raises(UnsupportedOperation, match=message):
        operation(torch.cat([images] * CHANNELS, 1))
