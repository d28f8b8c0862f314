"""What a net is trained on: images in its engine's form with their targets, of one training set or ever fresh ones."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from linefit.engines import ImageSource, ResolvedEngine, image_source
from linefit.images import LineImages, fresh_images
from linefit.prior import Region
from linefit.protocol import Loss, Protocol, Target
from linefit.splits import training_images
from linefit.targets import targets_of


@dataclass(frozen=True)
class Examples:
    """Images and what a net is to say of each, both on its device."""

    images: ImageSource
    targets: Tensor  # (N, outputs): slope and intercept, or distributions (`linefit.targets`)

    def __len__(self) -> int:
        return len(self.targets)


def examples_of(
    images: LineImages,
    target: Target,
    loss: Loss,
    engine: ResolvedEngine,
    dtype: torch.dtype,
    device: torch.device,
) -> Examples:
    """Images with their targets."""
    targets = torch.from_numpy(targets_of(images, target, loss)).to(device=device, dtype=dtype)
    return Examples(image_source(images.pixels, engine, dtype, device), targets)


@functools.cache
def _fixed_examples(
    size: int,
    region: Region,
    target: Target,
    loss: Loss,
    engine: ResolvedEngine,
    dtype: torch.dtype,
    device: torch.device,
) -> Examples:
    return examples_of(training_images(size, region), target, loss, engine, dtype, device)


def training_examples(
    protocol: Protocol,
    seed: int,
    engine: ResolvedEngine,
    dtype: torch.dtype,
    device: torch.device,
) -> Callable[[int], Examples]:
    """What a cell with that seed trains on in each epoch, counted from 1.

    What epochs share is made once, what cells share once a process.
    """
    size, region = protocol.train_size, protocol.training_region
    form = (protocol.target, protocol.loss, engine, dtype, device)
    match protocol.training_set:
        case "fixed":
            once = _fixed_examples(size, region, *form)
        case "per_seed":
            once = examples_of(fresh_images(size, seed, region=region), *form)
        case "fresh":
            return lambda epoch: examples_of(
                fresh_images(size, seed, first=(epoch - 1) * size, region=region), *form
            )
    return lambda _: once
