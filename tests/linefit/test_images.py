from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from linefit.images import SPLITS, LineImages, lab_images, lab_split, of_lab_prior
from tests.linefit.lab_generator import line_images

DIGESTS = json.loads(Path(__file__).with_name("lab5_digests.json").read_text())


def assert_same_bits(images: LineImages, size: int, dim: int, random_offset: int) -> None:
    pixels, params = line_images(size, dim, random_offset)
    np.testing.assert_array_equal(images.pixels, pixels.numpy())
    # Bits, not values: a slope of -0 is not a slope of 0.
    np.testing.assert_array_equal(images.params.view(np.uint32), params.numpy().view(np.uint32))


@pytest.mark.parametrize("name", DIGESTS)
def test_lab_splits_match_the_digests_of_the_original_data(name):
    images = lab_split(name)
    digest = hashlib.sha256(np.packbits(images.pixels.reshape(len(images), -1), axis=1).tobytes())
    digest.update(images.params.tobytes())
    assert digest.hexdigest() == DIGESTS[name]["sha256"]
    assert images.pixels.shape == (
        DIGESTS[name]["size"],
        DIGESTS[name]["dim"],
        DIGESTS[name]["dim"],
    )
    assert SPLITS[name].random_offset == DIGESTS[name]["random_offset"]


def test_no_two_splits_share_an_image_seed():
    seeds = {
        # The CPU generator sees the low 32 bits only: two seeds may not agree in those either.
        name: {(split.random_offset + index) % 2**32 for index in range(split.size)}
        for name, split in SPLITS.items()
        if name != "test_large_20000"  # the beginning of another, see below
    }
    for one, other in itertools.combinations(seeds, 2):
        assert not seeds[one] & seeds[other], (one, other)


def test_the_smaller_large_split_is_the_beginning_of_the_large_one():
    few, many = lab_split("test_large_20000"), SPLITS["test_large"]
    images = lab_images(200, random_offset=many.random_offset + len(few) - 200)
    np.testing.assert_array_equal(few.pixels[-200:], images.pixels)
    np.testing.assert_array_equal(few.params[-200:], images.params)
    assert len(few) == 20_000 < many.size
    assert of_lab_prior("test_large_20000")


def test_large_test_split_is_drawn_like_the_others():
    images = lab_split("test_large")
    assert len(images) == len(images.params) == 50_000
    assert_same_bits(LineImages(images.pixels[:20], images.params[:20]), 20, 40, 10_000_000)


@given(
    size=st.integers(0, 12),
    dim=st.integers(5, 70),
    random_offset=st.integers(-(2**63), 2**64 - 12),
)
@example(size=12, dim=40, random_offset=2**32 - 6)
@example(size=12, dim=41, random_offset=-6)
@example(size=12, dim=40, random_offset=2**64 - 12)
@example(size=12, dim=40, random_offset=-(2**63))
@example(size=2, dim=3, random_offset=0)
@example(size=3, dim=4, random_offset=7)
@example(size=3, dim=500, random_offset=7)
@settings(deadline=None, max_examples=60)
def test_images_equal_those_drawn_one_by_one(size, dim, random_offset):
    images = lab_images(size, dim, random_offset)
    if size:
        assert_same_bits(images, size, dim, random_offset)
    else:
        assert images.pixels.shape == (0, dim, dim)
        assert images.params.shape == (0, 2)


def test_images_do_not_depend_on_how_many_are_drawn():
    many, last = lab_images(9000, 10), lab_images(1000, 10, 8000)
    np.testing.assert_array_equal(many.pixels[8000:], last.pixels)
    np.testing.assert_array_equal(many.params[8000:], last.params)


@given(st.integers(3, 60), st.integers(0, 10**6))
@settings(deadline=None, max_examples=20)
def test_images_show_at_least_three_columns_of_a_line_that_never_is_vertical(dim, random_offset):
    images = lab_images(20, dim, random_offset)
    assert images.pixels.dtype == bool
    assert images.params.dtype == np.float32
    assert (images.pixels.sum(axis=1) <= 1).all()  # one pixel a column
    assert (images.pixels.any(axis=1).sum(axis=1) > 2).all()
    assert not images.pixels[:, 0].any()  # y < dim
    assert np.isfinite(images.params).all()


def test_global_random_states_are_left_alone():
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    lab_images(100)
    assert torch.equal(torch_state, torch.get_rng_state())
    np.testing.assert_equal(np.random.get_state(), numpy_state)  # noqa: NPY002


def test_oracle_draws_the_stream_of_torch_manual_seed():
    seeds = [0, 1, 99_999, 2**32 - 1, 2**32, 2**64 - 1, -1, -(2**63)]
    with torch.random.fork_rng(devices=[]):
        for seed in seeds:
            torch.manual_seed(seed)
            generator = torch.Generator().manual_seed(seed)
            assert torch.equal(torch.rand(700), torch.rand(700, generator=generator))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1,), "size -1 is negative"),
        ((5, 2), "dim 2 is below 3"),
        ((5, 40, 2**64 - 4), "random_offset 18446744073709551612 with size 5"),
        ((5, 40, -(2**63) - 1), "legal are -2\\^63 to 2\\^64 - 1"),
    ],
)
def test_illegal_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        lab_images(*arguments)


def test_unknown_split_is_named_with_the_legal_ones():
    with pytest.raises(ValueError, match="split 'tset' is not one of train, val, test, test_large"):
        lab_split("tset")
