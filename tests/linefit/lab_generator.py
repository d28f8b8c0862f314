"""The lab's generator, image by image with torch: the oracle of `linefit.images` and the baseline of its benchmark."""

from __future__ import annotations

import torch
from torch import Tensor


def line_image(dim: int, seed: int) -> tuple[Tensor, Tensor]:
    """An image `(dim, dim)` and its `(slope, intercept)`; leaves the global generator seeded and advanced."""
    torch.manual_seed(seed)
    while True:
        dx = torch.empty(1).random_(-10, 10)
        dy = torch.empty(1).random_(-10, 10)
        c = torch.empty(1).random_(-20, 20)
        m = dy / dx
        points = torch.empty(20, 2).random_(0, dim)
        points[:, 1] = (m * points[:, 0] + c).round()
        points = points[(points[:, 1] > 0) & (points[:, 1] < dim)].long()
        pixels = torch.zeros(dim, dim, dtype=torch.bool)
        pixels[dim - points[:, 1], points[:, 0]] = True
        if pixels.sum() > 2:
            return pixels, torch.cat([m, c])


def line_images(size: int, dim: int = 40, random_offset: int = 0) -> tuple[Tensor, Tensor]:
    """Images `(size, dim, dim)` and params `(size, 2)`; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        drawn = [line_image(dim, seed + random_offset) for seed in range(size)]
    return torch.stack([pixels for pixels, _ in drawn]), torch.stack(
        [params for _, params in drawn]
    )
