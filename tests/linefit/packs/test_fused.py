"""Triton's kernels against those in plain torch, in Triton's interpreter: `tox -e gpu` runs this without a GPU."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from linefit.architectures import build
from linefit.images import lab_images
from linefit.packs.kernels.choice import kernels
from linefit.packs.kernels.interface import Kernels, Maps
from tests.linefit.packs.cells import orders
from tests.linefit.packs.test_network import assert_agrees, maximum_of_ramp

pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("needs TRITON_INTERPRET=1 or a GPU", allow_module_level=True)

F64 = torch.float64
PLAIN, FUSED = kernels("plain"), kernels("fused")


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def table(rows: int, channels: int) -> Tensor:
    values = torch.randn(rows + 1, channels, generator=draw(), dtype=F64)
    values[-1] = 0
    return values


@pytest.mark.parametrize("channels", [1, 5, 70])
@pytest.mark.parametrize("per_bag", [1, 9, 40])
@pytest.mark.parametrize("weighted", [False, True])
def test_bag_sums(channels: int, per_bag: int, weighted: bool) -> None:
    values = table(11, channels)
    index = torch.randint(0, 12, (7, per_bag), generator=draw(1))
    weights = torch.randn(7, per_bag, generator=draw(2), dtype=F64) if weighted else None
    expected = (values[index] * (1 if weights is None else weights[..., None])).sum(1)
    for each in (PLAIN, FUSED):
        torch.testing.assert_close(each.bag_sums(values, index, weights), expected)


@pytest.mark.parametrize("weighted", [False, True])
def test_ragged_bag_sums(weighted: bool) -> None:
    values = table(11, 6)[:-1]
    bounds = torch.tensor([0, 0, 3, 4, 40, 40, 57])
    index = torch.randint(0, 11, (57,), generator=draw(1))
    weights = torch.randn(57, generator=draw(2), dtype=F64) if weighted else None
    taken = values[index] * (1 if weights is None else weights[:, None])
    expected = torch.stack([taken[a:b].sum(0) for a, b in itertools.pairwise(bounds)])
    for each in (PLAIN, FUSED):
        torch.testing.assert_close(each.ragged_bag_sums(values, index, bounds, weights), expected)


def test_absent_rows_are_not_read() -> None:
    """A NaN of another cell is not multiplied by a weight of zero."""
    values = torch.full((3, 2), torch.nan, dtype=F64)
    values[1:] = torch.tensor([[1.0], [0.0]])
    index = torch.tensor([[1, 2, 2]])
    for each in (PLAIN, FUSED):
        assert each.bag_sums(values, index).tolist() == [[1, 1]]


def maps(seed: int, cells: int, orders: int, empty: bool = False) -> tuple[Maps, Tensor]:
    """Random maps of 3 images of 12 sites, and the dense maps that they stand for `(P, 3, A, C)`."""
    area, channels, taps, size = 12, 5, 2, 3
    generator = draw(seed)
    # Coarse values, so that there are ties.
    background = torch.randint(-3, 4, (cells, area, channels), generator=generator).double()
    products = torch.randint(-2, 3, (41, channels), generator=generator).double()
    products[-1] = 0
    active = torch.rand(orders, size, area, generator=generator) < 0.6
    active[:, 1] = True
    if empty:
        active[:, 2] = False
    counts = active.sum(2)
    rows = int(counts.sum(1).max()) + 2
    start = torch.nn.functional.pad(counts.cumsum(1), (1, 0))
    site = torch.zeros(orders, rows, dtype=torch.int64)
    position = torch.full((orders * size + 1, area + 1), -1, dtype=torch.int16)
    for order in range(orders):
        at = active[order].nonzero()[:, 1]
        site[order, : len(at)] = at
        for image in range(size):
            found = active[order, image].nonzero()[:, 0]
            position[order * size + image, found] = torch.arange(len(found), dtype=torch.int16)
    index = torch.randint(0, 41, (cells, rows, taps), generator=generator)
    image = torch.arange(orders * size).view(orders, size)
    dense = background[:, None].repeat(1, size, 1, 1)
    for cell in range(cells):
        order = cell % orders
        for b in range(size):
            for row in range(int(start[order, b]), int(start[order, b + 1])):
                dense[cell, b, site[order, row]] += products[index[cell, row]].sum(0)
    return Maps(background, products, index, site, start, position, image), dense


@pytest.mark.parametrize("each", [PLAIN, FUSED], ids=["plain", "fused"])
@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("orders", [1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_maxima_are_those_of_the_dense_maps(
    each: Kernels, empty: bool, orders: int, seed: int
) -> None:
    found_in, dense = maps(seed, 2, orders, empty)
    found = each.maxima(found_in, candidates=12, enough=True)
    assert torch.equal(found.value, dense.amax(2))
    assert torch.equal(dense.gather(2, found.site[:, :, None])[:, :, 0], found.value)
    assert not found.exhausted.any()
    few = each.maxima(found_in, candidates=1, enough=False)
    sure = ~few.exhausted
    assert torch.equal(few.value[sure], dense.amax(2)[sure])
    if each is FUSED:
        assert sure.all()


@pytest.mark.parametrize("where", ["background", "products"])
def test_nan_is_the_maximum(where: str) -> None:
    found_in, _ = maps(0, 1, 1)
    getattr(found_in, where)[..., 0, 2] = torch.nan
    for each in (PLAIN, FUSED):
        found = each.maxima(found_in, candidates=12, enough=True)
        expected = PLAIN.maxima(found_in, candidates=12, enough=True)
        torch.testing.assert_close(found.value, expected.value, equal_nan=True)
        assert found.value.isnan().any()
        assert not found.value[..., [0, 1, 3, 4]].isnan().any()


def test_first_row_wins_ties_in_both() -> None:
    for seed in range(6):
        found_in, _ = maps(seed, 2, 2)
        found, expected = (k.maxima(found_in, 12, enough=True) for k in (FUSED, PLAIN))
        tied_rows = found.value > found_in.background.amax(1)[:, None]
        assert torch.equal(found.site[tied_rows], expected.site[tied_rows])


def test_too_few_candidates_are_enough_for_the_fused_search() -> None:
    few, exhausted, dense = maximum_of_ramp(16, "fused")
    assert not exhausted.item()
    torch.testing.assert_close(few, dense)


@pytest.mark.parametrize("pooling", ["max", "average", "flatten"])
def test_gradients_are_those_of_dense_autograd(pooling: str) -> None:
    nets: list[nn.Module] = [
        build("conv2", "cartesian", pooling, 2, dim=6, seed=seed).double() for seed in range(2)
    ]
    assert_agrees(nets, lab_images(4, dim=6).pixels, orders([0, 1], 4)[:, :2], "fused")


def test_float32_and_numpy_agree() -> None:
    values = table(11, 6).float()
    index = torch.randint(0, 12, (7, 9), generator=draw(1))
    expected = values.numpy()[index.numpy()].sum(1)
    np.testing.assert_allclose(FUSED.bag_sums(values, index).numpy(), expected, rtol=1e-5)


COMPILE = """
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from linefit.packs.kernels import fused

