"""The library as a notebook meets it: whichever way it is imported, with what it shows and what it refuses."""

import inspect
import subprocess
import sys

import matplotlib.pyplot as plt
import pytest

import ablations
from ablations.comparison.metrics import variant_errors
from ablations.comparison.study_comparison import compare_study
from ablations.notebook import Results
from ablations.study.study import StudyError
from tests.ablations.synthetic import synthetic_results
from tests.ablations.tiny import write_tiny


@pytest.fixture(scope="module")
def results():
    return Results.of(
        synthetic_results(4, 3, 60, failures={(1, 2): "diverged"}, splits=("test", "test_large"))
    )


@pytest.mark.parametrize(
    "imports",
    [
        "import ablations",
        "import ablations; ablations.run; import ablations.run, ablations.cli.compare; import ablations.run",
    ],
)
def test_run_is_the_function_whatever_was_imported(imports):
    check = "import inspect; print('results_dir' in inspect.signature(ablations.run).parameters)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{imports}; {check}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == ("True", "")


def test_every_parameter_is_named_and_typed():
    public = [ablations.run, ablations.load_results, Results.compare, Results.to_frame]
    public += [getattr(Results, name) for name in dir(Results) if name.startswith("plot_")]
    assert len(public) > 6
    for function in public:
        parameters = inspect.signature(function).parameters.values()
        for parameter in parameters:
            assert parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
            assert parameter.name == "self" or parameter.annotation is not parameter.empty


def test_an_option_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(TypeError, match="options"):
        ablations.run(write_tiny(tmp_path), options={"workers": 2})


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"workers": 0}, "workers 0 is not a positive number"),
        ({"device": "tpu"}, "device 'tpu' is not one of auto, cpu"),
        ({"seeds": 0}, "a number of seeds from 1"),
        ({"where": "pooling=min"}, "expected one of max"),
    ],
)
def test_options_that_are_not_legal_are_told_before_anything_is_trained(tmp_path, option, message):
    with pytest.raises(ValueError, match=message):
        ablations.run(write_tiny(tmp_path), results_dir=tmp_path / "results", **option)


def test_results_that_are_not_there(tmp_path):
    with pytest.raises(StudyError, match=r"python -m ablations\.run quick"):
        ablations.load_results("quick", tmp_path)


def test_a_repr_is_a_line(results):
    comparison = results.compare()
    for thing in (results, comparison):
        assert len(repr(thing)) < 200
        assert "\n" not in repr(thing)
    assert "4 variants, 11 of 12 cells ok; evaluated on test (60 images)" in repr(results)
    assert "MSE of 4 variants against least squares, 60 images of test>" in repr(comparison)


def test_a_notebook_shows_the_comparison_as_a_table(results):
    shown = results._repr_html_()
    comparison = results.compare()
    assert shown == comparison._repr_html_()
    assert all(name in shown for name in comparison.estimators)
    assert "score as the constant predictor" in shown


def test_compare_is_compare_study(results):
    options = {
        "split": "test_large",
        "against": "floor",
        "metric": "slope",
        "margin": 1.5,
        "confidence": 0.9,
    }
    one, other = results.compare(**options), compare_study(results, **options)
    assert one.to_text("csv") == other.to_text("csv")
    assert (one.split, one.against, one.margin) == ("test_large", "posterior_mean", 1.5)


def test_to_frame_has_a_row_a_cell_and_split(results):
    frame = results.to_frame("slope")
    assert len(frame) == 24
    row = frame.iloc[-1]
    split = results.splits["test_large"]
    assert (row["split"], row["variant"]) == (split.name, split.variants[-1].name)
    assert row["slope"] == pytest.approx(
        variant_errors(split, split.variants[-1], "slope")[-1].mean()
    )
    assert frame["slope"].isna().sum() == 2


def test_figures_can_be_drawn_into_axes_of_ones_own(results):
    figure, (left, right, third) = plt.subplots(1, 3, figsize=(12, 4))
    assert results.plot_mse("test_large", metric="distance", ax=left) is figure
    assert "split test_large, 60 images" in left.get_xlabel()
    assert "distance" in left.get_xlabel()
    assert len(left.get_yticklabels()) == 4
    assert results.plot_mse(metric="median", ax=right) is figure
    name = results.study.variants[1].name
    assert results.plot_learning_curves(variant=name, ax=third) is figure
    assert third.get_ylabel() == "loss (log scale)"
    seeds = sum(len(lines.get_segments()) for lines in third.collections)
    assert seeds == 2 * len(results.study.seeds)  # both losses of every seed
    assert len(third.lines) >= 2  # and their medians
    figure.canvas.draw()
    plt.close(figure)
    with pytest.raises(ValueError, match="name it as `variant`"):
        results.plot_learning_curves(ax=third)
    with pytest.raises(ValueError, match="variant 'conv9' is not one of"):
        results.plot_learning_curves(variant="conv9")
