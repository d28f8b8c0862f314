"""Convolution of a delta map: computed when its values are asked for, or at the arg-max of a global max pool alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from linefit.deltamap.footprints import Kernel
from linefit.deltamap.sites import Sites

Values = tuple[Tensor, Tensor]
"""Background `(C, H, W)` and rows `(R, C)`."""


def site_table(background: Tensor) -> Tensor:
    """A background `(C, H, W)` as one row a site, `(H * W, C)`: a view if its memory is channels last."""
    return background.permute(1, 2, 0).reshape(-1, len(background))


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution of `source` at `sites`, and non-decreasing functions behind it, that nobody has computed yet."""

    source: Values
    sites: Sites
    weight: Tensor
    bias: Tensor | None
    kernel: Kernel
    activations: tuple[Callable[[Tensor], Tensor], ...] = ()
    # The mode of the call, not of whoever asks for values.
    grad: bool = field(default_factory=torch.is_grad_enabled)
    _versions: tuple[int, ...] = ()
    # Values by the activations they went through, shared by all that follow one convolution.
    _computed: dict[tuple[Callable[[Tensor], Tensor], ...], Values] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_versions", self._versions or self._current_versions())

    def then(self, activation: Callable[[Tensor], Tensor]) -> Convolution:
        return replace(self, activations=(*self.activations, activation))

    @property
    def is_evaluated(self) -> bool:
        """Whether somebody has asked for the values of this convolution, behind whatever activations."""
        return bool(self._computed)

    def evaluate(self) -> Values:
        """Background and rows at `sites.dilated(kernel)`."""
        with torch.set_grad_enabled(self.grad):
            if () not in self._computed:
                self._check_versions()
                background = self._background()
                rows = self.sites.batch.kernels.convolved_rows(
                    site_table(self.source[0]),
                    self.source[1],
                    self.weight,
                    site_table(background),
                    self.sites.links(self.kernel),
                )
                self._computed[()] = background, rows
            if self.activations not in self._computed:
                background, rows = self._computed[()]
                self._computed[self.activations] = self._activate(background), self._activate(rows)
            return self._computed[self.activations]

    def maximum(self) -> Tensor:
        """Global maximum `(N, C)`, whose gradient touches the arg-max patches alone.

        The activations are non-decreasing, so the arg-max is that of the convolution itself.
        """
        self._check_versions()
        with torch.set_grad_enabled(self.grad and torch.is_grad_enabled()):
            with torch.no_grad():
                background = site_table(self._background())
            maximum = self.sites.batch.kernels.convolved_maximum(
                site_table(self.source[0]),
                self.source[1],
                self.weight,
                self.bias,
                background,
                self.sites.links(self.kernel),
            )
            return self._activate(maximum)

    def _current_versions(self) -> tuple[int, ...]:
        # Inference tensors count nothing.
        tensors = [self.weight, *([] if self.bias is None else [self.bias])]
        return tuple(tensor._version for tensor in tensors if not tensor.is_inference())

    def _check_versions(self) -> None:
        """As autograd does for what it saved."""
        if self._current_versions() != self._versions:
            raise RuntimeError(
                "conv2d of a delta map: its weight or bias was modified in place between the call and the use of"
                " its values, which are computed when they are used; ask for them (`.rows`) before the change"
            )

    def _activate(self, values: Tensor) -> Tensor:
        for activation in self.activations:
            values = activation(values)
        return values

    def _background(self) -> Tensor:
        # Channels last, in words that `torch.func.vmap` knows too.
        background = self.source[0].permute(1, 2, 0).contiguous()[None].permute(0, 3, 1, 2)
        return F.conv2d(
            background,
            self.weight,
            self.bias,
            padding=self.kernel.zeros,
            dilation=self.kernel.dilation,
        )[0]
