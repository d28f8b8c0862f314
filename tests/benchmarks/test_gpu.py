"""The GPU's benchmark runs to its end without one, times real trainings and claims nothing of a smoke run."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu_timing import Size, seconds_per_step
from benchmarks.gpu_traffic import Traffic, step_bytes
from benchmarks.gpu_ways import Way, dense_graph, modules, packed, plain, vmapped
from benchmarks.training_step import LAB, Case, update_bytes
from linefit.images import lab_images

CPU = torch.device("cpu")


def test_smoke_run_writes_every_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gpu.main(["--smoke", "--json", str(tmp_path / "gpu" / "benchmark.json")])
    report = json.loads((tmp_path / "gpu" / "benchmark.json").read_text())
    assert report["provenance"]["smoke"]
    assert report["provenance"]["device"] == "cpu"
    assert len(report["relative_errors"]["plain"]) == 24 + 3
    assert len(report["relative_errors"]["modules"]) == 4
    for errors in report["relative_errors"].values():
        assert max(errors.values()) < 1e-9
    *of_the_lab, strided = report["nets"]
    assert len(of_the_lab) == 3
    modules = {"plain", "dense_graph", "vmap", "modules"}
    for row in of_the_lab:
        assert row["trainings_an_hour"].keys() == modules | {"pack_plain"}
        assert row["share_of_bandwidth"] > row["share_of_bandwidth_by_parameters"] > 0
    assert strided["trainings_an_hour"].keys() == modules
    for row in report["nets"]:
        assert min(row["trainings_an_hour"].values()) > 0
    assert report["trainings_an_hour_by_cells"]["plain"].keys() == {"1", "2"}
    assert [part["study"] for part in report["harness"]] == ["lab5", "factorial"]
    assert [part["ended"] for part in report["harness"]] == [{"ok": 3}] * 2
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
        modules(case, data, 16, CPU, 2),
        packed(case, data, 16, CPU, 2),
    ]
    means = []
    for way in ways:
        way.epoch(orders)  # its loss is that of the last batch, or of all images
        way.epoch(orders[:, :16])
        loss = way.losses()[0].item()
        means.append(loss / 16 if way in ways[-2:] else loss)
    assert means == pytest.approx([means[0]] * 5, rel=1e-4)


def test_what_fails_is_told_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object) -> Way:
        raise RuntimeError("no algorithm\nsecond line")

    def lacks_memory(*arguments: object) -> Way:
        raise torch.OutOfMemoryError("too much")

    monkeypatch.setattr(gpu, "vmapped", fails)
    monkeypatch.setattr(gpu, "dense_graph", lacks_memory)
    size = Size(32, 16, (2,), 2, seconds_a_way=0.1)
    (first, *others) = gpu.rows(size, lab_images(32), CPU, ["plain"], lambda: 1.0)
    hourly = first["trainings_an_hour"]
    assert hourly["vmap"] == "RuntimeError: no algorithm"
    assert hourly["dense_graph"] == "no memory"
    assert hourly["pack_plain"] > 0
    assert len(others) == 3
    assert "no memory" in gpu.table([first, others[-1]])


def test_nothing_new_begins_when_the_time_is_up() -> None:
    size = Size(32, 16, (2,), 2)
    assert gpu.rows(size, lab_images(32), CPU, ["plain"], lambda: -1.0) == []
    assert gpu.curve(size, lab_images(32), CPU, "plain", lambda: -1.0) == {}


def test_a_step_is_timed_within_the_seconds_of_a_way() -> None:
    taken = []

    def epoch(orders: np.ndarray) -> None:
        taken.append(orders.shape[1])
        time.sleep(0.02)

    way = Way(1, epoch, lambda: torch.zeros(1))
    seconds_per_step(way, Size(320, 16, seconds_a_way=0.1), CPU)
    assert taken[:2] == [16, 16]
    assert max(taken) < 320


def test_traffic_is_what_operations_read_and_write() -> None:
    a, b, c = torch.zeros(2, 3, 4), torch.zeros(2, 4, 5), torch.zeros(2, 3, 4)
    table, index = torch.zeros(100, 5), torch.arange(6)
    parameter = torch.nn.Parameter(torch.zeros(1000))
    parameter.grad = torch.zeros(1000)
    adam = torch.optim.Adam([parameter], fused=True)
    adam.step()
    expected: list[tuple[int, Callable[[], object]]] = [
        (4 * (24 + 40 + 30), lambda: torch.bmm(a, b)),
        (4 * 2 * 24, lambda: a.relu()),
        (0, lambda: a.view(6, 4).t()[1:].expand(2, 3, 6)),
        (4 * (1 + 24), lambda: torch.zeros(1).expand(24).clone()),
        (4 * 3 * 24, lambda: a.add_(c)),
        (4 * 2 * 24, lambda: a.copy_(c)),
        (8 * 6 + 2 * 4 * 30, lambda: table.index_select(0, index)),
        (4 * 1000 * 7, adam.step),
    ]
    for moved, operation in expected:
        with Traffic() as traffic:
            operation()
        assert moved <= traffic.bytes <= moved + 0.01 * moved + 8


def test_a_step_moves_at_least_its_parameters_and_twice_as_much_at_twice_the_width() -> None:
    data = lab_images(64)
    for net in LAB:
        narrow, wide = (step_bytes(Case(*net, width), data, 16) for width in (8, 16))
        assert narrow > update_bytes(Case(*net, 8))
        assert 1.2 < wide / narrow < 4


def test_kernels_that_differ_or_fail_are_not_right() -> None:
    assert gpu.is_right({"a": 1e-12})
    assert not gpu.is_right({"a": 1e-12, "b": float("nan")})
    assert not gpu.is_right({"a": 1e-3})
    assert not gpu.is_right("CompilationError: no")


def test_a_training_that_diverges_is_not_timed() -> None:
    way = packed(Case("conv2", "none", "max", 2), lab_images(32), 16, CPU, 1)
    broken = Way(1, way.epoch, lambda: torch.tensor([torch.nan]))
    with pytest.raises(RuntimeError, match="not finite"):
        seconds_per_step(broken, Size(32, 16), CPU)
