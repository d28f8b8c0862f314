"""A picture of the levels: what each encoding shows a net, and what each pooling reads of a map."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ablations.report.plots.style import MUTED, SMALL, THEME, Page, page
from linefit.architectures import make_level
from linefit.coordinates import coordinates_module
from linefit.images import LAB_DIM, lab_images
from linefit.levels import COORDINATES, POOLINGS

Array = npt.NDArray[np.float64]

MOST = 4  # channels of an encoding that are drawn
SIDE = 0.85  # inches of a heatmap
GAP = 0.08
NAME = 1.35  # inches for names
ROW = SIDE + 0.3
TOY = 12  # side of the map that poolings are shown on
ACROSS = 5  # poolings in a row
HEADING = 0.3  # inches
TOY_SIDE, TOY_ROW = 1.3, 1.65
NOTE = (
    "Encodings: the channels that a convolution is given beside an image of the lab, or in its place, at most 4 of"
    " them; blue is negative, red positive, each channel on a scale of its own; of random levels the draw of seed 0."
    " Poolings: the gradient of their outputs' sum with respect to each site of the map at the left (absolute values,"
    " dark is most), which is where a net learns from. Parameters are those that an untrained net starts with."
)


def plot_levels() -> Figure:
    """Every encoding as heatmaps of its channels, and every pooling by what it reads of a toy map."""
    encodings = {name: encoding_channels(name) for name in COORDINATES if name != "none"}
    readings = {name: pooling_reading(name) for name in POOLINGS if name != "none"}
    maps = {"the map": toy_map(), **readings}
    rows = -(-len(encodings) // 2)
    half = NAME + MOST * (SIDE + GAP) + 0.3
    top_of_maps = HEADING + rows * ROW + HEADING
    height = top_of_maps + -(-len(maps) // ACROSS) * TOY_ROW + 0.1
    with mpl.rc_context(THEME):
        body = page(2 * half, height, title="Levels: encodings and poolings", note=NOTE)
        _heading(body, 0, "What an encoding shows")
        for i, (name, channels) in enumerate(encodings.items()):
            left, top = (i // rows) * half + NAME, HEADING + (i % rows) * ROW
            for k, channel in enumerate(channels[:MOST]):
                axes = body.axes(left + k * (SIDE + GAP), top, SIDE, SIDE)
                _heatmap(axes, channel, "vlag", float(np.abs(channel).max()) or 1.0, signed=True)
                if k == 0:
                    more = f"\n{len(channels)} channels" if len(channels) > MOST else ""
                    label = axes.text(-0.12, 0.5, name + more, ha="right", va="center")
                    label.set_transform(axes.transAxes)
        _heading(body, top_of_maps - HEADING, "What a pooling reads")
        for i, (name, reading) in enumerate(maps.items()):
            left, top = (i % ACROSS) * 2 * half / ACROSS, top_of_maps + (i // ACROSS) * TOY_ROW
            axes = body.axes(left, top + 0.2, TOY_SIDE, TOY_SIDE)
            _heatmap(axes, reading, "rocket_r", float(reading.max()) or 1.0, signed=False)
            axes.set_title(name, loc="left", pad=3)
    return body.figure


def encoding_channels(name: str) -> Array:
    """`(C, dim, dim)`: what stands beside the first image of the lab, or what it has become."""
    image = torch.from_numpy(lab_images(1).pixels)[None].float()
    torch.manual_seed(0)
    with torch.no_grad():
        made = coordinates_module(name, LAB_DIM, LAB_DIM)(image)[0]
    beside = torch.equal(made[:1], image[0])
    channels: Array = made[1 if beside else 0 :].double().numpy()
    return channels


def toy_map() -> Array:
    """`(TOY, TOY)`: two hills, the higher one narrow, on a plain of 0."""
    y, x = np.mgrid[:TOY, :TOY]
    wide = 1.2 * np.exp(-((y - 8) ** 2 + (x - 3) ** 2) / 8)
    narrow = 2 * np.exp(-((y - 2) ** 2 + (x - 8) ** 2) / 2)
    hills: Array = wide + narrow
    return hills


def pooling_reading(name: str) -> Array:
    """`(TOY, TOY)`: how strongly each site of the toy map moves what the pooling gives."""
    maps = torch.from_numpy(toy_map()).float()[None, None].requires_grad_()
    torch.manual_seed(0)
    module = make_level("pooling", name, channels=1, height=TOY, width=TOY)
    module(maps).sum().backward()
    assert maps.grad is not None
    return maps.grad[0, 0].abs().double().numpy()


def _heading(body: Page, top: float, text: str) -> None:
    axes = body.axes(0, top, 3, HEADING)
    axes.set_axis_off()
    axes.text(0, 0.5, text, weight="bold", ha="left", va="center")


def _heatmap(axes: Axes, values: Array, colours: str, scale: float, *, signed: bool) -> None:
    axes.imshow(
        values,
        cmap=sns.color_palette(colours, as_cmap=True),
        vmin=-scale if signed else 0,
        vmax=scale,
        interpolation="nearest",
    )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.tick_params(labelsize=SMALL)
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(MUTED)
