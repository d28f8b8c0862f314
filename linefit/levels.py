"""The levels of every factor of a net by name, and which of them go together. Nothing here imports torch.

A registry is a dictionary from a level's name to a reference to the function or class that makes it: to add a level,
write one and add one line. What it takes and its parameters are read from its signature (`linefit.definitions`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from linefit.definitions import Definition, definition
from linefit.legal import Value, level_parts

ARCHITECTURES: dict[str, str] = {
    "conv1": "linefit.convolutions:conv1",
    "conv2": "linefit.convolutions:conv2",
    "conv3": "linefit.convolutions:conv3",
    "conv4": "linefit.convolutions:conv4",
    "residual": "linefit.convolutions:residual",
    "large_kernel": "linefit.convolutions:large_kernel",
    "strided": "linefit.convolutions:strided",
    "pointnet": "linefit.sets:PointNet",
    "set_transformer": "linefit.sets:SetTransformer",
    "hough": "linefit.hough:Hough",
}
COORDINATES: dict[str, str] = {
    "none": "linefit.coordinates:none",
    "cartesian": "linefit.coordinates:cartesian",
    "cartesian_unit": "linefit.coordinates:cartesian_unit",
    "cartesian_radius": "linefit.coordinates:cartesian_radius",
    "pixels": "linefit.coordinates:pixels",
    "x_only": "linefit.coordinates:x_only",
    "y_only": "linefit.coordinates:y_only",
    "gated": "linefit.coordinates:Gated",
    "sinusoidal": "linefit.coordinates:sinusoidal",
    "sinusoidal_added": "linefit.coordinates:SinusoidalAdded",
    "fourier": "linefit.coordinates:fourier",
    "learned": "linefit.coordinates:Learned",
    "constant": "linefit.coordinates:constant",
    "noise": "linefit.coordinates:noise",
    "shuffled": "linefit.coordinates:shuffled",
}
POOLINGS: dict[str, str] = {
    "none": "linefit.pooling:none",
    "flatten": "linefit.pooling:flatten",
    "max": "linefit.pooling:maximum",
    "average": "linefit.pooling:average",
    "sum": "linefit.pooling:Sum",
    "max_average": "linefit.pooling:MaxAverage",
    "logsumexp": "linefit.pooling:LogSumExp",
    "gem": "linefit.pooling:GeM",
    "softpool": "linefit.pooling:SoftPool",
    "spatial_softmax": "linefit.pooling:SpatialSoftmax",
    "attention": "linefit.pooling:Attention",
    "gated_attention": "linefit.pooling:GatedAttention",
    "grid2": "linefit.pooling:grid2",
    "grid4": "linefit.pooling:grid4",
}
HEADS: dict[str, str] = {
    "mlp": "linefit.heads:mlp",
    "least_squares": "linefit.heads:LeastSquares",
    "categorical": "linefit.heads:Categorical",
}
REGISTRIES = {
    "architecture": ARCHITECTURES,
    "coordinates": COORDINATES,
    "pooling": POOLINGS,
    "head": HEADS,
}
OPEN = ("architecture", "coordinates", "pooling", "yardstick")  # what takes levels of the user's
# Convolutions that are given the coordinates.
PLACEMENTS = {
    "first": "Coordinates are given to the first convolution: the lab's.",
    "every": "Coordinates are given to every convolution.",
    "last": "Coordinates are given to the last convolution alone.",
}
# What stands beyond the border. Sources: Islam et al. 2020, Kayhan & van Gemert 2020, on what position it leaks.
PADDINGS = {
    "zeros": "Zeros beyond the border: the lab's. They tell where the border is.",
    "circular": "The opposite border beyond each: no place is told from another.",
    "reflect": "The map mirrored about its outermost sites.",
    "none": "Nothing: each convolution leaves a smaller map.",
}
# Of a net that does not use the factor; also what a study that does not name it gets.
DEFAULTS: dict[str, str] = {"placement": "first", "head": "mlp", "padding": "zeros"}

# What an architecture's arguments say that it takes of a net's factors.
ARGUMENTS = {
    "in_channels": ("coordinates", "pooling", "head"),
    "convolution": ("placement", "padding"),
    "coordinates": ("coordinates",),
    "pooling": ("pooling",),
    "width": ("width",),
    "dim": (),
}
NEUTRAL: dict[str, str | int] = {**DEFAULTS, "coordinates": "none", "pooling": "none", "width": 1}

SETS = ("pointnet", "set_transformer")  # see lit pixels alone
SET_POOLINGS = ("max", "average", "sum", "max_average", "gem")  # give unlit pixels no weight
# Nets and heads with logits, from which cross-entropy learns; others of the user's own may have them too.
WITH_LOGITS = {"architecture": ("hough",), "head": ("categorical",)}
FIRST_ONLY = ("gated", "sinusoidal_added")  # made of the image itself


def reference_of(factor: str, level: str) -> str:
    """Where a level, `fourier` or `fourier(bandwidth=4)`, is defined. Raises ValueError for an unknown name.

    A level of the user's is its own reference, `package.module:name` or `path/to/file.py:name`, or the name of an entry
    point of an installed package in the group `linefit.<factor>`.
    """
    name, registry = level_parts(level)[0], REGISTRIES.get(factor, {})
    if name in registry:
        return registry[name]
    if factor in OPEN and ":" in name:
        return name
    installed = entry_points(group=f"linefit.{factor}") if factor in OPEN else ()
    for point in installed:
        if point.name == name:
            return point.value
    raise ValueError(f"{factor} {name!r} is not one of {', '.join(registry)}")


def absolute(level: str, folder: Path) -> str:
    """A level in a file, `nets.py:Net`, with the file's whole path: what can be built wherever a process stands."""
    name, parenthesis, rest = level.partition("(")
    path, _, attribute = name.rpartition(":")
    if not path.endswith(".py"):
        return level
    return f"{(folder / path).resolve()}:{attribute}{parenthesis}{rest}"


