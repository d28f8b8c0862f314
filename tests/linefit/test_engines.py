"""Which engine trains a net, on which device."""

import weakref

import pytest
import torch

from linefit.architectures import build
from linefit.engines import (
    StreamedImages,
    engine_for,
    image_source,
    random_state_kept,
    resolve_device,
)
from linefit.fused import instruction_set
from linefit.images import lab_images
from linefit.training import predict

CPU = torch.device("cpu")
PIXELS = lab_images(4).pixels


def test_nets_train_in_the_fastest_form_and_others_say_why_not():
    net = build("conv2", "cartesian", "max", 3, seed=0)
    fastest = "delta" if instruction_set() is None else "fused"
    assert engine_for(net, PIXELS, "auto", torch.float32, CPU) == (fastest, "")
    assert engine_for(net, PIXELS, "auto", torch.float32, CPU, "cross_entropy") == ("delta", "")
    assert engine_for(net, PIXELS, "delta", torch.float32, CPU) == ("delta", "")
    assert engine_for(net, PIXELS, "dense", torch.float32, CPU) == ("dense", "")
    strided = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, stride=2), torch.nn.Flatten())
    engine, reason = engine_for(strided, PIXELS, "auto", torch.float32, CPU)
    assert engine == "dense"
    assert "conv2d" in reason


class LessItsMean(torch.nn.Module):
    def forward(self, x):
        return (x - x.mean((2, 3), keepdim=True)).amax((2, 3))


def test_a_net_whose_tensors_differ_from_image_to_image_trains_densely():
    engine, reason = engine_for(LessItsMean(), PIXELS, "auto", torch.float32, CPU)
    assert engine == "dense"
    assert "image to image" in reason


def test_the_trial_changes_neither_the_net_nor_the_generator():
    net = build("conv1", "none", "max", 3, seed=0)
    net.head.insert(1, torch.nn.BatchNorm1d(128))
    net.head.insert(2, torch.nn.Dropout())
    before, state = {k: v.clone() for k, v in net.state_dict().items()}, torch.get_rng_state()
    assert engine_for(net, PIXELS, "auto", torch.float32, CPU) == ("delta", "")
    assert net.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_net_that_only_evaluates_on_delta_maps_trains_densely():
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, padding=1), torch.nn.Dropout())
    engine, reason = engine_for(net, PIXELS, "auto", torch.float32, CPU)
    assert engine == "dense"
    assert "dropout" in reason


@pytest.mark.parametrize("engine", ["delta", "dense"])
def test_streamed_images_are_the_images(engine):
    net = build("conv2", "cartesian", "max", 3, seed=0)
    whole, streamed = (
        source(PIXELS, engine, torch.float32, CPU) for source in (image_source, StreamedImages)
    )
    for indices in ([0, 1, 2, 3], [2, 0]):
        batches = [source.batch(torch.tensor(indices)) for source in (whole, streamed)]
        torch.testing.assert_close(*(net(batch) for batch in batches), rtol=0, atol=0)


def test_nothing_of_a_streamed_batch_stays():
    net, left = build("conv2", "none", "average", 2, seed=0), []
    net.convolutions[0].register_forward_hook(
        lambda _, inputs, __: left.append(weakref.ref(inputs[0].sites.batch.tables))
    )
    images = StreamedImages(lab_images(1200).pixels, "delta", torch.float32, CPU)
    assert len(predict(net, images, 1200)) == 1200
    assert [reference() for reference in left] == [None] * 3


@pytest.mark.parametrize("device", ["tpu", "cuda:x", "cpu:x", "cuda:99", "cuda:999"])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(ValueError, match=device):
        resolve_device(device)


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_only_the_devices_own_random_state_is_kept(device, monkeypatch):
    """Torch's default would take memory on each of several GPUs."""
    asked = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: asked.append(("get", device)))
    monkeypatch.setattr(
        torch.cuda, "set_rng_state", lambda state, device: asked.append(("set", device))
    )
    before = torch.get_rng_state()
    with random_state_kept(torch.device(device)):
        torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    kept = torch.device(device)
    assert asked == ([] if device == "cpu" else [("get", kept), ("set", kept)])
