"""The benchmark commands measure what they say they do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import fused_step as fused_benchmark
from benchmarks import scale
from benchmarks import training_step as deltamap_benchmark
from benchmarks.lab_epoch import lab_image
from benchmarks.training_step import Case, delta_flop, delta_step, dense_flop, dense_step
from linefit.deltamap import DeltaImages
from linefit.fused import instruction_set
from linefit.images import lab_images


def test_the_labs_way_draws_the_labs_images() -> None:
    split = lab_images(20, random_offset=99_999)
    for index in range(len(split)):
        image, params = lab_image(99_999 + index)
        assert torch.equal(image[0].bool(), torch.from_numpy(split.pixels[index]))
        assert params.tolist() == split.params[index].tolist()


@pytest.mark.parametrize(
    "case", [Case("conv1", "none", "flatten", 4), Case("conv3", "cartesian", "max", 4)], ids=str
)
def test_all_ways_train_the_same_net_on_the_same_images(case: Case) -> None:
    data = lab_images(32)
    ways = [
        dense_step(case, data, tuned=False, channels_last=False),
        dense_step(case, data, tuned=True, channels_last=True),
        delta_step(case, data, DeltaImages(data.pixels)),
    ]
    curves = [[step(torch.arange(16) + 16 * turn).item() for turn in (0, 1, 0)] for step in ways]
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)
    assert curves[0] == pytest.approx(curves[2], rel=1e-4)


def test_arithmetic_of_the_labs_coordconv_net() -> None:
    case = Case("conv2", "cartesian", "max", 48)
    assert dense_flop(case) / 1e9 == pytest.approx(26.5, abs=0.1)
    assert delta_flop(case, DeltaImages(lab_images(2000).pixels)) / 1e9 == pytest.approx(
        0.46, abs=0.02
    )


def test_command_writes_figures_with_their_provenance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(deltamap_benchmark, "LAB_CASES", [Case("conv2", "none", "max", 2)])
    monkeypatch.setattr(deltamap_benchmark, "BATCH", 8)
    threads = torch.get_num_threads()
    deltamap_benchmark.main(
        ["--quick", "--rounds", "1", "--json", str(tmp_path / "speed" / "steps.json")]
    )
    torch.set_num_threads(threads)
    report = json.loads((tmp_path / "speed" / "steps.json").read_text())
    assert report["provenance"]["threads"] == 1
    assert report["provenance"]["torch"] == torch.__version__
    assert report["cases"][0]["delta_ms"] > 0
    assert "conv2 none max" in capsys.readouterr().out


def test_no_rounds_is_a_usage_error() -> None:
    with pytest.raises(SystemExit) as error:
        deltamap_benchmark.main(["--rounds", "0"])
    assert error.value.code == 2


def test_the_harness_is_measured_on_all_that_a_grid_goes_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commands: list[tuple[str, ...]] = []
    monkeypatch.setattr(scale, "command", lambda results, *words: commands.append(words))
    row = scale.measure(160)
    assert row["cells"] == 160
    assert row["variants"] * scale.SEEDS == 160
    for part in ("read_s", "plan_s", "estimate_s", "train_s", "resume_plan_s", "list_s"):
        assert row[part] >= 0


def test_the_page_shows_what_the_harness_was_measured_to_cost() -> None:
    root = Path(__file__).parents[2]
    report = json.loads((root / "results/speed/scale.json").read_text(encoding="utf-8"))
    page = (root / "docs/scaling.md").read_text(encoding="utf-8")
    shown = page.partition("<!-- table: results/speed/scale.json -->\n")[2]
    assert shown.partition("<!-- end -->")[0] == scale.table(report["runs"])
    equal = report["equal_cells"]
    assert f"{equal['ratio']:.2f} times as fast" in page


@pytest.mark.skipif(instruction_set() is None, reason="no compiler when linefit was installed")
def test_the_compiled_steps_command_writes_every_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fused_benchmark, "CASES", [Case("conv2", "none", "max", 2)])
    monkeypatch.setattr(fused_benchmark, "BATCH", 8)
    monkeypatch.setattr(fused_benchmark, "EVALUATED", 50)
    threads = torch.get_num_threads()
    fused_benchmark.main(["--rounds", "2", "--json", str(tmp_path / "fused.json")])
    torch.set_num_threads(threads)
    report = json.loads((tmp_path / "fused.json").read_text())
    (case,) = report["cases"]
    assert [len(times) for times in case["rounds"].values()] == [2] * 4
    assert case["processor"]["fused_ms"] > 0
    assert len(report["load_average"]) == 2
    assert "conv2 none max" in capsys.readouterr().out
