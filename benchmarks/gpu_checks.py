"""What a GPU computes, held against dense autograd in float64 before anything is timed."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import torch
from torch import Tensor

from benchmarks.training_step import Case
from linefit.deltamap import DeltaImages
from linefit.images import lab_images
from linefit.packs import PackImages, recognise
from linefit.packs.kernels.choice import KernelSet, kernels
from linefit.packs.network import forward
from linefit.packs.recognition import background_of
from linefit.packs.shape import stack, unstack
from linefit.packs.sites import Batch


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
