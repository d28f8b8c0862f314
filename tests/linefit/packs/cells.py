"""Small packs and the single cells that they are held against."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from linefit.architectures import build
from linefit.deltamap import DeltaImages
from linefit.examples import Examples
from linefit.images import LineImages, lab_images
from linefit.packs import Pack, PackExamples, PackImages, recognise
from linefit.packs.graphs import Capture
from linefit.packs.kernels.choice import KernelSet
from linefit.packs.rates import CONSTANT
from linefit.protocol import Protocol
from linefit.training import EagerSteps, Training, train

DIM = 12
BATCH = 16
CPU = torch.device("cpu")
Levels = tuple[str, str, str]  # architecture, coordinates, pooling
NETS: list[Levels] = [
    ("conv1", "none", "flatten"),
    ("conv2", "none", "max"),
    ("conv2", "cartesian", "max"),
    ("conv3", "cartesian", "average"),
    ("conv2", "cartesian", "flatten"),
]


def nets_of(levels: Levels, seeds: Sequence[int], dtype: torch.dtype) -> list[nn.Module]:
    return [build(*levels, 4, dim=DIM, seed=seed).to(dtype) for seed in seeds]


def data(size: int, offset: int = 0) -> LineImages:
    return lab_images(size, random_offset=offset, dim=DIM)


def pack_examples(images: LineImages, net: nn.Module, dtype: torch.dtype) -> PackExamples:
    shape = recognise(net, DIM)
    targets = torch.from_numpy(images.params).to(dtype)
    return PackExamples(PackImages(images.pixels, shape.convolutions, CPU), targets)


def pack_of(
    nets: Sequence[nn.Module],
    images: LineImages,
    dtype: torch.dtype,
    learning_rates: Sequence[float] | None = None,
    capture: Capture | None = None,
    kernel_set: KernelSet = "plain",
    order_of: Sequence[int] | None = None,
    schedule: NDArray[np.float64] = CONSTANT,
) -> Pack:
    rates = learning_rates or [1e-2] * len(nets)
    examples = pack_examples(images, nets[0], dtype)
    shape = recognise(nets[0], DIM)
    return Pack(nets, shape, rates, examples, BATCH, kernel_set, capture, order_of, schedule)


def single_cell(
    net: nn.Module,
    images: LineImages,
    validation: LineImages,
    epochs: int,
    seed: int,
    learning_rate: float = 1e-2,
    protocol: Protocol | None = None,
) -> Training:
    """Train a net by delta maps and autograd, as the harness does with one cell."""
    dtype = next(net.parameters()).dtype

    def examples(of: LineImages) -> Examples:
        return Examples(DeltaImages(of.pixels, dtype), torch.from_numpy(of.params).to(dtype))

    training = examples(images)
    protocol = protocol or Protocol(len(images), epochs, BATCH, learning_rate)
    return train(
        net,
        EagerSteps(net, protocol, "delta"),
        lambda _: training,
        examples(validation),
        protocol,
        shuffle=torch.Generator().manual_seed(seed),
    )


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def orders(seeds: Sequence[int], size: int) -> NDArray[np.int64]:
    return np.stack([np.random.default_rng(seed).permutation(size) for seed in seeds])
