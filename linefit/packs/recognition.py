"""Which nets packs train: recognised in an `nn.Module` by structure, then checked by values.

Coordinates in front, a stack of stride-1 convolutions with ReLU, a global maximum or average or flatten, two linear
layers with ReLU between them. Anything else is no pack's business and trains alone.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from linefit.coordinates import ConcatCoordinates
from linefit.deltamap.sites import Kernel
from linefit.packs.images import PackImages
from linefit.packs.kernels.choice import kernels
from linefit.packs.network import forward
from linefit.packs.shape import Shape, stack
from linefit.packs.sites import Batch

POOLINGS: dict[type[nn.Module], str] = {
    nn.AdaptiveMaxPool2d: "max",
    nn.AdaptiveAvgPool2d: "average",
}


class UnpackableError(ValueError):
    """A net that no pack trains, and why."""


def recognise(net: nn.Module, dim: int) -> Shape:
    """The shape of a net for images of side `dim`; raises UnpackableError with the reason.

    It reads the modules `coordinates`, `convolutions`, `pooling` and `head` of a `LineNet`, and is strict: whatever it
    does not know is a reason. That the net's `forward` does with them what their names say is tried on two images.
    """
    parts = dict(net.named_children())
    if list(parts) != ["coordinates", "convolutions", "pooling", "head"]:
        raise UnpackableError(f"the net's parts are {', '.join(parts)}")
    convolutions, channels = _convolutions(parts["convolutions"])
    if channels[0] != 1 + len(coordinate_channels(net, dim)):
        raise UnpackableError(f"the first convolution reads {channels[0]} channels")
    pooling = _pooling(parts["pooling"])
    features = channels[-1] * (dim**2 if pooling == "flatten" else 1)
    match list(parts["head"].children()):
        case [nn.Linear() as first, nn.ReLU(), nn.Linear() as last] if (
            type(parts["head"]) is nn.Sequential
            and (first.in_features, last.in_features) == (features, first.out_features)
            and first.bias is not None
            and last.bias is not None
        ):
            shape = Shape(
                dim, convolutions, channels, pooling, first.out_features, last.out_features
            )
        case _:
            raise UnpackableError(f"the head is {parts['head']}")
    if [p.numel() for p in net.parameters()] != [torch.Size(s).numel() for s in shape.parameters]:
        raise UnpackableError("the net has other parameters than its layers")
    if not _agrees(net, shape):
        raise UnpackableError("the net computes something else than its layers in a row")
    return shape


def _agrees(net: nn.Module, shape: Shape) -> bool:
    """Whether the net and a pack of it say the same of two random images, in float64 on the CPU."""
    net = copy.deepcopy(net).to("cpu", torch.float64)
    device = torch.device("cpu")
    pixels = np.random.default_rng(0).random((2, shape.dim, shape.dim)) < 0.01
    images, orders = PackImages(pixels, shape.convolutions, device), np.arange(2)[None]
    capacity = images.host.capacity(orders, 2, per_site=shape.pooling == "flatten")
    batch = Batch(images, torch.from_numpy(orders), 1, capacity, kernels("plain"))
    background = background_of([net], shape, torch.float64, device)
    with torch.no_grad():
        expected = net(torch.from_numpy(pixels)[:, None].double())
        found = forward(shape, stack([net], shape), background, batch, images.area).values[0]
    same = torch.allclose(found, expected, rtol=1e-9, atol=1e-9, equal_nan=True)
    return expected.shape == found.shape and same


def background_of(
    nets: Sequence[nn.Module], shape: Shape, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """The constant channels of every net by sites, `(P, A, C)`."""
    channels = torch.stack([coordinate_channels(net, shape.dim) for net in nets])
    return channels.flatten(2).transpose(1, 2).to(device, dtype).contiguous()


def coordinate_channels(net: nn.Module, dim: int) -> Tensor:
    """The constant channels `(C, dim, dim)` in front of a net, none for `nn.Identity`."""
    front = net.get_submodule("coordinates")
    if type(front) is nn.Identity:
        return torch.zeros(0, dim, dim)
    if type(front) is ConcatCoordinates:
        return front.channels
    raise UnpackableError(f"the net begins with {front}")


def _convolutions(stack: nn.Module) -> tuple[tuple[Kernel, ...], tuple[int, ...]]:
    modules = list(stack.children())
    if type(stack) is not nn.Sequential or not modules or len(modules) % 2:
        raise UnpackableError(f"the convolutions are {stack}")
    geometry: list[Kernel] = []
    channels: list[int] = []
    for convolution, activation in zip(modules[::2], modules[1::2], strict=True):
        if type(convolution) is not nn.Conv2d or type(activation) is not nn.ReLU:
            raise UnpackableError(f"{convolution}, {activation} are not a convolution and ReLU")
        (height, width), (down, right) = convolution.kernel_size, convolution.dilation
        same = (height // 2 * down, width // 2 * right)
        if (
            convolution.stride != (1, 1)
            or convolution.groups != 1
            or convolution.bias is None
            or convolution.padding_mode != "zeros"
            or convolution.padding not in (same, "same")
            or height % 2 == 0
            or width % 2 == 0
        ):
            raise UnpackableError(f"{convolution} changes the map's size, or has groups or no bias")
        channels = channels or [convolution.in_channels]
        if convolution.in_channels != channels[-1]:
            raise UnpackableError(f"{convolution} does not read what stands before it")
        geometry.append(Kernel((height, width), (down, right)))
        channels.append(convolution.out_channels)
    return tuple(geometry), tuple(channels)


def _pooling(module: nn.Module) -> str:
    if type(module) is nn.Flatten and (module.start_dim, module.end_dim) == (1, -1):
        return "flatten"
    match list(module.children()):
        case [pool, nn.Flatten(start_dim=1, end_dim=-1)] if (
            type(module) is nn.Sequential
            and type(pool) in POOLINGS
            and pool.output_size in (1, (1, 1))
            and not getattr(pool, "return_indices", False)
        ):
            return POOLINGS[type(pool)]
    raise UnpackableError(f"the pooling is {module}")
