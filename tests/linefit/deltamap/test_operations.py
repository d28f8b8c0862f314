"""Single operations on delta maps, their errors, and what a step asks of the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from linefit.architectures import build
from linefit.deltamap import DeltaImages, DeltaMap, UnsupportedOperation
from linefit.deltamap.kernels import KERNELS
from linefit.deltamap.sites import LIT, Batch, Kernel, SiteTables
from linefit.images import lab_images

DIM = 12
PIXELS = lab_images(6, dim=DIM).pixels
CONSTANT = torch.linspace(-1, 1, 4 * DIM * DIM, dtype=torch.float64).view(4, DIM, DIM)
WEIGHT = torch.linspace(-1, 1, 36, dtype=torch.float64).view(4, 1, 3, 3).sin()


def dense_images() -> Tensor:
    return torch.from_numpy(PIXELS)[:, None].double()


def feature_map(images: Any) -> Any:
    """Four channels `(6, 4, 12, 12)`, of dense images or of delta maps."""
    return F.conv2d(images, WEIGHT, torch.arange(4.0, dtype=torch.float64), padding=1)


def one_channel(x: Any) -> Any:
    return F.conv2d(x, WEIGHT.view(1, 4, 3, 3), padding=1)


def circular(x: Any) -> Any:
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="circular"), WEIGHT.view(1, 4, 3, 3)) + x


OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "plus a number": lambda x: 1 + x + 2,
    "minus": lambda x: 1 - (x - 3),
    "negated and divided": lambda x: -x / 2,
    "power": lambda x: x**2,
    "absolute value": lambda x: abs(x),
    "activation of torch._C in place": lambda x: F.leaky_relu_(x),
    "times a constant per channel": lambda x: x * CONSTANT[:, :1, :1],
    "constant map plus": lambda x: CONSTANT + x,
    "minus a constant map": lambda x: x - CONSTANT[None],
    "constant map minus": lambda x: CONSTANT[0] - x,
    "expanded over the batch": lambda x: x + CONSTANT.expand(len(x), -1, -1, -1),
    "over a constant map": lambda x: x / (CONSTANT + 3),
    "one channel times many": lambda x: (
        F.conv2d(x, WEIGHT.view(1, 4, 3, 3), padding="same") * CONSTANT
    ),
    "product of maps": lambda x: x * x.tanh(),
    "maps at different sites": lambda x: x - feature_map(one_channel(x)),
    "concatenated": lambda x: torch.cat(
        [CONSTANT.expand(len(x), -1, -1, -1), x, feature_map(one_channel(x))], dim=1
    ),
    "through a view": lambda x: (
        x.flatten(2).view(len(x), 4, DIM, DIM).reshape(len(x), -1, DIM, DIM)
    ),
    "flattened, plus a constant": lambda x: x.flatten(2) + CONSTANT.flatten(1),
    "flattened to vectors": lambda x: x.flatten(1).relu(),
    "flattened to vectors, times one value": lambda x: x.flatten(1) * CONSTANT[0, 0, :1],
    "dilated": lambda x: F.conv2d(x, WEIGHT.view(1, 4, 3, 3), padding=2, dilation=2),
    "valid": lambda x: F.conv2d(x, WEIGHT.view(1, 4, 3, 3)),
    "even kernel": lambda x: F.conv2d(
        x, WEIGHT[:1, :, :2, :2].expand(1, 4, 2, 2), padding=1, dilation=(1, 2)
    ),
    "grows and shrinks": lambda x: F.conv2d(
        F.conv2d(x, WEIGHT.view(1, 4, 3, 3), padding=3), WEIGHT[:2]
    ),
    "a copy, whose original is changed in place": lambda x: (x.clone(), x.relu_())[0],
    "padded with a value": lambda x: F.pad(x, (1, 0, 2, 3), value=0.5).sigmoid(),
    "cropped": lambda x: F.pad(x, (-1, 2, -3, 0)),
    "padded columns": lambda x: F.pad(x, (2, 1)),
    "circular twice": lambda x: circular(circular(x.tanh())),
    "reflected, then dense connections": lambda x: torch.cat(
        [x, F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), WEIGHT.view(1, 4, 3, 3)), circular(x)],
        dim=1,
    ),
    "not square": lambda x: F.conv2d(
        x, WEIGHT[:1].view(1, 1, 1, 9).expand(2, 4, 1, 9), padding=(0, 4)
    ),
}


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_agrees_with_its_dense_form(name: str, padded: bool) -> None:
    images = DeltaImages(PIXELS, torch.float64, padded=padded).batch(range(len(PIXELS)))
    found = OPERATIONS[name](feature_map(images))
    expected = OPERATIONS[name](feature_map(dense_images()))
    assert isinstance(found, DeltaMap)
    assert found.shape == expected.shape
    assert found.size(1) == expected.size(1)
    assert (found.dim(), len(found)) == (expected.dim(), len(expected))
    torch.testing.assert_close(found.to_dense(), expected, rtol=1e-12, atol=1e-12)


UNSUPPORTED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "stride": (
        lambda x: F.conv2d(x, WEIGHT.view(1, 4, 3, 3), stride=2, padding=1),
        "conv2d.*stride",
    ),
    "even kernel that keeps the size": (
        lambda x: F.conv2d(x, WEIGHT[:1, :, :2, :2].expand(1, 4, 2, 2), padding="same"),
        "even",
    ),
    "padded channels": (lambda x: F.pad(x, (0, 0, 0, 0, 1, 1)), "pad"),
    "groups": (lambda x: F.conv2d(x, WEIGHT, padding=1, groups=4), "conv2d.*groups"),
    "dropout": (nn.Dropout(), "dropout"),
    "channel softmax": (lambda x: x.softmax(1), "softmax"),
    "two softmaxes": (lambda x: x.flatten(2).softmax(-1) * x.flatten(2).softmax(-1), "mul"),
    "log of a softmax": (lambda x: x.flatten(2).softmax(-1).log(), "log"),
    "a tensor per image": (lambda x: x + torch.ones(len(x), 1, 1, 1), "add.*image to image"),
    "linear over columns": (nn.Linear(DIM, 1).double(), "linear"),
    "permute": (lambda x: x.permute(0, 2, 3, 1), "permute"),
    "indexing": (lambda x: x[:, 0], "__getitem__"),
    "comparison": (lambda x: x > 0, "__gt__"),
    "attribute": (lambda x: x.T, "Tensor.T"),
    "another overload": (
        lambda x: x.mean(dim=(2, 3), dtype=torch.float32),
        "mean: with these arguments",
    ),
    "a given output": (lambda x: torch.add(x, 1, out=torch.zeros(1)), "add: into a given output"),
    "stacking images": (lambda x: torch.cat([x, x]), "cat"),
    "equality": (lambda x: x == 0, "__eq__"),
    "in place on a view": (lambda x: F.relu(x.flatten(2), inplace=True), "in place"),
    "in place on what has a view": (lambda x: (x.flatten(2), x.relu_()), "in place"),
    "under autocast": (
        lambda x: torch.autocast("cpu", torch.bfloat16)(lambda: x + 1)(),
        "add: under autocast",
    ),
    "in place into another type": (lambda x: x.mul_(1j), "in place"),
    "sum of softmaxes": (lambda x: x.flatten(2).softmax(-1) + 1, "add.*SpatialSoftmax"),
    "divided by a softmax": (lambda x: 1 / x.flatten(2).softmax(-1), "reciprocal"),
    "part of a softmax": (lambda x: x.flatten(2).softmax(-1)[:, 0], "__getitem__"),
    "attribute of a softmax": (lambda x: x.flatten(2).softmax(-1).T, "Tensor.T"),
    "softmax in place": (lambda x: x.flatten(2).softmax(-1).mul_(2), "in place.*SpatialSoftmax"),
    "a constant with more sites": (lambda x: x + torch.zeros(5 * DIM, 5 * DIM), "sites"),
    "a map added into a tensor": (lambda x: CONSTANT.clone().add_(x), "add_.*tensor"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_everything_else_raises_one_error_that_names_it(name: str) -> None:
    operation, message = UNSUPPORTED[name]
    images = DeltaMap.from_pixels(PIXELS, torch.float64)
    with pytest.raises(UnsupportedOperation, match=message):
        operation(feature_map(images))


def test_images_of_one_site_take_constants() -> None:
    pixels = np.array([[[True]], [[False]], [[True]]])
    images = DeltaImages(pixels, torch.float64).batch(range(3))
    dense = torch.from_numpy(pixels)[:, None].double()
    constant = torch.tensor([2.0, 3.0], dtype=torch.float64).view(1, 2, 1, 1).expand(3, -1, -1, -1)
    for operation in (lambda x: torch.cat([x, constant], 1), lambda x: x + constant):
        torch.testing.assert_close(operation(images).to_dense(), operation(dense))
    with pytest.raises(UnsupportedOperation, match="sites"):
        images + torch.zeros(2, 3, 3)


@pytest.mark.parametrize("kernels", ["torch", "numba"])
@pytest.mark.parametrize("levels", [("conv1", "none", "flatten"), ("conv2", "cartesian", "max")])
def test_an_empty_batch_is_empty(levels: tuple[str, str, str], kernels: Any) -> None:
    net = build(*levels, 2, seed=0)
    images = DeltaImages(lab_images(3).pixels, kernels=kernels)
    predictions = net(images.batch([]))
    predictions.sum().backward()
    assert predictions.shape == (0, 2)
    assert all(parameter.grad.abs().sum() == 0 for parameter in net.parameters())


def test_duplicates_in_a_padded_batch_are_refused() -> None:
    images = DeltaImages(PIXELS, padded=True)
    largest = int(PIXELS.sum((1, 2)).argmax())
    with pytest.raises(ValueError, match="repeat an image"):
        images.batch([largest, 0, largest])
    with pytest.raises(ValueError, match="at most 6"):
        Batch(images.tables, torch.zeros(7, dtype=torch.int64), KERNELS["torch"]).sites(LIT)
    # Where the host cannot look, an assertion of the device stands before the memory.
    with pytest.raises(RuntimeError, match="more rows than a padded batch"):
        Batch(images.tables, torch.full((3,), largest), KERNELS["torch"]).sites(LIT)


@pytest.mark.parametrize("use", [lambda x: x.amax((2, 3)), lambda x: x.rows])
@pytest.mark.parametrize("changed", ["weight", "bias"])
def test_a_weight_changed_before_its_convolution_is_computed_is_an_error(
    use: Callable[[DeltaMap], Any], changed: str
) -> None:
    layer = nn.Conv2d(1, 2, 3, padding=1)
    features = layer(DeltaMap.from_pixels(PIXELS)).relu()
    later = layer(DeltaMap.from_pixels(PIXELS))
    assert later.rows.shape[1] == 2
    with torch.no_grad():
        getattr(layer, changed).mul_(2)
    with pytest.raises(RuntimeError, match="modified in place"):
        use(features)
    use(later)  # computed before the change


def test_an_operation_in_place_broadcasts_no_more_than_torch_does() -> None:
    one = DeltaMap.from_pixels(PIXELS, torch.float64)
    with pytest.raises(RuntimeError, match="in place"):
        one += CONSTANT
    with pytest.raises(RuntimeError, match="broadcast"):
        torch.from_numpy(PIXELS)[:, None].double().add_(CONSTANT)


def test_a_kernel_larger_than_the_map_is_refused() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        F.conv2d(DeltaMap.from_pixels(PIXELS), torch.zeros(1, 1, 13, 13))


def test_bad_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="not binary"):
        DeltaImages(PIXELS * 0.5)
    with pytest.raises(ValueError, match=r"\(12, 12\)"):
        DeltaImages(PIXELS[0])
    with pytest.raises(ValueError, match="kernels='numba'"):
        DeltaImages(PIXELS, torch.bfloat16, kernels="numba")


def test_concatenation_broadcasts_no_more_than_torch_does() -> None:
    images = DeltaMap.from_pixels(PIXELS)
    for constant in (
        torch.zeros(1, 2, DIM, DIM),
        torch.zeros(1, 2, 1, 1).expand(len(PIXELS), -1, -1, -1),
    ):
        with pytest.raises(ValueError, match="cat: a tensor of shape"):
            torch.cat([images, constant], dim=1)


@pytest.mark.parametrize("shape", [(1, 2 * DIM * DIM), (1, 8 * DIM * DIM), (4 * DIM * DIM,)])
def test_a_linear_layer_of_another_size_is_refused(shape: tuple[int, ...]) -> None:
    features = feature_map(DeltaMap.from_pixels(PIXELS, torch.float64)).flatten(1)
    with pytest.raises(ValueError, match="linear: a weight of shape"):
        F.linear(features, torch.zeros(shape, dtype=torch.float64))


def test_maps_of_different_batches_do_not_mix() -> None:
    images = DeltaImages(PIXELS)
    with pytest.raises(ValueError, match="different batches"):
        images.batch([0]) + images.batch([1])


def test_in_place_operation_changes_the_map_that_others_hold() -> None:
    images = feature_map(DeltaMap.from_pixels(PIXELS, torch.float64))
    dense = feature_map(dense_images())
    held, before = images, one_channel(images)
    F.relu(images, inplace=True)
    images.mul_(2.0)
    images += CONSTANT
    images -= feature_map(one_channel(images))
    expected = 2 * F.relu(dense) + CONSTANT
    torch.testing.assert_close(held.to_dense(), expected - feature_map(one_channel(expected)))
    torch.testing.assert_close(before.to_dense(), one_channel(dense))


def test_values_first_asked_for_without_gradients_still_have_them() -> None:
    weight = WEIGHT.clone().requires_grad_()
    features = F.conv2d(DeltaMap.from_pixels(PIXELS, torch.float64), weight, padding=1)
    with torch.no_grad():
        assert features.rows.shape[1] == 4
    features.sum((2, 3)).sum().backward()
    assert weight.grad is not None


@pytest.mark.parametrize("indices", [[-1], [6], np.ones(6, dtype=bool), [0.0]])
def test_bad_indices_are_refused(indices: Any) -> None:
    with pytest.raises(ValueError, match="indices"):
        DeltaImages(PIXELS).batch(indices)


def test_active_sites_are_the_dilated_pixels() -> None:
    tables = SiteTables(PIXELS, torch.device("cpu"), padded=False)
    footprint = Kernel((3, 3), (1, 1)).dilate(Kernel((1, 5), (1, 2)).dilate(LIT))
    structure = np.zeros((3, 11), dtype=bool)
    for column in range(1, 10, 2):
        structure[:, column - 1 : column + 2] = True
    expected = np.stack([ndimage.binary_dilation(image, structure) for image in PIXELS])
    np.testing.assert_array_equal(tables.mask(footprint), expected)
    active = tables.active(footprint)
    assert active.most == expected.sum((1, 2)).max()
    assert active.start[-1] == expected.sum()


class DeviceOnly(TorchDispatchMode):
    """Fails where an operation hands data to the host, and records every shape that a step makes."""

    HOST = (
        "_local_scalar_dense",
        "nonzero",
        "masked_select",
        "unique",
        "item",
        "equal",
        "is_nonzero",
    )

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[str, tuple[int, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        masked = name in ("index", "index_put", "index_put_", "_index_put_impl_") and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if masked or any(name.startswith(host) for host in self.HOST):
            raise AssertionError(f"{name} makes the host wait")
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, Tensor):
                self.shapes.append((name, tuple(tensor.shape)))
        return result


@pytest.mark.parametrize(
    "net",
    [
        ("conv1", "none", "flatten"),
        ("conv2", "cartesian", "max"),
        ("conv3", "none", "average"),
        ("conv1", "cartesian", "grid2"),
        ("conv1", "none", "spatial_softmax"),
    ],
)
def test_a_padded_step_needs_no_host_and_no_shape_depends_on_data(
    net: tuple[str, str, str],
) -> None:
    model = build(*net, 3, seed=0)
    images = DeltaImages(lab_images(30).pixels, padded=True)
    model(images.batch(torch.arange(5))).sum().backward()  # builds the tables
    shapes = []
    for indices in (torch.arange(5), torch.arange(12, 17)):
        model.zero_grad()
        with DeviceOnly() as watch:
            model(images.batch(indices)).sum().backward()
        shapes.append(watch.shapes)
    assert len(shapes[0]) > 50
    assert shapes[0] == shapes[1]


def test_the_guard_sees_a_step_that_is_not_padded() -> None:
    images = DeltaImages(PIXELS, kernels="torch")
    with DeviceOnly(), pytest.raises(AssertionError, match="makes the host wait"):
        images.batch(torch.arange(3))


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("gap", [50.0, 1000.0])
def test_a_background_peak_that_rows_hide_leaves_sums_of_exponentials_exact(
    gap: float, padded: bool
) -> None:
    pixels = np.zeros((3, DIM, DIM), dtype=bool)
    pixels[0, 4, 5] = pixels[1, 4, 5] = pixels[1, 0, 0] = pixels[2, 7, 7] = True
    peak = torch.sin(torch.arange(DIM * DIM, dtype=torch.float64)).view(1, DIM, DIM)
    peak[0, 4, 5] += gap  # the background's peak, which images 0 and 1 hide and image 2 shows
    scale = torch.full((1, 1, 1, 1), -2 * gap, dtype=torch.float64, requires_grad=True)
    values = torch.linspace(-1, 1, DIM * DIM, dtype=torch.float64).view(1, DIM, DIM)

    def sums(images: Any) -> Tensor:
        logits = F.conv2d(images, scale) + peak
        weighted = (logits.flatten(2).softmax(-1).view(3, 1, DIM, DIM) * values).sum((2, 3))
        return torch.cat([torch.logsumexp(logits, dim=(2, 3)), weighted], dim=1)

    expected = sums(torch.from_numpy(pixels)[:, None].double())
    found = sums(DeltaImages(pixels, torch.float64, padded=padded).batch(range(3)))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    gradients = [torch.autograd.grad(x[:, 1].sum() + x[2, 0], scale)[0] for x in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)
