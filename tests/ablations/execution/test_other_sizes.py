"""Cells evaluated on images of other sizes: alone and in packs, by whichever engine, in pixels."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ablations.execution.cells import predict_other_sizes, train_cell
from ablations.execution.model import evaluated_images
from ablations.execution.packs import train_cells
from ablations.study.reader import parse_study
from linefit.architectures import build
from linefit.images import SPLITS, Split, lab_images
from linefit.training import cell_seeds
from tests.ablations.tiny import TEXT

CPU = torch.device("cpu")
SPLIT = "few_of_48"


@pytest.fixture(autouse=True)
def small_split(monkeypatch):
    monkeypatch.setitem(SPLITS, SPLIT, Split(70, 24_000_000, dim=48))


def cells(**levels):
    """The cells of the tiny study with other levels, evaluated on images of 48 x 48 too."""
    found = parse_study(TEXT, name="tiny", source="tiny.toml").cells()
    return [
        replace(
            cell,
            splits=("test", SPLIT),
            variant=replace(cell.variant, levels={**cell.variant.levels, **levels}),
        )
        for cell in found
    ]


@pytest.mark.parametrize("engine", ["auto", "delta", "dense"])
@pytest.mark.parametrize("pooling", ["max", "average", "spatial_softmax"])
def test_predictions_are_those_of_a_dense_net_of_that_size(engine, pooling):
    cell = cells(coordinates="cartesian", pooling=pooling, architecture="conv2", engine=engine)[0]
    net = build(**cell.variant.net, seed=3).float()
    found = predict_other_sizes(cell, net, CPU)
    dense = build(**cell.variant.net, dim=48, seed=4).double().eval()
    dense.load_state_dict(net.state_dict())
    images = torch.from_numpy(lab_images(70, 48, 24_000_000).pixels)[:, None].double()
    with torch.no_grad():
        slope, intercept = dense(images).T
    expected = torch.stack([slope, intercept * 1.2], dim=1)
    assert list(found) == [SPLIT]
    np.testing.assert_allclose(found[SPLIT], expected, rtol=1e-4, atol=1e-5)


def test_a_net_that_cannot_is_ok_and_has_no_predictions_there():
    cell = cells(pooling="flatten")[0]
    outcome = train_cell(cell, "cpu", lambda epoch: None)
    assert (outcome.status, set(outcome.predictions)) == ("ok", {"test"})
    assert "flatten" in cell.variant.not_applicable(SPLIT)
    assert cell.evaluated == ["test"]
    other = cells(pooling="max")[0]
    assert (evaluated_images(cell), evaluated_images(other)) == (500, int(500 + 70 * 1.44))


def test_cells_in_a_pack_are_evaluated_as_they_are_alone():
    """Also where a pack holds nets that cannot take another size: what they are told makes no other shape."""
    job = cells(coordinates="cartesian")[:2]
    job.append(cells(coordinates="noise")[0])
    together = train_cells(job, "cpu", lambda epoch: None)
    alone = [train_cell(cell, "cpu", lambda epoch: None) for cell in job]
    assert [set(outcome.predictions) for outcome in together] == [{"test", SPLIT}] * 2 + [{"test"}]
    for one, other in zip(together, alone, strict=True):
        assert one.status == other.status == "ok"
        for split in other.predictions:
            np.testing.assert_allclose(
                one.predictions[split], other.predictions[split], rtol=1e-4, atol=1e-4
            )


def test_val_has_no_line_of_the_quadrant_where_training_has_none():
    """Seen with a net that does not move: its curve is its error on val's images without the quadrant."""
    cell = cells(training_region="without_quadrant", learning_rate=1e-30, weights="best")[0]
    outcome = train_cell(cell, "cpu", lambda epoch: None)
    val = lab_images(500, random_offset=33_333, region="without_quadrant")
    assert not np.any((val.params[:, 0] > 0) & (val.params[:, 1] > 0))
    net = build(**cell.variant.net, seed=cell_seeds(cell.seed)[0])
    with torch.no_grad():
        lines = net(torch.from_numpy(val.pixels)[:, None].float()).double().numpy()
    np.testing.assert_allclose(outcome.val_mse, np.square(lines - val.params).mean(), rtol=1e-5)
