"""Delta maps: exact feature maps of sparse binary images at a fraction of the dense arithmetic.

A batch is `DeltaMap`, a data set `DeltaImages`; both go where a tensor `(N, 1, H, W)` would, into an unmodified
`nn.Module`. An operation without an exact form raises `UnsupportedOperation`.
"""

from linefit.deltamap.adam import FusedAdam
from linefit.deltamap.deltamap import DeltaImages, DeltaMap
from linefit.deltamap.errors import UnsupportedOperation

__all__ = ["DeltaImages", "DeltaMap", "FusedAdam", "UnsupportedOperation"]
