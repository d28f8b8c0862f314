"""What the compiled step can train: nets recognised by their modules, and where their parameters lie in its memory.

A module, an attribute or a hook that is not known here means that the net trains as any other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from linefit.architectures import LineNet
from linefit.coordinates import ConcatCoordinates
from linefit.fused.library import MAX_DEPTH, ProgramStruct
from linefit.fused.pools import KINDS, MODULES, Pool, recognise_pool

SIDES = (3, 5, 7, 9, 11)  # of kernels
WIDEST = 64  # pixels in a row of an image: the bits of a word
LARGEST = 2**16  # pixels of an image
HIDDEN_UNIT = 16  # hidden units come in multiples of it

CONVOLUTION = {
    "stride": (1, 1),
    "dilation": (1, 1),
    "groups": 1,
    "padding_mode": "zeros",
    "transposed": False,
}
BARE = frozenset(vars(nn.Module()))
HOOKS = tuple(name for name in BARE if "hooks" in name and "with_kwargs" not in name)
KNOWN: dict[type[nn.Module], frozenset[str]] = {
    LineNet: frozenset({"lit_only"}),
    nn.Sequential: frozenset(),
    nn.Identity: frozenset(),
    ConcatCoordinates: frozenset({"name"}),
    **{
        type(module): frozenset(vars(module))
        for module in (
            nn.Conv2d(1, 1, 1),
            nn.Linear(1, 1),
            nn.ReLU(),
            *MODULES,
        )
    },
}


@dataclass(frozen=True, eq=False)
class Program:
    """Convolutions by kernels of one size with ReLU, a pooling and a head of two layers; images `(height, width)`."""

    constants: Tensor  # (C, height, width): channels behind the pixels, the same for every image
    convolutions: tuple[nn.Conv2d, ...]
    pool: Pool
    hidden: nn.Linear
    output: nn.Linear

    @property
    def channels(self) -> list[int]:
        """Of the input and of every convolution."""
        return [1 + len(self.constants), *[layer.out_channels for layer in self.convolutions]]

    @property
    def side(self) -> int:
        """Of the kernels."""
        return self.convolutions[0].kernel_size[0]

    @property
    def dtype(self) -> torch.dtype:
        return self.output.weight.dtype

    @property
    def unit(self) -> int:
        """Channels are padded with zeros to a multiple of this."""
        return 8 if max(self.channels) <= 8 else 16

    def padded(self, channels: int) -> int:
        return math.ceil(channels / self.unit) * self.unit

    def struct(self) -> ProgramStruct:
        channels = self.channels
        return ProgramStruct(
            len(self.convolutions),
            self.side,
            (*channels, *[0] * (MAX_DEPTH + 1 - len(channels))),
            KINDS.index(self.pool.kind),
            self.pool.size if self.pool.kind == "grid" else self.padded(self.pool.size),
            self.hidden.out_features,
            self.unit,
        )

    def layout(self) -> list[tuple[Tensor, tuple[int, ...], int]]:
        """Parameters as the compiled step lays them out: a view of each, its padded shape, and where it begins.

        A flatten net's first matrix is not among them: it is used where it lies.
        """
        views: list[tuple[Tensor, tuple[int, ...]]] = []
        channels = [self.padded(count) for count in self.channels]
        for layer, read, written in zip(
            self.convolutions, channels[:-1], channels[1:], strict=True
        ):
            views.append((layer.weight.flatten(2).permute(2, 1, 0), (self.side**2, read, written)))
            views.append((_bias(layer), (written,)))
        for parameter in self.pool.parameters:
            views.append((parameter, self._padded_shape(parameter)))
        units = self.hidden.out_features
        if self.pool.kind != "flatten":
            by_part = self.pool.features_by_part(self.hidden.weight)
            views.append((by_part, (self.pool.parts, channels[-1], units)))
        views += [
            (_bias(self.hidden), (units,)),
            (self.output.weight, (2, units)),
            (_bias(self.output), (self.unit,)),
        ]
        placed, at = [], 0
        for view, shape in views:
            placed.append((view.detach(), shape, at))
            at += math.prod(shape)
        return placed

    def _padded_shape(self, parameter: Tensor) -> tuple[int, ...]:
        return tuple(self.padded(size) for size in parameter.shape)

    def pack(self) -> Tensor:
        """The parameters as one array, padded with zeros."""
        *_, (_, shape, at) = self.layout()
        packed = torch.zeros(at + math.prod(shape), dtype=self.dtype)
        for view, shape, at in self.layout():
            block = packed[at : at + math.prod(shape)].view(shape)
            block[tuple(map(slice, view.shape))] = view
        return packed

    def unpack(self, packed: Tensor) -> None:
        """Write parameters back into the net."""
        for view, shape, at in self.layout():
            block = packed[at : at + math.prod(shape)].view(shape)
            view.copy_(block[tuple(map(slice, view.shape))])


def recognise(net: nn.Module, height: int, width: int) -> Program | None:
    """The program of a net on images `(height, width)`, None if anything about it is unknown here."""
    if type(net) is not LineNet or not _is_plain(net) or net.lit_only:
        return None
    if width > WIDEST or height * width > LARGEST:
        return None
    if set(dict(net.named_children())) != {"coordinates", "convolutions", "pooling", "head"}:
        return None
    constants = _constants(net.coordinates, height, width)
    convolutions = _convolutions(net.convolutions)
    head = _head(net.head)
    if constants is None or convolutions is None or head is None:
        return None
    pool = recognise_pool(net.pooling, convolutions[-1].out_channels, height, width)
    if pool is None:
        return None
    program = Program(constants, convolutions, pool, *head)
    return program if _fits(program, net, height * width) else None


def _fits(program: Program, net: nn.Module, area: int) -> bool:
    """Whether sizes agree and all parameters are of one kind, on the CPU, trained, and known."""
    channels = program.channels
    parts = area if program.pool.kind == "flatten" else program.pool.parts
    parameters = list(net.parameters())
    dtype = program.dtype
    return (
        len(channels) <= MAX_DEPTH + 1
        and max(channels) < 2**12
        and program.pool.parts * program.padded(channels[-1]) < 2**16
        and [layer.in_channels for layer in program.convolutions] == channels[:-1]
        and (program.hidden.in_features, program.output.out_features) == (parts * channels[-1], 2)
        and program.hidden.out_features == program.output.in_features
        and program.hidden.out_features % HIDDEN_UNIT == 0
        and dtype in (torch.float32, torch.float64)
        and len(parameters) == 2 * len(program.convolutions) + len(program.pool.parameters) + 4
        and all(
            type(parameter) is nn.Parameter
            and parameter.requires_grad
            and parameter.dtype == dtype
            and parameter.device.type == "cpu"
            for parameter in parameters
        )
    )


def _bias(layer: nn.Conv2d | nn.Linear) -> Tensor:
    assert layer.bias is not None
    return layer.bias


def _is_plain(net: nn.Module) -> bool:
    """Whether all modules are of known types, with no hook and no attribute but what their type puts there."""
    return all(
        type(module) in KNOWN
        and set(vars(module)) <= BARE | KNOWN[type(module)]
        and not any(getattr(module, name) for name in HOOKS)
        for module in net.modules()
    )


def _constants(module: nn.Module, height: int, width: int) -> Tensor | None:
    """The channels that are concatenated behind the pixels."""
    if type(module) is nn.Identity:
        return torch.zeros(0, height, width)
    if type(module) is not ConcatCoordinates:
        return None
    channels = module.channels.detach()
    if channels.device.type != "cpu" or channels.shape[1:] != (height, width):
        return None
    return channels if bool(channels.isfinite().all()) else None


def _convolutions(stack: nn.Module) -> tuple[nn.Conv2d, ...] | None:
    if type(stack) is not nn.Sequential or not len(stack) or len(stack) % 2:
        return None
    layers: list[nn.Conv2d] = []
    for layer, activation in zip(list(stack)[::2], list(stack)[1::2], strict=True):
        if type(layer) is not nn.Conv2d or type(activation) is not nn.ReLU or layer.bias is None:
            return None
        if any(getattr(layer, name) != value for name, value in CONVOLUTION.items()):
            return None
        layers.append(layer)
    side = layers[0].kernel_size[0]
    same = {"kernel_size": (side, side), "padding": (side // 2, side // 2)}
    if side not in SIDES or any(
        getattr(layer, name) != value for layer in layers for name, value in same.items()
    ):
        return None
    return tuple(layers)


def _head(head: nn.Module) -> tuple[nn.Linear, nn.Linear] | None:
    if type(head) is not nn.Sequential or [type(layer) for layer in head] != [
        nn.Linear,
        nn.ReLU,
        nn.Linear,
    ]:
        return None
    hidden, output = head[0], head[2]
    assert isinstance(hidden, nn.Linear)
    assert isinstance(output, nn.Linear)
    return None if hidden.bias is None or output.bias is None else (hidden, output)
