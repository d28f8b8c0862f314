"""Adam for nets on delta maps on the CPU: the update of a large linear layer and its gradient in one pass.

Torch's fused Adam updates all other parameters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor, nn

from linefit.deltamap.kernels.linear import FAST, FactoredGradient
from linefit.deltamap.kernels.links import FloatArray, IntArray

SETTINGS = ("lr", "betas", "eps", "weight_decay")
LARGE = 1 << 20  # elements from which a weight's layout and its fused update pay


class FusedAdam:
    """Adam (Kingma & Ba, 2015) with the arithmetic of `torch.optim.AdamW`, for parameters on the CPU.

    A weight matrix of at least `LARGE` elements, wider than tall, is stored input-major from here on (same values,
    other strides). The gradient that a delta map leaves for it is a `FactoredGradient`, which `step` takes as factors;
    to everybody else, clipping and other optimisers too, it is a dense tensor. Nothing about training changes:
    `zero_grad()`, `loss.backward()`, `step()`, and the learning rate of the next step is what `param_groups` says.

    Raises ValueError for a parameter that is not on the CPU.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        params = list(params)
        for parameter in params:
            if parameter.device.type != "cpu":
                raise ValueError(f"a parameter is on {parameter.device}: FusedAdam is for the CPU")
        self.large = [_LargeWeight(parameter) for parameter in params if _is_large(parameter)]
        small = [parameter for parameter in params if not _is_large(parameter)]
        self.adam = (
            torch.optim.AdamW(small, lr, betas, eps, weight_decay, fused=True) if small else None
        )
        own: dict[str, Any] = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        self.param_groups = [own] if self.adam is None else self.adam.param_groups

    def zero_grad(self) -> None:
        if self.adam is not None:
            self.adam.zero_grad()
        for weight in self.large:
            weight.parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        if self.adam is not None:
            self.adam.step()
        for weight in self.large:
            weight.step(**{name: self.param_groups[0][name] for name in SETTINGS})


def _is_large(parameter: nn.Parameter) -> bool:
    return (
        parameter.requires_grad
        and parameter.ndim == 2
        and parameter.numel() >= LARGE
        and parameter.shape[1] > parameter.shape[0]
        and parameter.dtype in (torch.float32, torch.float64)
    )


class _LargeWeight:
    """A weight `(out, in)`, stored as `(in, out)`, and its moments."""

    def __init__(self, parameter: nn.Parameter) -> None:
        parameter.data = parameter.data.t().contiguous().t()
        self.parameter = parameter
        self.steps = 0
        self.mean = torch.zeros_like(parameter.data.t())
        self.square = torch.zeros_like(parameter.data.t())

    def step(self, lr: float, betas: tuple[float, float], eps: float, weight_decay: float) -> None:
        gradient: Tensor | None = self.parameter.grad
        if gradient is None:
            return
        self.steps += 1
        rate, root = lr / (1 - betas[0] ** self.steps), math.sqrt(1 - betas[1] ** self.steps)
        weight = self.parameter.data.t().numpy()
        constants = np.array(
            [1 - betas[0], betas[1], 1 - betas[1], rate, 1 / root, eps, 1 - lr * weight_decay],
            weight.dtype,
        )
        factors = gradient.factors if isinstance(gradient, FactoredGradient) else None
        if factors is not None:
            by_site, output = factors
            background, delta = by_site.background, by_site.delta
            image, first = by_site.image, by_site.first
            dense = np.empty((0, 0), weight.dtype)
        else:  # several backward passes, one through a dense map, or somebody asked for it
            if isinstance(gradient, FactoredGradient):
                gradient = gradient.dense()
            dense = gradient.t().contiguous().numpy()
            output = np.empty((0, weight.shape[1]), weight.dtype)
            background = np.empty((1, len(weight)), weight.dtype)
            delta, image = np.empty((1, 0), weight.dtype), np.empty(0, np.int64)
            first = np.zeros(len(weight) + 1, np.int64)
        total = output.sum(0)
        _step(
            background, delta, image, first, output, total, dense, constants,
            weight, self.mean.numpy(), self.square.numpy(),
        )  # fmt: skip
        # NumPy's writes go past autograd, which counts them to find what was overwritten too early.
        torch.autograd.graph.increment_version(self.parameter)


# error_model "numpy": Python's check for a zero divisor would keep the division from being vectorised.
@njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _step(
    background: FloatArray,
    delta: FloatArray,
    image: IntArray,
    first: IntArray,
    output: FloatArray,  # (N, out)
    total: FloatArray,
    dense: FloatArray,  # (C * H * W, out), or empty: then the gradient is the factors'
    constants: NDArray[Any],
    weight: FloatArray,  # (C * H * W, out), updated like the moments
    mean: FloatArray,
    square: FloatArray,
) -> None:
    channels, area = background.shape
    outs = weight.shape[1]
    gradient = np.empty(outs, weight.dtype)
    weigh_mean, keep_square, weigh_square, rate, inverse_root, eps, keep_weight = constants
    for c in range(channels):
        for s in range(area):
            index = c * area + s
            if len(dense):
                for o in range(outs):
                    gradient[o] = dense[index, o]
            else:
                value = background[c, s]
                for o in range(outs):
                    gradient[o] = value * total[o]
                for at in range(first[s], first[s + 1]):
                    change = delta[c, at]
                    if change != 0:
                        n = image[at]
                        for o in range(outs):
                            gradient[o] += change * output[n, o]
            # One loop per array: LLVM vectorises three short loops, not one that writes three arrays.
            for o in range(outs):
                mean[index, o] += weigh_mean * (gradient[o] - mean[index, o])
            for o in range(outs):
                kept = keep_square * square[index, o]
                square[index, o] = kept + weigh_square * gradient[o] * gradient[o]
            for o in range(outs):
                root = np.sqrt(square[index, o]) * inverse_root + eps
                weight[index, o] = keep_weight * weight[index, o] - rate * mean[index, o] / root
