"""Delta maps against dense autograd in float64: random nets, random images, every supported operation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from linefit.coordinates import coordinates_module
from linefit.deltamap import DeltaImages

DIM = 11
KERNELS = ("torch", "numba")
TOLERANCE = 1e-12

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "relu in place": lambda: nn.ReLU(inplace=True),
    "leaky relu": lambda: nn.LeakyReLU(0.1),
    "falling leaky relu": lambda: nn.LeakyReLU(-0.3),
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "elu": nn.ELU,
    "identity": nn.Identity,
}


# From the reach of a kernel: how much padding of which mode. All but the last two keep a map's size.
PADDINGS: dict[str, Callable[[int], tuple[int, str]]] = {
    "zeros": lambda reach: (reach, "zeros"),
    "circular": lambda reach: (reach, "circular"),
    "reflect": lambda reach: (reach, "reflect"),
    "replicate": lambda reach: (reach, "replicate"),
    "none": lambda reach: (0, "zeros"),
    "more": lambda reach: (reach + 1, "zeros"),
}


class GeM(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(min=1e-3).pow(3).mean(dim=(2, 3)).pow(1 / 3)


class SoftArgmax(nn.Module):
    """Expected column and row under a spatial softmax, then the mean of the map under it."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        axis = torch.linspace(-1, 1, self.dim, dtype=x.dtype)
        grid = torch.cartesian_prod(axis, axis)
        weights = torch.softmax(x.flatten(2), dim=-1)
        shares = weights.view(len(x), -1, self.dim, self.dim)
        return torch.cat(
            [(weights @ grid).flatten(1), (shares * x).sum((2, 3)), (axis * shares).sum((2, 3))], 1
        )


class Amax(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.amax(dim=(-2, -1))


class Sum(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 0.1 * x.flatten(2).sum(-1)


class LogSumExp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.logsumexp(x, dim=(2, 3))


# From the side length of the map.
POOLINGS: dict[str, Callable[[int], nn.Module]] = {
    "max": lambda dim: nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten()),
    "amax": lambda dim: Amax(),
    "average": lambda dim: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    "sum": lambda dim: Sum(),
    "log-sum-exp": lambda dim: LogSumExp(),
    "GeM": lambda dim: GeM(),
    "softmax-weighted": SoftArgmax,
    "flatten": lambda dim: nn.Flatten(),
}


class Net(nn.Module):
    """A random stack of convolutions with residual or dense connections, pooled and read out."""

    def __init__(
        self, layers: list[Layer], coordinates: str, pooling: str, input_major: bool
    ) -> None:
        super().__init__()
        self.coordinates = coordinates_module(coordinates, DIM, DIM)
        channels, dim = 1 if coordinates == "none" else 3, DIM
        self.connected: list[bool] = []
        self.layers = nn.ModuleList()
        for layer in layers:
            reach = layer.kernel // 2 * layer.dilation
            padding, mode = PADDINGS[layer.padding](reach) if reach < dim // 2 else (reach, "zeros")
            convolution = nn.Conv2d(
                channels,
                layer.width,
                layer.kernel,
                padding=padding,
                padding_mode=mode,
                dilation=layer.dilation,
                bias=layer.bias,
            )
            self.layers.append(nn.Sequential(convolution, ACTIVATIONS[layer.activation]()))
            self.connected.append(layer.connected and padding == reach)
            dim += 2 * (padding - reach)
            channels = layer.width + (
                channels if self.connected[-1] and layer.width != channels else 0
            )
        self.pooling = POOLINGS[pooling](dim)
        self.readout = nn.Linear(self.pooling(torch.zeros(1, channels, dim, dim)).shape[1], 2)
        self.double()
        if input_major:  # as FusedAdam stores it: the layout that the compiled linear layer takes
            weight = self.readout.weight
            weight.data = weight.data.t().contiguous().t()

    def forward(self, images: Tensor) -> Tensor:
        x = self.coordinates(images)
        for layer, connected in zip(self.layers, self.connected, strict=True):
            y = layer(x)
            if connected:
                y = x + y if x.shape[1] == y.shape[1] else torch.cat([x, y], dim=1)
            x = y
        prediction: Tensor = self.readout(self.pooling(x))
        return prediction


@dataclass(frozen=True)
class Layer:
    width: int
    kernel: int
    dilation: int
    padding: str
    bias: bool
    activation: str
    connected: bool


layers = st.builds(
    Layer,
    width=st.integers(1, 5),
    kernel=st.sampled_from([1, 3, 3, 5]),
    dilation=st.sampled_from([1, 1, 2]),
    padding=st.sampled_from(["zeros", *PADDINGS]),
    bias=st.booleans(),
    activation=st.sampled_from(list(ACTIVATIONS)),
    connected=st.booleans(),
)
sites = st.lists(st.tuples(st.integers(0, DIM - 1), st.integers(0, DIM - 1)), max_size=8)
corners = st.lists(
    st.tuples(st.sampled_from([0, DIM - 1]), st.sampled_from([0, DIM - 1])), max_size=4
)
columns = st.builds(lambda column: [(row, column) for row in range(DIM)], st.integers(0, DIM - 1))
everything = st.just([(row, column) for row in range(DIM) for column in range(DIM)])


@st.composite
def batches(draw: st.DrawFn) -> NDArray[np.bool_]:
    """1 to 4 images, the last perhaps a duplicate."""
    images = draw(st.lists(sites | sites | corners | columns | everything, min_size=1, max_size=3))
    pixels = np.zeros((len(images), DIM, DIM), dtype=bool)
    for image, lit in zip(pixels, images, strict=True):
        for row, column in lit:
            image[row, column] = True
    return np.concatenate([pixels, pixels[:1]]) if draw(st.booleans()) else pixels


def outputs_and_gradients(net: nn.Module, images: Any, weights: Tensor) -> list[Tensor]:
    net.zero_grad()
    outputs = net(images)
    (outputs * weights).sum().backward()
    zero = torch.zeros(())
    return [
        outputs.detach(),
        *(zero if p.grad is None else p.grad.clone() for p in net.parameters()),
    ]


def assert_equal(found: list[Tensor], expected: list[Tensor], floor: float = 1e-3) -> None:
    # Gradients cancel to different degrees: each is held to its own largest value, or to a part of the largest of all.
    scale = max(float(tensor.abs().max()) for tensor in expected[1:])
    for got, want in zip(found, expected, strict=True):
        atol = TOLERANCE * max(float(want.abs().max()), floor * scale)
        torch.testing.assert_close(got.expand_as(want), want, rtol=0, atol=atol)


@settings(max_examples=300, deadline=None)
@given(
    pixels=batches(),
    stack=st.lists(layers, min_size=1, max_size=4),
    coordinates=st.sampled_from(["none", "cartesian"]),
    pooling=st.sampled_from(list(POOLINGS)),
    input_major=st.booleans(),
    kernels=st.sampled_from(KERNELS),
    padded=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_random_nets_agree_with_dense_autograd(
    pixels: NDArray[np.bool_],
    stack: list[Layer],
    coordinates: str,
    pooling: str,
    input_major: bool,
    kernels: Literal["torch", "numba"],
    padded: bool,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    net = Net(stack, coordinates, pooling, input_major)
    weights = torch.randn(len(pixels), 2, dtype=torch.float64)
    images = DeltaImages(
        pixels, torch.float64, padded=padded, kernels="torch" if padded else kernels
    )
    dense = torch.from_numpy(pixels)[:, None].double()
    expected = outputs_and_gradients(net, dense, weights)
    assert_equal(outputs_and_gradients(net, images.batch(range(len(pixels))), weights), expected)
