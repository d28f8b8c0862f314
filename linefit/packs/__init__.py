"""Packs: many cells trained together, in a step that a GPU can replay.

`recognise` tells whether a net fits into a pack of delta maps, every product batched over cells, and its `Shape`;
`Pack` holds such cells and takes their steps, `ModulePack` cells of any other net, each by itself; `train_pack` runs
the lab's protocol. `images` and `sites` have the index tables, `layers` and `maximum` the arithmetic, `feeds` the
batches, `graphs` the recording.
"""

from linefit.packs.feeds import HostExamples
from linefit.packs.graphs import RecordingError
from linefit.packs.images import PackImages
from linefit.packs.modules import BatchExamples, ModulePack, ResidentImages
from linefit.packs.pack import Pack, PackExamples
from linefit.packs.recognition import UnpackableError, recognise
from linefit.packs.training import predict, train_pack, unpackable_setting, unrecordable_setting

__all__ = [
    "BatchExamples",
    "HostExamples",
    "ModulePack",
    "Pack",
    "PackExamples",
    "PackImages",
    "RecordingError",
    "ResidentImages",
    "UnpackableError",
    "predict",
    "recognise",
    "train_pack",
    "unpackable_setting",
    "unrecordable_setting",
]
