"""`DeltaMap`: a batch of feature maps that share a background and differ from it at few sites.

It stands in for a tensor `(N, C, H, W)` in an unmodified `nn.Module`. `DeltaImages` is a data set of such batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from linefit.deltamap.convolution import Convolution, Values, site_table
from linefit.deltamap.dispatch import Handler, TensorLike
from linefit.deltamap.errors import unsupported
from linefit.deltamap.kernels import KERNELS
from linefit.deltamap.kernels.plain import dense
from linefit.deltamap.sites import LIT, Batch, Sites, SiteTables


class DeltaMap(TensorLike):
    """`N` feature maps: `background` `(C, H, W)` everywhere but at active sites, where `rows` `(R, C)` hold the values.

    `shape` is what the dense tensor's would be: `(N, C, H, W)`, or `(N, C, H * W)` or `(N, C * H * W)` once flattened.
    A convolution is computed when its values are asked for: a global max pool behind it never asks for all of them.
    Where several sites share a maximum (a ReLU's zeros, channels that are zero at the start), the gradient takes one of
    them, as a dense max pool does, but not always the same one: both are subgradients, training may differ.
    """

    operations: ClassVar[dict[str, Handler]] = {}
    precedence = 0

    def __init__(self, values: Values | Convolution, sites: Sites, axes: int = 4) -> None:
        self._values = values
        self.sites = sites
        self.ndim = axes
        self._has_views = False

    @classmethod
    def from_pixels(
        cls,
        pixels: NDArray[np.generic] | Tensor,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> DeltaMap:
        """One batch from binary images `(N, H, W)` or `(N, 1, H, W)`, for a single use: a data set is `DeltaImages`."""
        images = DeltaImages(pixels, dtype=dtype, device=device)
        return images.batch(torch.arange(len(images), device=device))

    @property
    def convolution(self) -> Convolution | None:
        """The convolution that this map is, while nobody has asked for its values."""
        return self._values if isinstance(self._values, Convolution) else None

    @property
    def values(self) -> Values:
        if isinstance(self._values, Convolution):
            self._values = self._values.evaluate()
        return self._values

    @property
    def background(self) -> Tensor:
        """`(C, H, W)`: the map of the empty image."""
        return self.values[0]

    @property
    def rows(self) -> Tensor:
        """`(R, C)`: the values at the active sites `self.sites`."""
        return self.values[1]

    @property
    def channels(self) -> int:
        if isinstance(self._values, Convolution):
            return len(self._values.weight)
        return self._values[1].shape[1]

    @property
    def area(self) -> tuple[int, int]:
        """Height and width."""
        return self.sites.size

    @property
    def shape(self) -> torch.Size:
        (height, width), channels, images = self.area, self.channels, len(self.sites.batch)
        if self.ndim == 4:
            return torch.Size((images, channels, height, width))
        if self.ndim == 3:
            return torch.Size((images, channels, height * width))
        return torch.Size((images, channels * height * width))

    @property
    def dtype(self) -> torch.dtype:
        return (
            self._values.weight.dtype
            if isinstance(self._values, Convolution)
            else self._values[1].dtype
        )

    @property
    def device(self) -> torch.device:
        return self.sites.batch.tables.device

    def dim(self) -> int:
        return self.ndim

    def size(self, dim: int | None = None) -> torch.Size | int:
        return self.shape if dim is None else self.shape[dim]

    def __len__(self) -> int:
        return self.shape[0]

    def like(self, background: Tensor, rows: Tensor) -> DeltaMap:
        """A map at the same sites with other values."""
        return DeltaMap((background, rows), self.sites, self.ndim)

    def with_axes(self, axes: int) -> DeltaMap:
        """The same values, flattened or not: a copy to whatever is done in place."""
        return DeltaMap(self._values, self.sites, axes)

    def view_with_axes(self, axes: int) -> DeltaMap:
        """The same values, as torch's `view`: nothing can be done in place from here on, as views would not see it."""
        view = self.with_axes(axes)
        self._has_views = view._has_views = True
        return view

    def become(self, other: DeltaMap) -> DeltaMap:
        """Take another map's values: an operation in place."""
        if self._has_views:
            unsupported("an operation in place", "on a map that was flattened or reshaped")
        if other.dtype != self.dtype:
            unsupported("an operation in place", f"on {self.dtype} that gives {other.dtype}")
        if other.shape != self.shape:
            raise RuntimeError(
                f"an operation in place on a map of shape {tuple(self.shape)} gives {tuple(other.shape)}"
            )
        self._values, self.sites = other._values, other.sites
        return self

    def to_dense(self) -> Tensor:
        """The tensor that this map stands for, of shape `self.shape`."""
        values = dense(site_table(self.background), self.rows, self.sites)
        return values.reshape(self.shape)

    def __repr__(self) -> str:
        return f"DeltaMap(shape={tuple(self.shape)}, rows={self.sites.rows}, dtype={self.dtype})"


class DeltaImages:
    """Binary images as a data set of delta maps: index tables are built once, `batch` gathers them.

    Args:
        pixels: `(N, H, W)` or `(N, 1, H, W)`, 0 or 1.
        dtype, device: of the maps.
        padded: every batch of `b` images has the same number of rows, so that shapes do not depend on data and the
            host need not know them (CUDA graphs). Indices of a batch must then be distinct, or the device stops at
            an assertion when there are too many rows. Default: off the CPU.
        kernels: "numba" for the compiled kernels (CPU, float32 or float64), "torch" for the plain form that they
            are tested against. Default: numba where it runs.

    Raises ValueError for pixels of another shape or other values, and for numba kernels where they do not run.
    """

    def __init__(
        self,
        pixels: NDArray[np.generic] | Tensor,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        *,
        padded: bool | None = None,
        kernels: Literal["torch", "numba"] | None = None,
    ) -> None:
        values = np.asarray(pixels.cpu() if isinstance(pixels, Tensor) else pixels)
        lit = values if values.dtype == bool else values != 0
        if lit is not values and not np.array_equal(values, lit):
            raise ValueError("pixels are not binary: values other than 0 and 1 have no delta map")
        if lit.ndim == 4 and lit.shape[1] == 1:
            lit = lit[:, 0]
        if lit.ndim != 3 or not len(lit):
            raise ValueError(
                f"pixels of shape {values.shape} are not images (N, H, W) or (N, 1, H, W)"
            )
        device = torch.device(device)
        padded = device.type != "cpu" if padded is None else padded
        # Padding is for devices that the host must not wait for; the compiled kernels read exact tables.
        compiled = device.type == "cpu" and dtype in (torch.float32, torch.float64) and not padded
        if kernels == "numba" and not compiled:
            raise ValueError(
                "kernels='numba' run on the CPU in float32 or float64, without padding;"
                f" not on {device} in {dtype}, padded={padded}"
            )
        self.dtype = dtype
        self.kernels: Literal["torch", "numba"] = kernels or ("numba" if compiled else "torch")
        self.tables = SiteTables(lit, device, padded)

    def __len__(self) -> int:
        return self.tables.images

    def batch(self, indices: Tensor | Sequence[int] | NDArray[np.integer]) -> DeltaMap:
        """The images `indices` `(B,)`, integers from 0 on, as a map `(B, 1, H, W)`.

        Raises ValueError for a mask, and on the CPU for indices out of range and for repeated ones of a padded batch
        (elsewhere the host must not wait).
        """
        tables = self.tables
        index = torch.as_tensor(indices, device=tables.device)
        if index.dtype == torch.bool or (index.is_floating_point() and len(index)):
            raise ValueError(f"indices of {index.dtype} are not integers")
        index = index.to(torch.int64)
        if index.device.type == "cpu" and len(index):
            lowest, highest = index.numpy().min(), index.numpy().max()
            if lowest < 0 or highest >= len(self):
                raise ValueError(
                    f"indices from {lowest} to {highest}: the images are 0 to {len(self) - 1}"
                )
            if tables.padded and len(np.unique(index.numpy())) < len(index):
                raise ValueError("indices of a padded batch repeat an image; they must be distinct")
        sites = Batch(tables, index, KERNELS[self.kernels]).sites(LIT)
        background = torch.zeros(
            1, tables.height, tables.width, dtype=self.dtype, device=tables.device
        )
        rows = torch.ones(sites.rows, 1, dtype=self.dtype, device=tables.device)
        return DeltaMap((background, rows), sites)
