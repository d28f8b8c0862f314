"""A study with other settings is another study: other keys, other results, and its own text tells it all."""

import pytest

from ablations.study.factors import PROTOCOL_FACTORS
from ablations.study.reader import load_study, parse_study
from ablations.study.settings import parse_settings, run_command, with_settings
from ablations.study.study import StudyError
from tests.ablations.tiny import TEXT

TINY = parse_study(TEXT, name="tiny", source="tiny.toml")


def test_a_setting_replaces_that_of_the_study_and_the_rest_stays():
    changed = with_settings(TINY, parse_settings(["epochs=3", "learning_rate=0.5"]))
    assert changed.name == "tiny-epochs=3-learning_rate=0.5"
    assert (changed.protocol.epochs, changed.protocol.learning_rate) == (3, 0.5)
    assert changed.protocol.train_size == TINY.protocol.train_size
    assert [v.name for v in changed.variants] == [v.name for v in TINY.variants]
    assert not {cell.key for cell in changed.cells()} & {cell.key for cell in TINY.cells()}


def test_the_kept_text_is_the_study_that_was_run():
    changed = with_settings(load_study("quick"), {"epochs": 3, "engine": "dense"})
    again = parse_study(changed.text, name=changed.name, source="study.toml")
    assert again == changed
    assert [cell.key for cell in again.cells()] == [cell.key for cell in changed.cells()]


@pytest.mark.parametrize(
    ("study", "settings", "seeds", "command"),
    [
        (load_study("quick"), {}, [0, 1, 4], "quick"),
        (TINY, {}, [2, 1, 0], "tiny.toml"),
        (TINY, {}, [0, 7], "tiny.toml --seeds 0,7"),
        (
            load_study("quick"),
            {"learning_rate": 0.5, "epochs": 3, "tf32": True},
            range(5),
            "quick --set learning_rate=0.5 --set epochs=3 --set tf32=true",
        ),
    ],
)
def test_the_command_of_a_study_is_told(study, settings, seeds, command):
    changed = with_settings(study, settings)
    assert run_command(changed, seeds) == f"python -m ablations.run {command}"


def test_a_setting_that_the_study_has_already_is_the_same_cells():
    same = with_settings(TINY, {"epochs": TINY.protocol.epochs})
    assert [cell.key for cell in same.cells()] == [cell.key for cell in TINY.cells()]
    assert with_settings(TINY, {}) is TINY


def test_every_setting_of_the_protocol_can_be_set():
    for name, factor in PROTOCOL_FACTORS.items():
        text = str(factor.default).lower() if isinstance(factor.default, bool) else factor.default
        assert parse_settings([f"{name}={text}"]) == {name: factor.default}


def test_mistakes_are_told_all_at_once():
    with pytest.raises(StudyError) as caught:
        parse_settings(["epoch=3", "epochs=many", "engine", "learning_rate=-1"])
    assert [str(problem) for problem in caught.value.problems][:2] == [
        f"--set: 'epoch=3' is not legal; expected SETTING=VALUE with one of {', '.join(PROTOCOL_FACTORS)} "
        "(did you mean 'epochs'?)",
        "--set epochs: 'many' is not legal; expected an integer from 1 to 100000",
    ]
    assert len(caught.value.problems) == 4


def test_a_setting_that_the_study_varies_is_refused():
    varied = TEXT.replace("width = 4", "width = 4\nepochs = [1, 2]").replace("epochs = 2\n", "", 1)
    study = parse_study(varied, name="varied", source="varied.toml")
    with pytest.raises(
        StudyError, match=r"set\.epochs: expected a setting that the study itself does not vary"
    ):
        with_settings(study, {"epochs": 3})
