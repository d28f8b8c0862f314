"""What a protocol may be, and that the page about it leaves nothing out."""

from dataclasses import fields
from pathlib import Path

import pytest

from linefit.legal import settings
from linefit.protocol import Protocol

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("setting", [field.name for field in fields(Protocol)])
def test_the_page_on_training_names_every_setting_and_its_words(setting):
    (row,) = [line for line in PAGE.splitlines() if f"`{setting}`" in line.split("|")[:2][-1]]
    for choice in settings(Protocol)[setting].legal.choices:
        assert f"`{choice}`" in row


def test_the_lab_takes_40_steps_an_epoch_the_last_of_them_smaller():
    assert Protocol().steps_per_epoch == 40
    assert Protocol(train_size=128).steps_per_epoch == 1
    assert Protocol(train_size=129).steps_per_epoch == 2


@pytest.mark.parametrize(
    ("protocol", "conflicting"),
    [
        (Protocol(), []),
        (Protocol(optimiser="adamw", weight_decay=0.1, schedule="cosine", warmup=0.1), []),
        (Protocol(optimiser="adamw"), []),
        (Protocol(weight_decay=0.1, warmup=0.1), ["weight_decay", "warmup"]),
        (Protocol(schedule="cosine", weight_decay=0.1), ["weight_decay"]),
    ],
)
def test_what_does_not_go_together(protocol, conflicting):
    assert [setting for setting, _ in protocol.conflicts()] == conflicting
