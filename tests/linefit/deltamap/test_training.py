"""Training on delta maps follows dense training; the fused Adam is torch's Adam."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import Literal

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional as F

from linefit.architectures import build
from linefit.deltamap import DeltaImages, DeltaMap, FusedAdam
from linefit.images import LineImages, lab_images

LAB_NETS = [("conv1", "none", "flatten"), ("conv2", "none", "max"), ("conv2", "cartesian", "max")]


def losses(
    net: nn.Module, data: LineImages, epochs: int, *, delta: bool, batch_size: int = 128
) -> list[float]:
    """The loss of every step of training in a fixed order."""
    params = torch.from_numpy(data.params)
    dense = torch.from_numpy(data.pixels)[:, None].float()
    images = DeltaImages(data.pixels)
    optimiser = (
        FusedAdam(net.parameters()) if delta else torch.optim.Adam(net.parameters(), fused=True)
    )
    order = torch.Generator().manual_seed(1)
    curve = []
    for _ in range(epochs):
        for indices in torch.randperm(len(data), generator=order).split(batch_size):
            loss = F.mse_loss(
                net(images.batch(indices) if delta else dense[indices]), params[indices]
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            curve.append(loss.item())
    return curve


@pytest.mark.parametrize("net", LAB_NETS)
def test_first_epoch_follows_dense_training_in_float32(net: tuple[str, str, str]) -> None:
    data = lab_images(1000)  # the last batch is smaller
    dense = losses(build(*net, 16, seed=3), data, 1, delta=False)
    delta = losses(build(*net, 16, seed=3), data, 1, delta=True)
    np.testing.assert_allclose(delta, dense, rtol=1e-4)


@pytest.mark.slow
def test_test_error_is_that_of_dense_training() -> None:
    train, test = lab_images(640), lab_images(500, random_offset=99_999)
    pixels, params = torch.from_numpy(test.pixels)[:, None].float(), torch.from_numpy(test.params)
    log_mse = np.empty((2, 10))
    for seed in range(10):
        for delta in (False, True):
            net = build("conv2", "cartesian", "max", 8, seed=seed)
            losses(net, train, 40, delta=delta, batch_size=64)
            with torch.no_grad():
                log_mse[int(delta), seed] = np.log(F.mse_loss(net(pixels), params).item())
    difference = log_mse[1] - log_mse[0]
    interval = stats.ttest_1samp(difference, 0.0).confidence_interval(0.99)
    assert interval.low <= 0 <= interval.high
    assert interval.high - interval.low < 2 * np.log(1.25)  # so that the test could have failed


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("dense_too", [False, True])
@pytest.mark.parametrize("zeroed_by", ["optimiser", "net"])
def test_fused_adam_is_adam(passes: int, dense_too: bool, zeroed_by: str) -> None:
    """Whether a step's gradient comes from one backward pass or more, through delta maps or dense ones."""
    data = lab_images(48)
    params = torch.from_numpy(data.params).double()
    dense = torch.from_numpy(data.pixels)[:, None].double()
    images = DeltaImages(data.pixels, torch.float64)
    net = build("conv1", "none", "flatten", 6, seed=0).double()
    reference = copy.deepcopy(net)
    fused = FusedAdam(net.parameters(), lr=1e-2)
    adam = torch.optim.Adam(reference.parameters(), lr=1e-2)
    assert len(fused.large) == 1

    def loss(model: nn.Module, batch: object, indices: Tensor) -> Tensor:
        return F.mse_loss(model(batch), params[indices])

    for step in range(4):
        (fused if zeroed_by == "optimiser" else net).zero_grad()
        adam.zero_grad()
        for part in range(passes):
            indices = torch.arange(12) + 12 * ((step * passes + part) % 4)
            loss(net, images.batch(indices), indices).backward()
            loss(reference, dense[indices], indices).backward()
        if dense_too:
            loss(net, dense[:5], torch.arange(5)).backward()
            loss(reference, dense[:5], torch.arange(5)).backward()
        fused.step()
        adam.step()
    for found, expected in zip(net.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("levels", [("conv1", "none", "flatten"), ("conv2", "cartesian", "max")])
def test_fused_adam_is_adamw_at_a_learning_rate_that_changes(levels: tuple[str, str, str]) -> None:
    data = lab_images(48)
    params = torch.from_numpy(data.params).double()
    dense = torch.from_numpy(data.pixels)[:, None].double()
    images = DeltaImages(data.pixels, torch.float64)
    net = build(*levels, 6, seed=0).double()
    reference = copy.deepcopy(net)
    fused = FusedAdam(net.parameters(), lr=1e-2, weight_decay=0.3)
    adamw = torch.optim.AdamW(reference.parameters(), lr=1e-2, weight_decay=0.3)
    assert len(fused.large) == (levels[0] == "conv1")
    for step in range(6):
        for model, optimiser, batch in (
            (net, fused, images.batch(torch.arange(48))),
            (reference, adamw, dense),
        ):
            optimiser.param_groups[0]["lr"] = 1e-2 / (1 + step)
            optimiser.zero_grad()
            F.mse_loss(model(batch), params).backward()
            optimiser.step()
    for found, expected in zip(net.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_large_weight_keeps_its_values_and_has_dense_gradients_without_fused_adam() -> None:
    data = lab_images(4)
    net = build("conv1", "none", "flatten", 6, seed=0).double()
    weight = net.head[0].weight
    values = weight.detach().clone()
    weight.data = weight.data.t().contiguous().t()
    net(DeltaImages(data.pixels, torch.float64).batch(range(4))).square().sum().backward()
    found = [parameter.grad.clone() for parameter in net.parameters()]
    net.zero_grad()
    net(torch.from_numpy(data.pixels)[:, None].double()).square().sum().backward()
    for got, parameter in zip(found, net.parameters(), strict=True):
        torch.testing.assert_close(got, parameter.grad, rtol=1e-10, atol=1e-12)
    FusedAdam(net.parameters())
    assert torch.equal(weight, values)


def flatten_net_and_reference() -> tuple[nn.Module, nn.Module, DeltaImages, Tensor, Tensor]:
    """A net whose large weight FusedAdam has stored its own way, its dense twin, images twice, targets."""
    data = lab_images(24)
    net = build("conv1", "none", "flatten", 6, seed=0).double()
    reference = copy.deepcopy(net)
    assert len(FusedAdam(net.parameters()).large) == 1
    dense = torch.from_numpy(data.pixels)[:, None].double()
    images = DeltaImages(data.pixels, torch.float64)
    return net, reference, images, dense, torch.from_numpy(data.params).double()


def test_a_large_weights_gradient_is_there_for_whoever_asks() -> None:
    net, reference, images, dense, params = flatten_net_and_reference()
    F.mse_loss(net(images.batch(range(24))), params).backward()
    F.mse_loss(reference(dense), params).backward()
    norms = [nn.utils.clip_grad_norm_(model.parameters(), 0.01) for model in (net, reference)]
    torch.testing.assert_close(*norms, rtol=1e-10, atol=0)
    for found, expected in zip(net.parameters(), reference.parameters(), strict=True):
        assert found.grad.shape == expected.grad.shape
        torch.testing.assert_close(found.grad + 0, expected.grad, rtol=1e-10, atol=1e-14)


def test_fused_adam_uses_the_gradient_that_clipping_left() -> None:
    net, reference, images, dense, params = flatten_net_and_reference()
    optimisers = [FusedAdam(net.parameters()), torch.optim.Adam(reference.parameters())]
    for step in range(3):
        for model, optimiser, batch in (
            (net, optimisers[0], images.batch(range(24))),
            (reference, optimisers[1], dense),
        ):
            optimiser.zero_grad()
            F.mse_loss(model(batch), params).backward()
            nn.utils.clip_grad_value_(model.parameters(), 1e-4 * (step + 1))
            optimiser.step()
    for found, expected in zip(net.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("optimiser", [torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop])
def test_another_optimiser_trains_a_net_that_fused_adam_has_seen(
    optimiser: type[torch.optim.Optimizer],
) -> None:
    net, reference, images, dense, params = flatten_net_and_reference()
    for model, batch in ((net, images.batch(range(24))), (reference, dense)):
        own = optimiser(model.parameters(), lr=1e-3)
        for _ in range(3):
            own.zero_grad()
            F.mse_loss(model(batch), params).backward()
            own.step()
    for found, expected in zip(net.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


def test_an_update_past_autograd_is_noticed() -> None:
    net, _, images, _, params = flatten_net_and_reference()
    optimiser = FusedAdam(net.parameters())
    first, second = (F.mse_loss(net(images.batch(range(24))), params) for _ in range(2))
    first.backward()
    optimiser.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        second.backward()


def test_fused_adam_is_for_the_cpu() -> None:
    with pytest.raises(ValueError, match="on meta"):
        FusedAdam([nn.Parameter(torch.empty(2, device="meta"))])


@pytest.mark.parametrize("kernels", ["torch", "numba"])
@pytest.mark.parametrize(
    "net",
    [("conv1", "none", "flatten"), ("conv3", "cartesian", "max"), ("conv2", "none", "average")],
)
def test_a_step_leaves_nothing_in_memory(
    net: tuple[str, str, str], kernels: Literal["torch", "numba"]
) -> None:
    """Without the garbage collector, which cannot see cycles through autograd's graph anyway."""
    model = build(*net, 4, seed=0)
    images = DeltaImages(lab_images(8).pixels, kernels=kernels)
    left: list[weakref.ref[object]] = []

    def watch(_: nn.Module, inputs: tuple[DeltaMap], output: DeltaMap) -> None:
        left.extend(
            map(
                weakref.ref,
                [inputs[0].sites, inputs[0].sites.batch, output.sites, inputs[0].rows, output],
            )
        )

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ReLU) and module not in model.head:
            module.register_forward_hook(watch)
    gc.collect()
    gc.disable()
    try:
        model(images.batch(range(8))).sum().backward()
        assert len(left) >= 10
        assert [reference() for reference in left if reference() is not None] == []
    finally:
        gc.enable()
