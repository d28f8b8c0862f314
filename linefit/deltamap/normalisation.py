"""Batch normalisation and dropout of delta maps."""

from __future__ import annotations

import torch
from torch import Tensor

from linefit.deltamap.combine import check_spatial
from linefit.deltamap.convolution import site_table
from linefit.deltamap.deltamap import DeltaMap
from linefit.deltamap.dispatch import Handler
from linefit.deltamap.errors import unsupported


def batch_norm(
    input: DeltaMap,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> DeltaMap:
    """The batch's statistics, or running ones, are the same for all its images: the background stays shared."""
    check_spatial(input, "batch_norm")
    if training or running_mean is None or running_var is None:
        mean, variance = _statistics(input)
        count = len(input) * input.area[0] * input.area[1]
        if count < 2:
            raise ValueError(f"batch_norm: {count} values per channel have no variance")
        if running_mean is not None and running_var is not None:
            with torch.no_grad():
                running_mean.lerp_(mean, momentum)
                running_var.lerp_(variance * (count / (count - 1)), momentum)
    else:
        mean, variance = running_mean, running_var
    scale = torch.rsqrt(variance + eps)
    if weight is not None:
        scale = scale * weight
    background = (input.background - mean[:, None, None]) * scale[:, None, None]
    rows = (input.rows - mean) * scale
    if bias is None:
        return input.like(background, rows)
    return input.like(background + bias[:, None, None], rows + bias)


def _statistics(input: DeltaMap) -> tuple[Tensor, Tensor]:
    """Mean and variance `(C,)` over all images and sites."""
    sites = input.sites
    background, rows = site_table(input.background), input.rows
    images, area = sites.inactive.shape
    shown = sites.inactive.sum(0).to(rows.dtype)  # (H * W,): images that show the background
    real = (sites.image < images).to(rows.dtype)  # all rows but padding

    def average(of_background: Tensor, of_rows: Tensor) -> Tensor:
        return (shown @ of_background + real @ of_rows) / (images * area)

    mean = average(background, rows)
    return mean, average((background - mean).square(), (rows - mean).square())


def dropout(name: str) -> Handler:
    def handler(
        input: DeltaMap,
        p: float = 0.5,
        training: bool = True,
        inplace: bool = False,  # noqa: ARG001  (what changes nothing may be done in place)
    ) -> DeltaMap:
        if training and p > 0:
            unsupported(name, "in training mode: what it leaves out differs from image to image")
        return input

    return handler
