"""What the lab's own way of training costs: one epoch of each of its nets, `python -m benchmarks.lab_epoch`.

Every access draws its image anew, and the loop is plain eager torch with as many threads as torch takes. How much
faster delta maps are is for `benchmarks.training_step`.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.machine import provenance
from benchmarks.training_step import BATCH, LAB_CASES, Case
from linefit.images import SPLITS

DIM = 40
LAB5_SEEDS, LAB5_EPOCHS = 5, 100


def lab_image(seed: int, dim: int = DIM) -> tuple[Tensor, Tensor]:
    """One image `(1, dim, dim)` and its line `(2,)` as the lab draws them: from torch's generator, in a Python loop."""
    torch.manual_seed(seed)
    while True:
        dx, dy = (torch.randint(-10, 10, (1,), dtype=torch.float32) for _ in range(2))
        intercept = torch.randint(-20, 20, (1,), dtype=torch.float32)
        slope = dy / dx
        points = torch.randint(0, dim, (20, 2), dtype=torch.float32)
        points[:, 1] = torch.round(slope * points[:, 0] + intercept)
        points = points[(points[:, 1] > 0) & (points[:, 1] < dim)].long()
        image = torch.zeros(1, dim, dim)
        image[0, dim - points[:, 1], points[:, 0]] = 1
        if image.sum() > 2:
            return image, torch.cat([slope, intercept])


def epoch(case: Case, size: int, order: torch.Generator) -> tuple[float, float]:
    """Seconds of drawing images and of training steps, over one epoch of `size` images."""
    net = case.net()
    optimiser = torch.optim.Adam(net.parameters())
    drawing = stepping = 0.0
    for indices in torch.split(torch.randperm(size, generator=order), BATCH):
        start = time.perf_counter()
        images, params = zip(*[lab_image(int(index)) for index in indices], strict=True)
        batch, targets = torch.stack(images), torch.stack(params)
        drawn = time.perf_counter()
        optimiser.zero_grad()
        F.mse_loss(net(batch), targets).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        drawing += drawn - start
        stepping += time.perf_counter() - drawn
    return drawing, stepping


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lab_epoch", description=__doc__)
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the figures and their provenance"
    )
    options = parser.parse_args(arguments)
    size = SPLITS["train"].size
    rows = []
    for case in LAB_CASES:
        drawing, stepping = epoch(case, size, torch.Generator().manual_seed(0))
        rows.append({"net": str(case), "drawing_s": drawing, "stepping_s": stepping})
        print(f"{case}: {drawing:.1f} s drawing {size} images, {stepping:.1f} s of training steps")
    runs = LAB5_SEEDS * LAB5_EPOCHS
    hours = sum(row["drawing_s"] + row["stepping_s"] for row in rows) * runs / 3600  # type: ignore[operator]
    print(
        f"{len(rows)} nets x {LAB5_SEEDS} seeds x {LAB5_EPOCHS} epochs at this rate: {hours:.1f} hours"
    )
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        report = {
            "provenance": {
                **provenance("benchmarks.lab_epoch"),
                "batch": BATCH,
                "dtype": "float32",
            },
            "epochs": rows,
            "lab5_hours": hours,
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
