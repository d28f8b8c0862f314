"""Votes by a loop over pixels and lines; distributions; and that the net can be the posterior."""

import numpy as np
import pytest
import torch

from linefit.hough import Hough
from linefit.images import lab_images
from linefit.posterior import lab_prior, posterior_mean

SLOPES, INTERCEPTS = (np.unique(values) for values in (lab_prior().slope, lab_prior().intercept))
IMAGES = lab_images(6, random_offset=4_000_000)
BATCH = torch.from_numpy(IMAGES.pixels)[:, None].double()


def drawn(**parameters):
    """A net with parameters drawn at random, in float64."""
    net, generator = Hough(40, **parameters).double(), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(generator=generator)
    return net


def score(net, pixels, slope, intercept, resolution, reach):
    """Of one line, from the definition."""
    votes = net.votes.detach().numpy()
    line = list(SLOPES).index(slope) * len(INTERCEPTS) + list(INTERCEPTS).index(intercept)
    rows, columns = np.nonzero(pixels)
    total = net.bias[line].item() + net.count_weight[line].item() * len(rows) / 20
    for row, x in zip(rows, columns, strict=True):
        y = 40 - row
        step = round((y - (float(slope) * x + float(intercept))) * resolution)
        if abs(step) <= reach * resolution:
            total += votes[y % 2, step + reach * resolution]
    return total


@pytest.mark.parametrize(("resolution", "reach"), [(20, 2), (3, 1), (7, 40)])
def test_scores_are_the_votes_of_the_lit_pixels(resolution, reach):
    net = drawn(resolution=resolution, reach=reach)
    scores = net.scores(BATCH).detach().numpy()
    rng = np.random.default_rng(0)
    for image, pixels in enumerate(IMAGES.pixels):
        own = [IMAGES.params[image] + np.float32(0)]
        others = zip(rng.choice(SLOPES, 40), rng.choice(INTERCEPTS, 40), strict=True)
        for slope, intercept in [*own, *others]:
            expected = score(net, pixels, slope, intercept, resolution, reach)
            at = np.searchsorted(SLOPES, slope), np.searchsorted(INTERCEPTS, intercept)
            assert scores[image][at] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_logits_are_marginals_of_the_softmax_over_lines_and_the_prediction_its_mean():
    net = drawn()
    joint = net.scores(BATCH).flatten(1).softmax(1).view(len(BATCH), len(SLOPES), -1).detach()
    slope, intercept = (logits.softmax(1) for logits in net.logits(BATCH))
    torch.testing.assert_close(slope, joint.sum(2))
    torch.testing.assert_close(intercept, joint.sum(1))
    expected = np.stack(
        [slope.detach().numpy() @ SLOPES, intercept.detach().numpy() @ INTERCEPTS], axis=1
    )
    np.testing.assert_allclose(net(BATCH).detach(), expected, rtol=1e-6)


def test_gradients_by_finite_differences():
    net = drawn(resolution=2, reach=1)
    weight = torch.linspace(-1, 1, 2, dtype=torch.float64)
    (net(BATCH) @ weight).sum().backward()
    for parameter, index in ((net.votes, (1, 2)), (net.bias, 2000), (net.count_weight, 2000)):
        found, change = parameter.grad[index].item(), 1e-5
        ends = []
        with torch.no_grad():
            for sign in (1, -1):
                parameter[index] += sign * change
                ends.append((net(BATCH) @ weight).sum().item())
                parameter[index] -= sign * change
        assert found == pytest.approx((ends[0] - ends[1]) / (2 * change), rel=1e-4, abs=1e-8)


def test_a_box_of_votes_gives_nearly_the_posterior_mean():
    """Votes that rule out a line further than half a pixel away, exact halves by the row, and the prior as biases."""
    images = lab_images(2000, random_offset=4_000_000)
    # Where all columns show the line, how many are lit says nothing about it.
    ends = images.params[:, :1] * [0, 39] + images.params[:, 1:]
    inside = ((ends > 1) & (ends < 39)).all(axis=1)
    pixels = images.pixels[inside]
    assert len(pixels) > 50
    net = Hough(40).double()
    step = torch.arange(-20, 21)
    prior = lab_prior()
    with torch.no_grad():
        box = torch.where(step.abs() < 10, 0.0, -60.0)
        net.votes[0], net.votes[1] = torch.where(step.abs() == 10, 0.0, box), box
        net.votes += 60
        for slope, probability in zip(prior.slope, prior.probability, strict=True):
            row = net.bias.view(len(SLOPES), -1)[np.searchsorted(SLOPES, slope)]
            row.fill_(np.log(probability))
    predicted = net(torch.from_numpy(pixels)[:, None].double()).detach().numpy()
    difference = np.abs(predicted - posterior_mean(pixels)).max(axis=1)
    assert np.mean(difference < 0.01) > 0.9
