"""The protocol: how a net is trained, as plain settings. What acts on them is in the rooms that they name.

To add a setting, add one field: study files, command lines and keys take its name, its legal values (see
`linefit.legal`) and its default from here. Cells that leave it at its default keep their keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from linefit.images import SPLITS
from linefit.legal import Above, Between

Engine = Literal["auto", "delta", "dense"]
TrainingSet = Literal["fixed", "per_seed", "fresh"]
Target = Literal["truth", "posterior"]
Loss = Literal["mse", "huber", "l1", "cross_entropy"]
Optimiser = Literal["adam", "adamw"]
Schedule = Literal["constant", "cosine"]
Weights = Literal["last", "best", "average"]
TrainingRegion = Literal["all", "without_quadrant"]
# Beyond this many images the training split would reach into the seeds of val.
MOST_TRAINING_IMAGES = SPLITS["val"].random_offset


@dataclass(frozen=True)
class Protocol:
    """How a net is trained. The defaults are the lab's: mean squared error over both outputs, Adam, no schedule."""

    # images of an epoch
    train_size: Annotated[int, Between(1, MOST_TRAINING_IMAGES)] = 5000
    epochs: Annotated[int, Between(1, 100_000)] = 100
    # reshuffled every epoch, the last batch is the remainder
    batch_size: Annotated[int, Between(1, MOST_TRAINING_IMAGES)] = 128
    learning_rate: Annotated[float, Above(0)] = 1e-3
    # the compiled step where it knows the net, delta maps where they are exact, dense tensors; or from the second on
    engine: Engine = "auto"
    # the training split's first images, other images for every seed, or other images for every epoch of every seed
    training_set: TrainingSet = "fixed"
    target: Target = "truth"  # the drawn line, or what the exact posterior says of the image
    loss: Loss = "mse"
    optimiser: Optimiser = "adam"
    weight_decay: Annotated[float, Between(0, 10)] = 0.0  # decoupled, per unit of learning rate
    schedule: Schedule = "constant"
    warmup: Annotated[float, Between(0, 0.9)] = 0.0  # share of the steps in which the rate rises
    # evaluated: the last step's, those of the best epoch on val, the mean over the last tenth of the steps
    weights: Weights = "last"
    tf32: bool = (
        False  # products read 10 bits of the mantissa instead of 23: faster, and on CUDA alone
    )
    # lines of training and val: the lab's, or those outside of the quadrant that `held_out_region` evaluates
    training_region: TrainingRegion = "all"

    def conflicts(self) -> list[tuple[str, str]]:
        """The settings that do not go together with the others, each with the reason."""
        found = []
        if self.weight_decay and self.optimiser != "adamw":
            found.append(("weight_decay", f"0 with optimiser {self.optimiser}: only adamw decays"))
        if self.warmup and self.schedule != "cosine":
            found.append(("warmup", f"0 with schedule {self.schedule}: only cosine has a warm-up"))
        return found

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch, the remainder counted."""
        return -(-self.train_size // self.batch_size)
