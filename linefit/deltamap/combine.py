"""Delta maps with one another and with batch-constant tensors: arithmetic, concatenation, common sites."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from linefit.deltamap.convolution import Values, site_table
from linefit.deltamap.deltamap import DeltaMap
from linefit.deltamap.errors import unsupported
from linefit.deltamap.footprints import united
from linefit.deltamap.scaled import ScaledMap, per_image
from linefit.deltamap.sites import Sites


def check_spatial(input: DeltaMap, operation: str) -> None:
    if input.ndim != 4:
        unsupported(operation, "of a flattened map")


def cat(tensors: Sequence[DeltaMap | Tensor], dim: int = 0) -> DeltaMap:
    first = next(tensor for tensor in tensors if isinstance(tensor, DeltaMap))
    check_spatial(first, "cat")
    if dim not in (1, -3):
        unsupported("cat", f"along axis {dim}; channels are axis 1")
    maps = [tensor for tensor in tensors if isinstance(tensor, DeltaMap)]
    sites = common_sites(maps)
    shape = first.shape
    for tensor in tensors:
        if tensor.ndim != 4 or (tensor.shape[0], *tensor.shape[2:]) != (shape[0], *shape[2:]):
            raise ValueError(
                f"cat: a tensor of shape {tuple(tensor.shape)} beside {tuple(shape)}; only channels may differ"
            )
    parts = [
        lifted(tensor, sites)
        if isinstance(tensor, DeltaMap)
        else _constant_at(_constant(first, tensor, "cat"), sites)
        for tensor in tensors
    ]
    background = torch.cat([background for background, _ in parts])
    # A constant of one site has one row for all.
    rows = torch.cat([rows.expand(sites.rows, -1) for _, rows in parts], dim=1)
    return DeltaMap((background, rows), sites)


def arithmetic(name: str) -> Callable[..., DeltaMap]:
    function: Callable[..., Tensor] = getattr(torch, name)

    def combine(input: Any, other: Any, **kwargs: Any) -> Any:
        scaled = _scaled(name, input, other, **kwargs)
        if scaled is not None:
            return scaled
        like = input if isinstance(input, DeltaMap) else other
        sites = common_sites(
            [operand for operand in (input, other) if isinstance(operand, DeltaMap)]
        )
        operands = []
        for operand in (input, other):
            if isinstance(operand, DeltaMap):
                if operand.ndim != like.ndim:
                    unsupported(name, f"of maps of {input.ndim} and {other.ndim} axes")
                operands.append(lifted(operand, sites))
            elif isinstance(operand, Tensor):
                constant = _constant(like, operand, name)
                operands.append(_constant_at(constant, sites))
            else:
                operands.append((operand, operand))
        (background, rows), (other_background, other_rows) = operands
        background = function(background, other_background, **kwargs)
        return DeltaMap((background, function(rows, other_rows, **kwargs)), sites, like.ndim)

    return combine


def _scaled(name: str, input: Any, other: Any, **kwargs: Any) -> ScaledMap | None:
    """The product of a map and a factor per image, or the quotient."""
    if name == "mul" and isinstance(other, DeltaMap):
        input, other = other, input
    if name not in ("mul", "div") or kwargs or not isinstance(input, DeltaMap):
        return None
    factor = per_image(input, other)
    if factor is None:
        return None
    return ScaledMap(input, factor if name == "mul" else factor.reciprocal())


def _constant(like: DeltaMap, tensor: Tensor, operation: str) -> Tensor:
    """A batch-constant tensor that broadcasts against `like` as `(C, H, W)` or `(C, 1, 1)`."""
    images = len(like)
    if tensor.ndim == like.ndim:
        if tensor.shape[0] != 1 and tensor.stride(0) != 0:
            unsupported(
                operation,
                "with a tensor that may differ from image to image (its stride over the batch is not 0)",
            )
        if tensor.shape[0] not in (1, images):
            unsupported(
                operation, f"with a tensor of {tensor.shape[0]} images, the map has {images}"
            )
        tensor = tensor[0] if images else tensor.new_zeros(tensor.shape[1:])
    elif tensor.ndim > like.ndim:
        unsupported(operation, f"with a tensor of {tensor.ndim} axes on a map of {like.ndim}")
    height, width = like.area
    if like.ndim == 3:
        flat = tensor.ndim > 0 and tensor.shape[-1] == height * width
        tensor = tensor.reshape(*tensor.shape[:-1], height, width) if flat else tensor[..., None]
    elif like.ndim == 2 and tensor.numel() == 1:
        tensor = tensor.reshape(())
    elif like.ndim == 2:
        tensor = tensor.reshape(-1, height, width)
    constant = tensor.reshape(*[1] * (3 - tensor.ndim), *tensor.shape)
    if any(side not in (1, own) for side, own in zip(constant.shape[1:], like.area, strict=True)):
        unsupported(operation, f"with a tensor of {tuple(constant.shape[1:])} sites on {like.area}")
    return constant


def _constant_at(constant: Tensor, sites: Sites) -> tuple[Tensor, Tensor]:
    """A constant `(C, H, W)` or broadcasting to it, as background and as rows."""
    if constant.shape[1:] == (1, 1):
        return constant, constant.view(1, -1)
    full = constant.expand(-1, *sites.size)
    return constant, site_table(full).index_select(0, sites.site)


def common_sites(maps: Sequence[DeltaMap]) -> Sites:
    batch = maps[0].sites.batch
    if any(other.sites.batch is not batch for other in maps):
        raise ValueError("delta maps of different batches cannot be combined")
    if all(other.sites is maps[0].sites for other in maps):
        return maps[0].sites
    return batch.sites(united(other.sites.footprint for other in maps))


def lifted(input: DeltaMap, sites: Sites) -> Values:
    """Background and rows of a map at more sites than its own."""
    if input.sites is sites:
        return input.values
    return input.background, rows_at(input, sites, input.background)


def rows_at(
    input: DeltaMap, sites: Sites, background: Tensor, origin: Tensor | None = None
) -> Tensor:
    """A map's rows at other sites, each of which shows the site `origin[site]` of it, by default itself.

    What is not active in the map has the `background` of the new sites, and so have padding rows.
    """
    own = input.sites
    table = torch.cat([input.rows, site_table(background)])
    row_of_site = F.pad(own.row_of_site, (0, 0, 0, 1), value=own.rows)
    row = row_of_site[sites.image, sites.site if origin is None else origin[sites.site]]
    return table.index_select(0, torch.where(row < own.rows, row, own.rows + sites.site))
