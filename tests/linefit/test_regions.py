"""Lines of a part of the plane of slope and intercept: images, val, training sets, the posterior and targets."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from linefit.examples import training_examples
from linefit.images import SPLITS, fresh_images, lab_images, lab_split, of_lab_prior
from linefit.posterior import posterior, posterior_mean, posterior_mode
from linefit.protocol import Protocol
from linefit.splits import training_images, validation_images
from linefit.yardsticks import YARDSTICKS
from tests.linefit.lab_generator import line_image

FRESH = 50_000_000
REGIONS = ("quadrant", "without_quadrant")


def inside(params):
    return np.array([m > 0 and c > 0 for m, c in np.asarray(params).reshape(-1, 2).tolist()])


@given(st.integers(3, 60), st.integers(0, 2**32 - 20), st.sampled_from(REGIONS))
@settings(deadline=None, max_examples=20)
def test_images_are_the_first_of_each_stream_with_such_a_line(dim, random_offset, region):
    """The oracle is the lab's generator in torch, which goes on drawing until the line is one of those."""
    images, quadrant = lab_images(6, dim, random_offset, region), region == "quadrant"

    def wanted(m, c):
        return (m > 0 and c > 0) == quadrant

    for i in range(6):
        pixels, params = line_image(dim, random_offset + i, wanted)
        np.testing.assert_array_equal(images.pixels[i], pixels.numpy())
        np.testing.assert_array_equal(images.params[i], params.numpy())


def test_what_is_of_the_region_already_is_the_labs():
    lab = lab_images(3000, random_offset=FRESH)
    of_lab = inside(lab.params)
    assert 0.3 < of_lab.mean() < 0.45
    for region, own in (("quadrant", of_lab), ("without_quadrant", ~of_lab)):
        images = lab_images(3000, random_offset=FRESH, region=region)
        np.testing.assert_array_equal(images.pixels[own], lab.pixels[own])
        np.testing.assert_array_equal(images.params[own], lab.params[own])
        assert (inside(images.params) == (region == "quadrant")).all()
        assert images.region == region


def test_the_split_is_inside_and_what_nets_are_shown_outside():
    """Every slope and every intercept of the split is trained on, but never both together."""
    split = lab_split("held_out_region")
    assert len(split) == SPLITS["held_out_region"].size
    assert inside(split.params).all()
    assert not of_lab_prior("held_out_region")
    train, val = training_images(5000, "without_quadrant"), validation_images("without_quadrant")
    for shown in (train, val, fresh_images(3000, 4, region="without_quadrant")):
        assert not inside(shown.params).any()
    assert (len(train), len(val)) == (5000, 500)
    for column in (0, 1):
        assert set(split.params[:, column]) <= set(train.params[:, column])
    np.testing.assert_array_equal(validation_images().pixels, lab_split("val").pixels)


@pytest.mark.parametrize("training_set", ["fixed", "per_seed", "fresh"])
@pytest.mark.parametrize("target", ["truth", "posterior"])
def test_no_training_set_and_no_target_knows_of_the_quadrant(training_set, target):
    form = ("dense", torch.float64, torch.device("cpu"))
    protocol = Protocol(
        train_size=400,
        training_set=training_set,
        target=target,
        training_region="without_quadrant",
    )
    examples = training_examples(protocol, 3, *form)(2)
    assert len(examples) == 400
    pixels = examples.images.images[:, 0].bool().numpy()
    if target == "truth":
        assert not inside(examples.targets).any()
    else:
        np.testing.assert_array_equal(examples.targets, posterior_mean(pixels, "without_quadrant"))


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("dim", [5, 40])
def test_the_posterior_of_a_region_is_what_its_images_show(dim, region):
    """By simulation: the mean is right on average, and errs by as much as the variance says."""
    images = lab_images(20_000, dim, FRESH, region)
    found = posterior(images.pixels, region)
    errors = found.mean - images.params
    for values in (errors, errors**2 - found.variance):
        z = values.mean(axis=0) / (values.std(axis=0) / np.sqrt(len(values)))
        assert (np.abs(z) < 4).all()


@pytest.mark.parametrize("region", REGIONS)
def test_the_posterior_of_a_region_is_the_labs_without_the_other_lines(region):
    pixels = lab_images(300, 5, FRESH, region).pixels
    whole, found, mode = (
        posterior(pixels),
        posterior(pixels, region),
        posterior_mode(pixels, region),
    )
    own = inside(whole.params) == (region == "quadrant")
    changed = 0
    for i in range(300):
        mine = own & (whole.image == i)
        share = whole.probability[mine] / whole.probability[mine].sum()
        np.testing.assert_allclose(found.mean[i], share @ whole.params[mine], rtol=1e-10)
        assert (inside(mode[i]) == (region == "quadrant")).all()
        changed += not np.allclose(found.mean[i], whole.mean[i])
    assert changed > 10


def test_the_floor_of_a_region_is_below_the_posterior_mean_of_the_labs_prior():
    """On images of 5 x 5, which say little of their lines; on the lab's both are nearly the same."""
    images = lab_images(20_000, 5, FRESH, "quadrant")
    train = lab_images(500)
    lab, own = (YARDSTICKS["posterior_mean"](train, r)(images.pixels) for r in ("all", "quadrant"))
    errors = [((lines - images.params) ** 2).mean(axis=1) for lines in (lab, own)]
    gain = errors[0] - errors[1]
    assert gain.mean() > 4 * gain.std() / np.sqrt(len(gain))
    np.testing.assert_array_equal(own, posterior(images.pixels, "quadrant").mean)


def test_an_image_that_no_line_of_the_region_draws_is_refused():
    pixels = np.zeros((1, 40, 40), dtype=bool)
    pixels[0, range(21, 31), range(10)] = True  # y = 19 - x
    assert posterior_mean(pixels)[0, 0] < 0
    with pytest.raises(ValueError, match="of one of its lines, here of lines with positive slope"):
        posterior(pixels, "quadrant")
