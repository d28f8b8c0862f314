"""Convolution and flatten-then-linear on delta maps, in plain torch: the reference of the compiled kernels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from linefit.deltamap.pooling import argmax_rows
from linefit.deltamap.sites import Kernel, Sites

if TYPE_CHECKING:
    from linefit.deltamap.deltamap import DeltaMap


def site_table(background: Tensor) -> Tensor:
    """A background `(C, H, W)` as one row a site, `(H * W, C)`: a view if its memory is channels last."""
    return background.permute(1, 2, 0).reshape(-1, len(background))


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution of `source`, and non-decreasing functions behind it, that nobody has computed yet."""

    source: DeltaMap
    weight: Tensor
    bias: Tensor | None
    kernel: Kernel
    activations: tuple[Callable[[Tensor], Tensor], ...] = ()
    # The mode of the call, not of whoever asks for values.
    grad: bool = field(default_factory=torch.is_grad_enabled)
    # Values by the activations they went through, shared by all that follow one convolution.
    _computed: dict[tuple[Callable[[Tensor], Tensor], ...], tuple[Tensor, Tensor]] = field(
        default_factory=dict
    )

    def then(self, activation: Callable[[Tensor], Tensor]) -> Convolution:
        return replace(self, activations=(*self.activations, activation))

    def activate(self, values: Tensor) -> Tensor:
        for activation in self.activations:
            values = activation(values)
        return values

    @property
    def sites(self) -> Sites:
        return self.source.sites.dilated(self.kernel)

    def evaluate(self) -> tuple[Tensor, Tensor]:
        """Background `(C, H, W)` and rows `(R, C)` of the result."""
        with torch.set_grad_enabled(self.grad):
            if () not in self._computed:
                background = self.convolve_background()
                self._computed[()] = background, self.convolve_rows(site_table(background))
            if self.activations not in self._computed:
                background, rows = self._computed[()]
                self._computed[self.activations] = self.activate(background), self.activate(rows)
            return self._computed[self.activations]

    def convolve_background(self) -> Tensor:
        (height, width), (down, right) = self.kernel.size, self.kernel.dilation
        padding = (height // 2 * down, width // 2 * right)
        background = self.source.background[None].contiguous(memory_format=torch.channels_last)
        return F.conv2d(
            background, self.weight, self.bias, padding=padding, dilation=(down, right)
        )[0]

    def convolve_rows(self, background: Tensor) -> Tensor:
        """Rows `(R, C)` of the result, given its background `(H * W, C)`: background plus what the taps change.

        Zero padding needs no care: a tap outside the map reads zero in the background and in the image alike.
        """
        source, sites = self.source, self.sites
        if source.sites.batch.kernels == "numba":
            from linefit.deltamap.kernels.convolution import rows_of_convolution

            return rows_of_convolution(self, background)
        delta = source.rows - site_table(source.background).index_select(0, source.sites.site)
        taps = delta @ self.weight.permute(1, 2, 3, 0).reshape(delta.shape[1], -1)
        targets = source.sites.targets(self.kernel)
        channels = background.shape[1]
        change = background.new_zeros(sites.rows + 1, channels)  # the last row: what falls outside
        change = change.index_add(0, targets.view(-1), taps.view(targets.numel(), channels))
        return background.index_select(0, sites.site) + change[:-1]

    def maximum(self) -> Tensor:
        """Global maximum `(N, C)`, whose gradient touches the arg-max patches alone.

        The activations are non-decreasing, so the arg-max is that of the convolution itself: it is found without
        autograd, and only the patches under it are computed with it.
        """
        with torch.set_grad_enabled(self.grad and torch.is_grad_enabled()):
            return self._maximum()

    def _maximum(self) -> Tensor:
        if self.source.sites.batch.kernels == "numba":
            from linefit.deltamap.kernels.maximum import maximum_of_convolution

            return self.activate(maximum_of_convolution(self))
        with torch.no_grad():
            background = site_table(self.convolve_background())
            chosen = argmax_rows(background, self.convolve_rows(background), self.sites)
        return self.activate(self.at(chosen))

    def at(self, chosen: Tensor) -> Tensor:
        """The convolution `(N, C)` at one site per image and channel, as `argmax_rows` gives it."""
        source, sites = self.source, self.sites
        (height, width), area = source.area, len(sites.row_of_site[0])
        site = torch.where(
            chosen < sites.rows, F.pad(sites.site, (0, area))[chosen], chosen - sites.rows
        )
        offsets = sites.batch.tables.offsets(self.kernel)
        y = (site // width)[..., None] + offsets[:, 0]  # (N, C, taps)
        x = (site % width)[..., None] + offsets[:, 1]
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        read = torch.where(inside, y * width + x, 0)
        row = source.sites.row_of_site.gather(1, read.view(len(read), -1)).view(read.shape)
        index = torch.where(row < source.sites.rows, row, source.sites.rows + read)
        index = torch.where(inside, index, source.sites.rows + area)
        background = site_table(source.background)
        table = torch.cat([source.rows, background, background.new_zeros(1, background.shape[1])])
        # (N, C, taps, channels of the source)
        patches = table.index_select(0, index.view(-1)).view(*index.shape, table.shape[1])
        values = torch.einsum("notc,otc->no", patches, self.weight.flatten(2).transpose(1, 2))
        return values if self.bias is None else values + self.bias


def flattened_linear(source: DeltaMap, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear` of a flattened map: `(N, C * H * W)` to `(N, out)`."""
    if source.sites.batch.kernels == "numba":
        from linefit.deltamap.kernels.linear import by_site_linear, is_by_site

        if is_by_site(weight):
            return by_site_linear(source, weight, bias)
    return F.linear(source.to_dense(), weight, bias)
