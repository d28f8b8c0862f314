"""The GPU's benchmark runs to its end without one, times real trainings and claims nothing of a smoke run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu_ways import dense_graph, packed, plain, vmapped
from benchmarks.training_step import Case
from linefit.images import lab_images

CPU = torch.device("cpu")


def test_smoke_run_writes_every_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(["--smoke", "--json", str(tmp_path / "gpu" / "benchmark.json")])
    report = json.loads((tmp_path / "gpu" / "benchmark.json").read_text())
    assert report["provenance"]["smoke"]
    assert report["provenance"]["device"] == "cpu"
    assert len(report["relative_errors"]["plain"]) == 24
    assert max(report["relative_errors"]["plain"].values()) < 1e-9
    assert len(report["nets"]) == 3
    for row in report["nets"]:
        assert row["trainings_an_hour"].keys() == {"plain", "dense_graph", "vmap", "pack_plain"}
        assert min(row["trainings_an_hour"].values()) > 0
    assert report["trainings_an_hour_by_cells"]["plain"].keys() == {"1", "2"}
    assert report["harness"]["ended"] == {"ok": report["harness"]["cells"]}
    assert "say nothing about a GPU" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without a GPU")
def test_without_a_gpu_it_says_so() -> None:
    with pytest.raises(SystemExit) as error:
        gpu.main([])
    assert error.value.code == 2


@pytest.mark.parametrize("net", [("conv1", "none", "flatten"), ("conv2", "cartesian", "max")])
def test_all_ways_train_the_same_net_on_the_same_images(net: tuple[str, str, str]) -> None:
    case, data = Case(*net, 2), lab_images(32)
    orders = np.stack([np.random.default_rng(0).permutation(32)] * 2)
    ways = [
        plain(case, data, 16, CPU),
        dense_graph(case, data, 16, CPU),
        vmapped(case, data, 16, CPU, 2),
        packed(case, data, 16, CPU, 2),
    ]
    means = []
    for way in ways:
        way.epoch(orders)  # its loss is that of the last batch, or of all images
        way.epoch(orders[:, :16])
        loss = way.losses()[0].item()
        means.append(loss / 16 if way is ways[-1] else loss)
    assert means == pytest.approx([means[0]] * 4, rel=1e-4)


def test_a_training_that_diverges_is_not_timed() -> None:
    way = packed(Case("conv2", "none", "max", 2), lab_images(32), 16, CPU, 1)
    broken = gpu.Way(1, way.epoch, lambda: torch.tensor([torch.nan]))
    with pytest.raises(RuntimeError, match="not finite"):
        gpu.seconds_per_step(broken, gpu.Size(32, 16), CPU)