POINTERS = {"index": "*i64", "bounds": "*i64", "taps": "*i64", "sites": "*i64", "start": "*i64", "image_of": "*i64",
            "top_site": "*i64", "site": "*i64", "position": "*i16"}
VALUES = {"table", "weights", "sums", "background", "products", "top", "value"}

def compiled(kernel, values, **constants):
    signature = {
        name: "constexpr" if name in constants else f"*{values}" if name in VALUES else POINTERS.get(name, "i32")
        for name in kernel.arg_names
    }
    return compile(ASTSource(kernel, signature, constants), target=GPUTarget("cuda", 90, 32)).asm

for values in ("fp32", "fp64"):
    for ragged in (False, True):
        for weighted in (False, True):
            size = dict(CHUNK=fused.CHUNK, BLOCK=64)
            assert compiled(fused.sum_bags, values, RAGGED=ragged, WEIGHTED=weighted, **size)["cubin"]
    for block in (8, 64):
        assert compiled(fused.find_maxima, values, TAPS=9, CHUNK=fused.CHUNK, BLOCK=block)["cubin"]
print("compiled")
"""


def test_kernels_compile_for_hopper() -> None:
    """To machine code, which takes no GPU, for every type and option that they are launched with."""
    environment = {**os.environ, "TRITON_DEFAULT_FP_FUSION": "1"}
    del environment["TRITON_INTERPRET"]
    ran = subprocess.run(
        [sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True
    )
    assert ran.stdout == "compiled\n", ran.stderr
