"""Pools of delta maps by torch's names: which windows a call asks for, and the shape of what it gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from linefit.deltamap import pooling
from linefit.deltamap.combine import arithmetic, check_spatial
from linefit.deltamap.convolution import Values, site_table
from linefit.deltamap.deltamap import DeltaMap
from linefit.deltamap.dispatch import Handler, TensorLike
from linefit.deltamap.errors import unsupported
from linefit.deltamap.windows import Regions, Windows, adaptive, kept, regions, sliding, whole

Axes = int | Sequence[int] | None


def pooled_axes(operation: str, input: DeltaMap, dim: Axes) -> tuple[int, ...]:
    """The axes that are pooled, sorted: among those of a map's sites."""
    axes = range(input.ndim) if dim is None else (dim,) if isinstance(dim, int) else dim
    pooled = tuple(sorted(axis % input.ndim for axis in axes or range(input.ndim)))
    if input.ndim == 2 or not set(pooled) <= set(range(2, input.ndim)):
        unsupported(operation, f"over axes {dim} of {input.ndim}; only sites can be pooled")
    return pooled


def windows_of(input: DeltaMap, axes: tuple[int, ...]) -> Windows:
    return whole(input.area) if input.ndim == 3 else kept(input.area, axes)


def shaped(pooled: Tensor, input: DeltaMap, axes: tuple[int, ...], keepdim: bool) -> Tensor:
    """Pooled values `(N, K, C)` as torch gives them after pooling over some axes."""
    sizes = list(input.shape)
    sizes[1] = pooled.shape[2]
    for axis in reversed(axes):
        sizes[axis : axis + 1] = [1] if keepdim else []
    return pooled.transpose(1, 2).reshape(sizes)


def in_regions(values: Values, where: Regions) -> Values:
    """Background and rows as `pooling` takes them."""
    return where.of_background(site_table(values[0])), where.of_rows(values[1])


def _maxima(input: DeltaMap, windows: Windows) -> Tensor:
    """`(N, K, C)`."""
    convolution = input.convolution
    if convolution is not None and windows == whole(input.area) and not convolution.is_evaluated:
        return convolution.maximum()[:, None]
    where = regions(input.sites, windows)
    argmax_rows = input.sites.batch.kernels.argmax_rows
    return pooling.maximum(*in_regions(input.values, where), where, argmax_rows)


def _sums(input: DeltaMap, windows: Windows) -> Tensor:
    where = regions(input.sites, windows)
    return pooling.total(*in_regions(input.values, where), where)


def log_sum_exps(input: DeltaMap, windows: Windows) -> Tensor:
    where = regions(input.sites, windows)
    padded = input.sites.batch.tables.padded
    return pooling.log_sum_exp(*in_regions(input.values, where), where, padded=padded)


def amax(input: DeltaMap, dim: Axes = (), keepdim: bool = False) -> Tensor:
    axes = pooled_axes("amax", input, dim)
    return shaped(_maxima(input, windows_of(input, axes)), input, axes, keepdim)


def amin(input: DeltaMap, dim: Axes = (), keepdim: bool = False) -> Tensor:
    return -amax(-input, dim, keepdim)


class _Places(TensorLike):
    """Where maxima are: nobody has looked, and whoever asks trains densely."""

    operations: ClassVar[dict[str, Handler]] = {}
    precedence = 3

    def __init__(self, device: torch.device) -> None:
        self._device = device

    @property
    def device(self) -> torch.device:
        return self._device


class Extrema(NamedTuple):
    values: Tensor
    indices: _Places


def extrema(pool: Callable[..., Tensor], elementwise: str) -> Handler:
    """`max` or `min`: of two operands, or over an axis with places."""
    combine = arithmetic(elementwise)

    def handler(input: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
        other = dim if other is None and not isinstance(dim, int) else other
        if other is not None:
            return combine(input, other)
        return Extrema(pool(input, dim, keepdim), _Places(input.device))

    return handler


def sum(input: DeltaMap, dim: Axes = None, keepdim: bool = False) -> Tensor:
    axes = pooled_axes("sum", input, dim)
    return shaped(_sums(input, windows_of(input, axes)), input, axes, keepdim)


def mean(input: DeltaMap, dim: Axes = None, keepdim: bool = False) -> Tensor:
    axes = pooled_axes("mean", input, dim)
    windows = windows_of(input, axes)
    total = _sums(input, windows) / int(windows.areas[0])
    return shaped(total, input, axes, keepdim)


def logsumexp(input: DeltaMap, dim: Axes, keepdim: bool = False) -> Tensor:
    axes = pooled_axes("logsumexp", input, dim)
    return shaped(log_sum_exps(input, windows_of(input, axes)), input, axes, keepdim)


def pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def _adaptive(input: DeltaMap, output_size: Any, operation: str) -> Windows:
    check_spatial(input, operation)
    sizes = output_size if isinstance(output_size, list | tuple) else (output_size, output_size)
    height, width = (
        side if size is None else size for side, size in zip(input.area, sizes, strict=True)
    )
    return adaptive(input.area, (height, width))


def _grid(pooled: Tensor, windows: Windows) -> Tensor:
    """`(N, K, C)` as `(N, C, height, width)`."""
    return pooled.transpose(1, 2).reshape(len(pooled), pooled.shape[2], *windows.shape)


def _averages(input: DeltaMap, windows: Windows) -> Tensor:
    areas = input.sites.batch.tables.resident(windows.areas).to(input.dtype)
    return _grid(_sums(input, windows) / areas[:, None], windows)


def adaptive_max_pool2d(input: DeltaMap, output_size: Any, return_indices: bool = False) -> Tensor:
    if return_indices:
        unsupported("adaptive_max_pool2d", "with indices")
    windows = _adaptive(input, output_size, "adaptive_max_pool2d")
    return _grid(_maxima(input, windows), windows)


def adaptive_avg_pool2d(input: DeltaMap, output_size: Any) -> Tensor:
    return _averages(input, _adaptive(input, output_size, "adaptive_avg_pool2d"))


def max_pool2d(
    input: DeltaMap,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    check_spatial(input, "max_pool2d")
    if pair(dilation) != (1, 1) or ceil_mode or return_indices:
        unsupported("max_pool2d", "with dilation, ceil_mode or indices")
    kernel = pair(kernel_size)
    windows = sliding(input.area, kernel, pair(stride) if stride else kernel, pair(padding))
    return _grid(_maxima(input, windows), windows)


def avg_pool2d(
    input: DeltaMap,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,  # noqa: ARG001  (without padding it says nothing)
    divisor_override: int | None = None,
) -> Tensor:
    check_spatial(input, "avg_pool2d")
    if pair(padding) != (0, 0) or ceil_mode or divisor_override is not None:
        unsupported("avg_pool2d", "with padding, ceil_mode or another divisor")
    kernel = pair(kernel_size)
    windows = sliding(input.area, kernel, pair(stride) if stride else kernel, (0, 0))
    return _averages(input, windows)
