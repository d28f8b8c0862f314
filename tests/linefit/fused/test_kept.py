"""Index tables are made once for all nets of a kind, within a bound on memory; predictions know nothing of it."""

import gc

import pytest
import torch

from linefit import engines
from linefit.architectures import build
from linefit.engines import StreamedImages
from linefit.fused import FusedImages, KeptTables, engine, instruction_set, kept, recognise
from linefit.images import lab_images
from linefit.training import predict
from tests.linefit.fused.test_step import DIM, random_images

pytestmark = pytest.mark.skipif(instruction_set() is None, reason="the library was not built")
CPU = torch.device("cpu")


class Images:
    """Stands for a data set."""


def tables(memory: int) -> kept.Tables:
    return kept.Tables(0, torch.arange(0), memory)


def has(store: KeptTables, kind: str, images: Images) -> bool:
    made = []
    store.find(kind, images, lambda: made.append(tables(0)) or made[0])
    return not made


def test_the_kind_that_was_used_least_recently_goes_first():
    store, images = KeptTables(limit=10), [Images() for _ in range(2)]
    for kind in "ab":
        for one in images:
            store.find(kind, one, lambda: tables(2))
    assert store.memory == 8
    store.find("a", images[0], lambda: pytest.fail("these are kept"))
    store.find("c", images[0], lambda: tables(4))
    assert store.memory == 8
    assert has(store, "a", images[0])
    assert has(store, "a", images[1])
    assert not has(store, "b", images[0])


def test_of_a_kind_that_is_too_large_the_first_tables_stay():
    store, images = KeptTables(limit=5), [Images() for _ in range(4)]
    for _ in range(3):
        for one in images:
            store.find("a", one, lambda: tables(2))
            assert store.memory <= 5
    assert [has(store, "a", one) for one in images[:2]] == [True, True]
    store.find("b", images[3], lambda: tables(9))  # alone it is kept, whatever its size
    assert has(store, "b", images[3])
    assert not has(store, "a", images[0])


def test_tables_go_with_their_images():
    store, images = KeptTables(limit=5), Images()
    store.find("a", images, lambda: tables(3))
    del images
    gc.collect()
    assert store.memory == 0


def test_tables_are_built_once_for_nets_that_differ_in_width_and_pooling_alone(monkeypatch):
    built = []

    def counted(pixels, depth, side, classes):
        built.append(depth)
        return kept.build_tables(pixels, depth, side, classes)

    monkeypatch.setattr(engine, "build_tables", counted)
    monkeypatch.setattr(engines, "FUSED_PIECE", 8)
    monkeypatch.setattr(engines, "EVALUATION_TABLES", KeptTables())
    images = StreamedImages(random_images(20), "fused", torch.float32, CPU)
    for levels in [
        ("conv2", "cartesian", "max", 8),
        ("conv2", "cartesian", "flatten", 3),
        ("conv2", "pixels", "average", 8),  # its channels tell the same sites apart
        ("conv3", "cartesian", "max", 8),
        ("conv2", "none", "max", 8),
        ("conv2", "constant", "max", 8),
    ]:
        predict(build(*levels, dim=DIM, seed=0), images, 20)
    assert built == [2] * 3 + [3] * 3 + [2] * 3


@pytest.mark.parametrize("levels", [("conv1", "none", "flatten"), ("conv2", "cartesian", "max")])
def test_what_is_kept_does_not_change_a_bit(monkeypatch, levels):
    monkeypatch.setattr(engines, "FUSED_PIECE", 50)
    pixels = lab_images(120).pixels
    net, found = build(*levels, 8, seed=0), []
    for limit in (0, 10**5, 10**9):
        monkeypatch.setattr(engines, "EVALUATION_TABLES", KeptTables(limit))
        images = StreamedImages(pixels, "fused", torch.float32, CPU)
        found += [predict(net, images, 120) for _ in range(2)]
    assert all(torch.equal(found[0], other) for other in found[1:])


def test_tables_know_how_much_memory_they_take():
    program = recognise(build("conv2", "cartesian", "max", 4, dim=DIM, seed=0), DIM, DIM)
    few, many = (
        FusedImages(random_images(count), torch.float32).tables(program) for count in (5, 50)
    )
    assert DIM * DIM * 4 < few.memory < many.memory / 2


def test_images_for_nets_of_another_dtype_are_refused():
    program = recognise(build("conv2", "none", "max", 4, dim=DIM, seed=0), DIM, DIM)
    with pytest.raises(ValueError, match=r"float64.*float32"):
        FusedImages(random_images(3), torch.float64).tables(program)