def resolve(factor: str, level: str) -> tuple[str, dict[str, Value]]:
    """Reference and all parameters of a level. Raises ValueError for an unknown level or an illegal parameter."""
    reference = reference_of(factor, level)
    try:
        return reference, definition(reference).read(level_parts(level)[1])
    except ValueError as error:
        raise ValueError(f"{factor} {level!r}: {error}") from error


def taken(architecture: Definition) -> set[str]:
    """The factors that an architecture makes use of."""
    return {factor for argument in architecture.takes for factor in ARGUMENTS.get(argument, ())}


def problems(levels: Mapping[str, Value]) -> list[str]:
    """Why levels, each legal by itself, do not go together; nothing if they do.

    `levels` holds architecture, coordinates, pooling and width, perhaps placement, head and padding (see DEFAULTS);
    other factors are ignored.
    """
    whole: dict[str, Any] = {**DEFAULTS, **levels}
    architecture, of_architecture = resolve("architecture", whole["architecture"])
    net = _Net(
        **{
            factor: level_parts(whole[factor])[0]
            for factor in (*REGISTRIES, "placement", "padding")
        },
        width=whole["width"],
        takes=taken(definition(architecture)),
        of_architecture=of_architecture,
        of_head=resolve("head", whole["head"])[1],
    )
    return [reason for rule in RULES for reason in rule(net)]


def has_logits(levels: Mapping[str, Value]) -> bool:
    """Whether a net can be trained on cross-entropy; what a user's own net can is found out when it is trained."""
    whole: dict[str, Any] = {**DEFAULTS, **levels}
    names = {factor: level_parts(whole[factor])[0] for factor in WITH_LOGITS}
    own = names["architecture"] not in ARCHITECTURES
    return own or any(names[factor] in known for factor, known in WITH_LOGITS.items())


def _shown(level: str) -> str:
    """The name of a level, without the folder of its file."""
    return level_parts(level)[0].rpartition("/")[2]


@dataclass(frozen=True)
class _Net:
    """What the rules ask of a net: its levels by name, and the parameters of two of them."""

    architecture: str
    coordinates: str
    pooling: str
    width: int
    head: str
    placement: str
    padding: str
    takes: set[str]  # factors
    of_architecture: dict[str, Value]
    of_head: dict[str, Value]


def _not_taken(net: _Net) -> list[str]:
    return [
        f"architecture {net.architecture} takes no {factor}: it goes with {factor} {neutral} alone"
        for factor, neutral in NEUTRAL.items()
        if factor not in net.takes and getattr(net, factor) != neutral
    ]


def _pooling(net: _Net) -> list[str]:
    if "pooling" not in net.takes:
        return []
    by_itself = net.architecture == "set_transformer"
    if net.head == "least_squares" and not net.of_head["residual"]:
        by_itself = True
    if by_itself and net.pooling != "none":
        who = net.architecture if net.architecture == "set_transformer" else "head least_squares"
        return [f"{who} pools by itself: it goes with pooling none alone"]
    users = ":" in net.architecture  # which may give a vector: found out when it is built
    if not by_itself and not users and net.pooling == "none":
        return [
            f"architecture {net.architecture} with head {net.head} needs a pooling other than none"
        ]
    return []


def _placement(net: _Net) -> list[str]:
    if net.placement == "first" or "placement" not in net.takes:
        return []
    if net.coordinates == "none":
        return [f"placement {net.placement} says nothing where coordinates are none"]
    if net.coordinates in FIRST_ONLY:
        return [f"coordinates {net.coordinates} are made of the image: placement is first alone"]
    if net.architecture == "conv1":
        return ["architecture conv1 has one convolution: placement is first alone"]
    return []


def _sets(net: _Net) -> list[str]:
    if net.architecture not in SETS:
        return []
    found = []
    if net.coordinates in ("none", "sinusoidal_added"):
        found.append(
            f"architecture {net.architecture} sees lit pixels alone and knows of each what coordinate channels say:"
            f" not with coordinates {net.coordinates}"
        )
    if net.architecture == "pointnet" and net.pooling not in (*SET_POOLINGS, "none"):
        found.append(
            f"pooling {net.pooling} weights or places unlit pixels, which pointnet does not see: it goes with "
            + ", ".join(SET_POOLINGS)
        )
    if net.architecture == "set_transformer":
        heads = net.of_architecture["attention_heads"]
        if net.width % int(heads):
            found.append(
                f"width {net.width} of set_transformer is no multiple of its {heads} attention heads"
            )
    return found


def _least_squares(net: _Net) -> list[str]:
    if net.head != "least_squares":
        return []
    if net.architecture in ("strided", "set_transformer") or net.padding == "none":
        what = (
            f"padding {net.padding}"
            if net.padding == "none"
            else f"architecture {net.architecture}"
        )
        return [
            f"head least_squares weighs every pixel, and {what} leaves no map of the image's size"
        ]
    return []


def _residual(net: _Net) -> list[str]:
    if net.architecture == "residual" and net.padding == "none":
        return ["architecture residual adds maps of one size: padding none makes them smaller"]
    return []


RULES: tuple[Callable[[_Net], list[str]], ...] = (
    _not_taken,
    _pooling,
    _placement,
    _sets,
    _least_squares,
    _residual,
)
