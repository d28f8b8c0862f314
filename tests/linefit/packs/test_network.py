"""A pack's forward pass and gradients are those of dense autograd in float64, cell by cell."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from linefit.architectures import LineNet
from linefit.deltamap import DeltaImages
from linefit.packs.images import PackImages
from linefit.packs.kernels.choice import KernelSet, kernels
from linefit.packs.network import forward
from linefit.packs.recognition import background_of, recognise
from linefit.packs.reference import stacked
from linefit.packs.shape import stack, unstack
from linefit.packs.sites import Batch
from tests.linefit.packs.cells import CPU, DIM, NETS, Levels, data, nets_of, orders

F64 = torch.float64
PLAIN = kernels("plain")


def assert_agrees(
    nets: list[nn.Module],
    pixels: NDArray[np.bool_],
    order: NDArray[np.int64],
    kernel_set: KernelSet = "plain",
) -> None:
    """Outputs and gradients of a pack against each net alone on dense images."""
    dim, cells, size = pixels.shape[1], len(nets), order.shape[1]
    shape = recognise(nets[0], dim)
    images = PackImages(pixels, shape.convolutions, CPU)
    capacity = images.host.capacity(order, size, per_site=True).with_room()
    batch = Batch(images, torch.from_numpy(order), cells, capacity, kernels(kernel_set))
    background = background_of(nets, shape, F64, CPU)
    found = forward(shape, stack(nets, shape), background, batch, candidates=dim * dim)
    weights = torch.linspace(-1, 2, found.values.numel(), dtype=F64).view(found.values.shape)
    gradients = nets_of_same_structure(nets)
    unstack(found.gradients(weights), shape, gradients)
    assert not found.exhausted.any()
    for cell, net in enumerate(nets):
        dense = torch.from_numpy(pixels[order[cell % len(order)]])[:, None].double()
        expected = net(dense)
        torch.testing.assert_close(found.values[cell], expected.detach(), rtol=1e-11, atol=1e-11)
        net.zero_grad()
        (expected * weights[cell]).sum().backward()
        for got, parameter in zip(gradients[cell].parameters(), net.parameters(), strict=True):
            scale = float(parameter.grad.abs().max())
            torch.testing.assert_close(
                got.data, parameter.grad, rtol=1e-10, atol=1e-11 * max(scale, 1)
            )


def nets_of_same_structure(nets: list[nn.Module]) -> list[nn.Module]:
    return [copy.deepcopy(net) for net in nets]


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("levels", NETS, ids="-".join)
def test_gradients_are_those_of_dense_autograd(levels: Levels, shared: bool) -> None:
    nets = nets_of(levels, range(3), F64)
    assert_agrees(nets, data(60).pixels, orders(range(1 if shared else 3), 60)[:, :20])


@settings(max_examples=25, deadline=None)
@given(
    pixels=arrays(np.bool_, (4, 7, 7), elements=st.booleans(), fill=st.just(False)),
    sizes=st.lists(st.sampled_from([1, 3, 5]), min_size=1, max_size=3),
    dilation=st.sampled_from([1, 2]),
    pooling=st.sampled_from(["max", "average", "flatten"]),
    coordinates=st.sampled_from(["none", "cartesian"]),
    seed=st.integers(0, 2**16),
)
def test_any_kernels_on_any_pixels(
    pixels: NDArray[np.bool_],
    sizes: list[int],
    dilation: int,
    pooling: str,
    coordinates: str,
    seed: int,
) -> None:
    """Images of no pixel, of all pixels, pixels at the edge; kernels wider than the map's margin."""
    torch.manual_seed(seed)
    nets: list[nn.Module] = []
    for _ in range(2):
        net = LineNet("conv1", coordinates, pooling, 3, 7)
        layers: list[nn.Module] = []
        for position, size in enumerate(sizes):
            inner = 3 if position else net.convolutions[0].in_channels
            layers += [
                nn.Conv2d(inner, 3, size, padding=size // 2 * dilation, dilation=dilation),
                nn.ReLU(),
            ]
        net.convolutions = nn.Sequential(*layers)
        nets.append(net.double())
    assert_agrees(nets, pixels, np.array([[2, 0, 3], [1, 3, 2]]))


@pytest.mark.parametrize("levels", NETS, ids="-".join)
@pytest.mark.parametrize("delta", [True, False])
def test_vmap_over_nets_agrees(levels: Levels, delta: bool) -> None:
    """The readable reference, on delta maps and on dense images."""
    nets, split = nets_of(levels, range(3), F64), data(24)
    targets = torch.from_numpy(split.params).double()
    dense = torch.from_numpy(split.pixels)[:, None].double()
    images = DeltaImages(split.pixels, F64, padded=True).batch(range(24)) if delta else dense
    _, of = stacked(nets)
    gradients, losses = of(images, targets)
    shape = recognise(nets[0], DIM)
    tables = PackImages(split.pixels, shape.convolutions, CPU)
    order = np.arange(24)[None]
    batch = Batch(
        tables, torch.from_numpy(order), 3, tables.host.capacity(order, 24, per_site=True), PLAIN
    )
    background = background_of(nets, shape, F64, CPU)
    found = forward(shape, stack(nets, shape), background, batch, DIM * DIM)
    error = found.values - targets
    torch.testing.assert_close(error.square().mean((1, 2)), losses.detach(), rtol=1e-12, atol=0)
    into = nets_of_same_structure(nets)
    unstack(found.gradients(error / 24), shape, into)
    for cell, net in enumerate(into):
        for name, parameter in net.named_parameters():
            torch.testing.assert_close(
                parameter.data, gradients[name][cell].detach(), rtol=1e-10, atol=1e-11
            )


def maximum_of_ramp(
    candidates: int, kernel_set: KernelSet = "plain"
) -> tuple[Tensor, Tensor, Tensor]:
    """Maxima where pixels hide the 28 best sites of the background; the flag; the dense truth."""
    ramp = torch.arange(49.0, dtype=F64).view(7, 7) / 49
    ramp[2] = -1  # active too, so that the best site is one that no row holds
    net = LineNet("conv1", "cartesian", "max", 1, 7).double()
    net.coordinates.channels = torch.stack([ramp, ramp])
    with torch.no_grad():
        net.convolutions[0].weight.zero_()
        net.convolutions[0].weight[0, :, 1, 1] = torch.tensor([-100.0, 1, 1])
        net.convolutions[0].bias.fill_(1)
    pixels = np.zeros((2, 7, 7), dtype=bool)
    pixels[0, 3:] = True
    shape = recognise(net, 7)
    images = PackImages(pixels, shape.convolutions, CPU)
    order = np.arange(2)[None]
    batch = Batch(
        images,
        torch.from_numpy(order),
        1,
        images.host.capacity(order, 2, per_site=False),
        kernels(kernel_set),
    )
    found = forward(
        shape, stack([net], shape), background_of([net], shape, F64, CPU), batch, candidates
    )
    dense = net(torch.from_numpy(pixels)[:, None].double())
    return found.values[0], found.exhausted, dense.detach()


def test_too_few_candidates_are_noticed_and_enough_are_exact() -> None:
    few, exhausted, dense = maximum_of_ramp(16)
    assert exhausted.item()
    assert not torch.allclose(few, dense)
    enough, exhausted, dense = maximum_of_ramp(64)
    assert not exhausted.item()
    torch.testing.assert_close(enough, dense)


def test_nan_wins_the_maximum() -> None:
    nets = nets_of(("conv2", "cartesian", "max"), range(2), F64)
    with torch.no_grad():
        nets[0].convolutions[0].weight[0, 0, 1, 1] = torch.nan
    shape = recognise(nets[1], DIM)
    pixels, order = data(8).pixels, np.arange(8)[None]
    images = PackImages(pixels, shape.convolutions, CPU)
    batch = Batch(
        images, torch.from_numpy(order), 2, images.host.capacity(order, 8, per_site=False), PLAIN
    )
    found = forward(shape, stack(nets, shape), background_of(nets, shape, F64, CPU), batch, 16)
    dense = torch.from_numpy(pixels)[:, None].double()
    assert found.values[0].isnan().all()
    assert nets[0](dense).isnan().all()
    torch.testing.assert_close(found.values[1], nets[1](dense).detach())


def test_coordinates_of_one_size_share_a_pack() -> None:
    nets = nets_of(("conv2", "cartesian", "max"), range(2), F64)
    nets[1].coordinates.channels = nets[1].coordinates.channels.flip(0).square()
    assert_agrees(nets, data(20).pixels, orders([0], 20))


def test_parameters_come_back_as_they_were() -> None:
    for levels in NETS:
        nets, others = nets_of(levels, [0, 1], F64), nets_of(levels, [2, 3], F64)
        shape = recognise(nets[0], DIM)
        unstack(stack(nets, shape), shape, others)
        for net, other in itertools.zip_longest(nets, others):
            assert all(map(torch.equal, net.parameters(), other.parameters()))
            pixels = torch.zeros(1, 1, DIM, DIM, dtype=F64)
            assert F.mse_loss(net(pixels), other(pixels)) == 0
