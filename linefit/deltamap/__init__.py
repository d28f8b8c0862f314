"""Delta maps: exact feature maps of sparse binary images at a fraction of the dense arithmetic.

    images = DeltaImages(pixels)                      # a data set; index tables are built once
    loss = F.mse_loss(net(images.batch(indices)), y)  # an unmodified nn.Module
    loss.backward(); optimiser.step()                 # FusedAdam on the CPU, torch's Adam elsewhere

An operation without an exact form raises `UnsupportedOperation`. On the CPU compiled kernels do the work; the plain
torch form, which they are tested against, runs on any device. How nets are built and trained is not decided here.
"""

import linefit.deltamap.operations  # noqa: F401  (fills the tables of operations)
from linefit.deltamap.adam import FusedAdam
from linefit.deltamap.deltamap import DeltaImages, DeltaMap
from linefit.deltamap.errors import UnsupportedOperation

__all__ = ["DeltaImages", "DeltaMap", "FusedAdam", "UnsupportedOperation"]
