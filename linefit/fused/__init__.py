"""The training step of a recognised net as one compiled call: forward, loss, backward and Adam, an epoch at a time.

    program = recognise(net, height, width)           # None: train with delta maps, or densely
    images = FusedImages(pixels, torch.float32)       # index tables are built once
    trainer = FusedTrainer(program)
    loss = trainer.take(images, targets, batches, learning_rates)  # the net's parameters have moved
    predictions = fused_predictions(program, images, size)

The library is optional: `instruction_set()` is None where no compiler was at hand when the package was installed. Its
arithmetic is that of delta maps, and further: features that several images of a batch share are computed once.
"""

from linefit.fused.engine import (
    LOSSES,
    FusedImages,
    FusedPredictor,
    FusedTrainer,
    fused_predictions,
)
from linefit.fused.kept import KeptTables
from linefit.fused.library import instruction_set
from linefit.fused.program import Program, recognise

__all__ = [
    "LOSSES",
    "FusedImages",
    "FusedPredictor",
    "FusedTrainer",
    "KeptTables",
    "Program",
    "fused_predictions",
    "instruction_set",
    "recognise",
]
