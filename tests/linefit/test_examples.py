"""Training sets: one for all seeds, one a seed, one an epoch; never an image of another split or epoch."""

import itertools

import numpy as np
import pytest
import torch

from linefit.examples import training_examples
from linefit.images import FRESH_SEEDS, MOST_FRESH, SPLITS, fresh_images, lab_images
from linefit.posterior import posterior_mean
from linefit.protocol import Protocol

FORM = ("dense", torch.float64, torch.device("cpu"))


def targets(seed, epoch, **settings):
    protocol = Protocol(train_size=30, **settings)
    return training_examples(protocol, seed, *FORM)(epoch).targets.numpy()


def test_fixed_is_the_labs_and_made_once():
    make = training_examples(Protocol(train_size=30), 0, *FORM)
    other_seed = training_examples(Protocol(train_size=30), 1, *FORM)
    assert make(1) is make(2) is other_seed(1)
    np.testing.assert_array_equal(make(1).targets, lab_images(30).params)


def test_per_seed_is_another_set_for_every_seed():
    make = training_examples(Protocol(train_size=30, training_set="per_seed"), 0, *FORM)
    assert make(1) is make(2)
    sets = [targets(seed, 1, training_set="per_seed") for seed in range(4)]
    sets.append(lab_images(30).params)
    for one, other in itertools.combinations(sets, 2):
        assert not np.array_equal(one, other)


def test_fresh_is_another_set_for_every_epoch_in_the_stream_of_the_seed():
    stream = fresh_images(90, 5)
    found = [targets(5, epoch, training_set="fresh") for epoch in (1, 2, 3)]
    np.testing.assert_array_equal(np.concatenate(found), stream.params)


def test_targets_may_be_the_posteriors():
    found = targets(5, 2, training_set="fresh", target="posterior")
    np.testing.assert_array_equal(found, posterior_mean(fresh_images(30, 5, first=30).pixels))


def test_fresh_images_are_the_labs_at_seeds_of_their_own(monkeypatch):
    """Seeds of fresh images reach into no split's, nor, in ten streams of ten million, into each other's."""
    ranges = []

    def drawn(size, random_offset, region):
        ranges.append(range(random_offset, random_offset + size))

    monkeypatch.setattr("linefit.images.lab_images", drawn)
    for stream in [*range(10), 2**32 - 1]:
        fresh_images(10_000_000, stream, first=MOST_FRESH - 10_000_000)
        fresh_images(10_000_000, stream)
    for found in ranges:
        assert found.start in FRESH_SEEDS
        assert found.stop - 1 in FRESH_SEEDS
    for split in SPLITS.values():
        assert split.random_offset + split.size <= FRESH_SEEDS.start
    starts = sorted((found.start, found.stop) for found in ranges)
    for (_, stop), (start, _) in itertools.pairwise(starts):
        assert stop <= start


@pytest.mark.parametrize(("streams", "apart"), [(10, 1.1e8), (100, 1.0e7), (1000, 9.1e5)])
def test_streams_start_as_far_apart_as_the_docstring_says(monkeypatch, streams, apart):
    starts = []
    monkeypatch.setattr(
        "linefit.images.lab_images", lambda _, random_offset, region: starts.append(random_offset)
    )
    for stream in range(streams):
        fresh_images(1, stream)
    assert np.diff(np.sort(starts)).min() >= apart


def test_a_stream_ends():
    assert len(fresh_images(1, 3, first=MOST_FRESH - 1)) == 1
    with pytest.raises(ValueError, match="it has 0 to 134217727"):
        fresh_images(2, 3, first=MOST_FRESH - 1)
