"""Where channels have their maxima: against a loop, and as a figure of a net that was trained again."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ablations.execution.cells import train_cell, trained_net
from ablations.notebook import Results
from ablations.report.plots.gallery import QUANTILES
from ablations.report.plots.sites import maxima, plot_sites, seed_of_sites, sites_of
from ablations.study.reader import load_study
from linefit.splits import evaluation_images
from tests.ablations.synthetic import synthetic_results
from tests.ablations.tiny import write_tiny


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Made-up answers of two variants whose cells can be trained in a second."""
    made = synthetic_results(6, 3, 500, epochs=2, failures={(1, 0): "oom"})
    tiny = load_study(write_tiny(tmp_path_factory.mktemp("tiny"))).variants
    names = [variant.name for variant in made.study.variants]
    variants = tuple(
        replace(variant, name=name) for variant, name in zip(tiny, names, strict=False)
    )
    return Results.of(replace(made, study=replace(made.study, variants=variants)))


@given(arrays(np.float32, (2, 3, 4, 5), elements=st.sampled_from([0.0, 1.0, 2.0])))
def test_every_channel_that_varies_is_counted_where_it_is_largest_first(maps):
    expected = np.zeros((2, 4, 5), dtype=int)
    for image, channels in enumerate(maps):
        for channel in channels:
            if len(set(channel.ravel().tolist())) > 1:
                best = max(channel.ravel().tolist())
                expected[image].flat[channel.ravel().tolist().index(best)] += 1
    np.testing.assert_array_equal(maxima(maps), expected)


def test_a_net_that_is_trained_again_answers_as_its_cell_did(results):
    (cell, _) = results.study.cells([1])
    outcome = train_cell(cell, "cpu", lambda _: None)
    images = torch.from_numpy(evaluation_images("test").pixels)[:, None].float()
    with torch.no_grad():
        answers = results.net(cell.variant.name, 1)(images).numpy()
    np.testing.assert_allclose(answers, outcome.predictions["test"], atol=1e-4)


def test_the_figure_has_a_ring_at_every_site_of_the_table(results):
    name = results.study.variants[0].name
    pixels = evaluation_images("test").pixels
    net = trained_net(results.study.cells([2])[0], "cpu")
    sites = sites_of(results, "test", name, 2, net, pixels)
    figure = plot_sites(sites)
    assert len(figure.axes) == len(QUANTILES)
    for axes, image in zip(figure.axes, sites.images, strict=True):
        own = sites.table[sites.table["image"] == image]
        rings = axes.collections[-1].get_offsets()
        np.testing.assert_array_equal(np.asarray(rings), own[["x", "y"]])
        assert f"{own['channels'].sum()} of 4 channels" in axes.get_title(loc="left")
        with torch.no_grad():
            maps = net.maps(torch.from_numpy(pixels[image])[None, None].float())[0]
        for row in own.to_dict("records"):
            here = maps[:, 40 - row["y"], row["x"]]
            assert (here == maps.amax(dim=(1, 2))).sum() >= row["channels"]
    errors = sites.errors
    assert (np.diff(errors) >= 0).all()


def test_from_python_it_is_one_call(results):
    figure = results.plot_sites(results.study.variants[0].name)
    assert "looks at on images of test" in figure.get_suptitle().replace("\n", " ")


def test_what_cannot_be_drawn_is_refused_before_anything_is_trained(results):
    names = [variant.name for variant in results.splits["test"].variants]
    with pytest.raises(ValueError, match="variant 'none' is not one of conv2"):
        results.plot_sites("none")
    with pytest.raises(ValueError, match="pooling log-sum-exp: sites are those of pooling max"):
        results.plot_sites(next(name for name in names if "log-sum-exp" in name))
    with pytest.raises(ValueError, match=r"seed 0 is not one of those that are ok, \[1, 2\]"):
        results.plot_sites(names[1], seed=0)
    assert seed_of_sites(results, "test", names[1]) in (1, 2)
    with pytest.raises(ValueError, match="variant 'none' is not one of conv2"):
        results.net("none", 0)
