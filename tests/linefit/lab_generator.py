"""The lab's generator, image by image with torch: the oracle and the baseline of `linefit.images`.

A generator of its own stands for the global one: the same stream as after `torch.manual_seed`, and
twice as fast, because that function also visits every accelerator.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def line_image(
    dim: int, seed: int, wanted: Callable[[float, float], bool] = lambda _m, _c: True
) -> tuple[Tensor, Tensor]:
    """An image `(dim, dim)` bool and its `(slope, intercept)` `(2,)` float32, drawn until the line is a wanted one."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        dx = torch.empty(1).random_(-10, 10, generator=generator)
        dy = torch.empty(1).random_(-10, 10, generator=generator)
        c = torch.empty(1).random_(-20, 20, generator=generator)
        m = dy / dx
        points = torch.empty(20, 2).random_(0, dim, generator=generator)
        points[:, 1] = (m * points[:, 0] + c).round()
        points = points[(points[:, 1] > 0) & (points[:, 1] < dim)].long()
        pixels = torch.zeros(dim, dim, dtype=torch.bool)
        pixels[dim - points[:, 1], points[:, 0]] = True
        if pixels.sum() > 2 and wanted(float(m), float(c)):
            return pixels, torch.cat([m, c])


def line_images(size: int, dim: int = 40, random_offset: int = 0) -> tuple[Tensor, Tensor]:
    """Images `(size, dim, dim)` and params `(size, 2)`."""
    drawn = [line_image(dim, index + random_offset) for index in range(size)]
    pixels, params = zip(*drawn, strict=True)
    return torch.stack(pixels), torch.stack(params)
