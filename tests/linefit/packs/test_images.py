"""Tables of a pack's images: those of a loop over pixels, wherever other images have been before."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from linefit.deltamap.footprints import Kernel
from linefit.images import fresh_images
from linefit.packs.images import Active, HostSites, PackImages
from tests.linefit.packs.cells import CPU, data

KERNEL = Kernel((3, 3), (1, 1))


def dilated(mask: NDArray[np.bool_], kernel: Kernel) -> NDArray[np.bool_]:
    """Sites of one image that a convolution computes from an active one, by a loop."""
    height, width = mask.shape
    return np.array(
        [
            [
                any(
                    0 <= y + i < height and 0 <= x + j < width and mask[y + i, x + j]
                    for i, j in kernel.offsets
                )
                for x in range(width)
            ]
            for y in range(height)
        ]
    )


def assert_tables(active: Active, masks: NDArray[np.bool_]) -> None:
    """The tables of a depth say which sites `(N, H, W)` are active."""
    flat = masks.reshape(len(masks), -1)
    for image, mask in enumerate(flat):
        start, end = active.start[image].item(), active.start[image + 1].item()
        sites = np.flatnonzero(mask)
        assert active.site[start:end].tolist() == sites.tolist()
        expected = np.full(flat.shape[1] + 1, -1)
        expected[sites] = np.arange(len(sites))
        assert active.position[image].tolist() == expected.tolist()
    assert (active.position[-1] == -1).all()
    assert active.site[-1] == 0


@settings(max_examples=20, deadline=None)
@given(
    pixels=arrays(np.bool_, (3, 5, 6), elements=st.booleans(), fill=st.just(False)),
    sizes=st.lists(
        st.tuples(st.sampled_from([1, 3, 5]), st.sampled_from([1, 3])), min_size=1, max_size=2
    ),
    dilation=st.sampled_from([1, 2, 4]),
)
def test_tables_are_those_of_a_loop(
    pixels: NDArray[np.bool_], sizes: list[tuple[int, int]], dilation: int
) -> None:
    """Kernels that are not square, and taps that never lie in the map."""
    kernels = [Kernel(size, (dilation, dilation)) for size in sizes]
    images, masks = PackImages(pixels, kernels, CPU), pixels
    for depth in range(len(kernels) + 1):
        assert_tables(images.active(depth), masks)
        assert images.host.counts[depth].tolist() == masks.sum((1, 2)).tolist()
        assert images.most(depth) == masks.sum((1, 2)).max()
        if depth < len(kernels):
            masks = np.stack([dilated(mask, kernels[depth]) for mask in masks])


@pytest.mark.parametrize("width", [1, 8, 62, 63])
def test_rows_of_any_width_fit_into_a_word(width: int) -> None:
    pixels = np.random.default_rng(0).random((2, 3, width)) < 0.3
    images = PackImages(pixels, [KERNEL], CPU)
    assert_tables(images.active(0), pixels)
    assert_tables(images.active(1), np.stack([dilated(mask, KERNEL) for mask in pixels]))
    capacity = images.host.capacity(np.arange(2)[None], 2, per_site=True)
    both = sum(dilated(mask, KERNEL).astype(int) for mask in pixels)
    assert capacity.per_site == max(1, np.max(both))


def test_images_that_are_too_wide_are_refused() -> None:
    with pytest.raises(ValueError, match="64 pixels wide: packs take at most 63"):
        HostSites(np.zeros((1, 2, 64), bool), [])


def addresses(images: PackImages) -> list[int]:
    return [
        tensor.data_ptr()
        for depth in range(images.depth + 1)
        for tensor in vars(images.active(depth)).values()
    ]


def test_other_images_take_the_place_of_those_before() -> None:
    kernels = [KERNEL, KERNEL]
    splits = [data(30, 1000 * i).pixels for i in range(4)]
    images = PackImages(splits[0], kernels, CPU)
    stayed = []
    for split in [*splits[1:], splits[1]]:
        before = addresses(images)
        stayed.append(images.load(HostSites(split, kernels)))
        assert not stayed[-1] or addresses(images) == before
        expected = PackImages(split, kernels, CPU)
        for depth in range(3):
            masks = expected.active(depth).position[:-1, :-1] >= 0
            assert_tables(images.active(depth), masks.view(30, *split.shape[1:]).numpy())
            assert images.most(depth) >= expected.most(depth)
    assert stayed[-1]  # there is room for what was here before


def test_sets_of_a_useful_size_stay_after_a_few() -> None:
    """So that steps are not recorded anew in each epoch of fresh images."""
    images = PackImages(fresh_images(1500, 0).pixels, [KERNEL] * 2, CPU)
    stayed = [
        images.load(HostSites(fresh_images(1500, 0, first=1500 * epoch).pixels, [KERNEL] * 2))
        for epoch in range(1, 6)
    ]
    assert stayed == [False, True, True, True, True]  # until then the most was known


def test_fewer_active_sites_than_before_fit_and_many_more_do_not() -> None:
    few, many = np.zeros((2, 5, 5), bool), np.ones((2, 5, 5), bool)
    few[:, 2, 2] = True
    images = PackImages(few, [KERNEL], CPU)
    images.load(HostSites(few, [KERNEL]))
    assert images.load(HostSites(few, [KERNEL]))
    assert not images.load(HostSites(many, [KERNEL]))
    assert images.load(HostSites(few, [KERNEL]))
    assert images.host.counts[1].tolist() == [9, 9]
    assert images.most(0) == 25
    assert_tables(images.active(0), few)
