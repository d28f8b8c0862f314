"""What a GPU computes, held against dense autograd in float64 and what is not recorded, before anything is timed."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.training_step import LAB, Case
from linefit.deltamap import DeltaImages
from linefit.images import lab_images
from linefit.packs import (
    BatchExamples,
    ModulePack,
    Pack,
    PackExamples,
    PackImages,
    ResidentImages,
    recognise,
)
from linefit.packs.graphs import Capture, capture_for, eagerly
from linefit.packs.kernels.choice import KernelSet, kernels
from linefit.packs.network import forward
from linefit.packs.recognition import background_of
from linefit.packs.shape import stack, unstack
from linefit.packs.sites import Batch
from linefit.protocol import Protocol

SMALL = [Case(*net, 4) for net in LAB]


def relative_error(found: Tensor, expected: Tensor) -> float:
    found, expected = found.detach(), expected.detach()
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-300))


def correctness(count: int, device: torch.device, kernel_set: KernelSet) -> dict[str, float]:
    """Largest relative error of outputs and gradients against dense autograd in float64, by net."""
    data, errors = lab_images(count), {}
    dense = torch.from_numpy(data.pixels)[:, None].to(device, torch.float64)
    grid = itertools.product(
        ("conv1", "conv2", "conv3", "conv4"), ("none", "cartesian"), ("max", "average", "flatten")
    )
    for architecture, coordinates, pooling in grid:
        case = Case(architecture, coordinates, pooling, 4)
        nets = [case.net(seed).to(device, torch.float64) for seed in range(2)]
        shape = recognise(nets[0], 40)
        images = PackImages(data.pixels, shape.convolutions, device)
        orders = np.stack([np.random.default_rng(cell).permutation(len(data)) for cell in (0, 1)])
        capacity = images.host.capacity(orders, len(data), per_site=pooling == "flatten")
        indices = torch.from_numpy(orders).to(device)
        batch = Batch(images, indices, 2, capacity, kernels(kernel_set))
        background = background_of(nets, shape, torch.float64, device)
        found = forward(shape, stack(nets, shape), background, batch, images.area)
        into = copy.deepcopy(nets)
        unstack(found.gradients(torch.ones_like(found.values)), shape, into)
        worst = 0.0
        for cell, net in enumerate(nets):
            delta = net(DeltaImages(data.pixels, torch.float64, device).batch(indices[cell]))
            expected = net(dense[indices[cell]])
            expected.sum().backward()
            pairs = [(found.values[cell], expected), (delta, expected)]
            pairs += [
                (got.data, parameter.grad)
                for got, parameter in zip(into[cell].parameters(), net.parameters(), strict=True)
                if parameter.grad is not None
            ]
            worst = max([worst, *(relative_error(a, b) for a, b in pairs)])
        errors[str(case)] = worst
    return errors


def recorded(count: int, device: torch.device, kernel_set: KernelSet) -> dict[str, float]:
    """Largest relative difference of parameters and moments between recorded steps and the same steps as they are.

    Two epochs of two cells of each of the lab's nets in float64, with a remainder. Nothing is recorded on a CPU.
    """
    data = lab_images(count)
    targets = torch.from_numpy(data.params).to(device, torch.float64)

    def pack(case: Case, capture: Capture) -> Pack:
        nets = [case.net(seed) for seed in range(2)]
        shape = recognise(nets[0], 40)
        examples = PackExamples(PackImages(data.pixels, shape.convolutions, device), targets)
        return Pack(nets, shape, [1e-3] * 2, examples, count // 3, kernel_set, capture)

    return {f"recorded {case}": _difference(partial(pack, case), count, device) for case in SMALL}


def recorded_modules(count: int, device: torch.device) -> dict[str, float]:
    """The same of packs of dense modules, with a net that strides."""
    data = lab_images(count)
    targets = torch.from_numpy(data.params).to(device, torch.float64)

    def pack(case: Case, capture: Capture) -> ModulePack:
        nets: list[nn.Module] = [
            case.net(seed).to(device, torch.float64).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            for seed in range(2)
        ]
        examples = BatchExamples(ResidentImages(data.pixels, torch.float64, device), targets)
        protocol = Protocol(train_size=count, batch_size=count // 3)
        return ModulePack(nets, protocol, [1e-3] * 2, examples, capture)

    cases = [Case("strided", "cartesian", "max", 4), *SMALL]
    return {f"modules {case}": _difference(partial(pack, case), count, device) for case in cases}


def _difference(
    make: Callable[[Capture], Pack | ModulePack], count: int, device: torch.device
) -> float:
    orders = np.random.default_rng(0).permuted(np.tile(np.arange(count), (2, 1)), axis=1)
    states = []
    for capture in (capture_for(device), eagerly):
        pack = make(capture)
        for order in (orders, orders[:, ::-1].copy()):
            pack.epoch(pack.plan(order))
        states.append([tensor.double() for tensor in pack.state()])
    return max(relative_error(a, b) for a, b in zip(*states, strict=True) if a.numel())
