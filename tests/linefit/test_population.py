"""The exact risk of yardsticks: against brute force on small images, and against plain samples of the generator."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from linefit.closed_form import least_squares, total_least_squares
from linefit.images import lab_images, lab_split
from linefit.known_risk import CONSTANT, FLOOR, OUTPUTS, known_risk
from linefit.population import fingerprint, integrate, line_moments, regrets, strata
from linefit.posterior import posterior_mean, posterior_mode
from linefit.risk_table import compute, markdown
from linefit.yardsticks import YARDSTICKS
from tests.linefit.test_posterior import posterior_by_enumeration

FRESH = 50_000_000  # far from every split and every other test
YARDSTICK_TABLES = Path(__file__).parents[2] / "results" / "yardsticks"


def by_output(squared):
    """`(N, 2)` squared errors as `(N, 3)`: their mean, slope, intercept."""
    return np.column_stack([squared.mean(axis=1), squared])


@pytest.mark.parametrize("dim", [4, 5])
def test_small_images_are_enumerated_exactly(dim):
    """Every image and line by brute force, written apart from the package."""
    joint = posterior_by_enumeration(dim)
    pixels = np.zeros((len(joint), dim, dim), dtype=bool)
    for i, image in enumerate(joint):
        pixels[(i, *np.transpose(list(image)))] = True
    estimators = {"least_squares": least_squares, "posterior_mode": posterior_mode}
    total = sum(sum(lines.values()) for lines in joint.values())
    expected = []
    for estimator in (posterior_mean, *estimators.values()):
        risk = np.zeros(2)
        for answer, lines in zip(estimator(pixels), joint.values(), strict=True):
            for line, probability in lines.items():
                risk += probability / total * (answer - np.array(line)) ** 2
        expected.append([risk.mean(), *risk])

    found = integrate(regrets(estimators), 10**9, np.random.default_rng(0), strata(dim))
    assert found.sampled == 0
    assert found.enumerated_probability == pytest.approx(1)
    assert not found.covariance.any()
    floor, *regret = found.mean.reshape(-1, 3)
    np.testing.assert_allclose(floor, expected[0], rtol=1e-12)
    np.testing.assert_allclose(floor + regret, expected[1:], rtol=1e-12)

    lines = {}
    for weights in joint.values():
        for line, probability in weights.items():
            lines[line] = lines.get(line, 0.0) + probability / total
    params, weight = np.array(list(lines)), np.array(list(lines.values()))
    moments = line_moments(dim)
    np.testing.assert_allclose(moments.mean, weight @ params, atol=1e-12)
    np.testing.assert_allclose(
        moments.constant_risk([1, -2])["mean"], (weight @ (params - [1, -2]) ** 2).mean()
    )


def test_sampling_agrees_with_enumeration_and_its_own_standard_error():
    values, parts = regrets({"least_squares": least_squares}), strata(9)
    exact = sum(
        part.probability * weight @ values(pixels)
        for part in parts
        for pixels, weight in part.every_image()
    )
    runs = [integrate(values, 1500, np.random.default_rng(seed), parts) for seed in range(25)]
    assert all(run.sampled > 300 for run in runs)
    deviations = np.array([run.mean - exact for run in runs])
    promised = np.sqrt(np.mean([np.diag(run.covariance) for run in runs], axis=0))
    assert (np.abs(deviations.mean(axis=0)) < 4 * promised / np.sqrt(len(runs))).all()
    assert (np.abs(np.log(deviations.std(axis=0) / promised)) < 0.5).all()


def test_strata_are_the_population():
    parts = strata()
    assert sum(part.probability for part in parts) == pytest.approx(1)
    images = lab_images(20_000, random_offset=FRESH)
    lit = np.count_nonzero(images.pixels, axis=(1, 2))
    for size in (3, 4, 8, 15):
        share = sum(part.probability for part in parts if part.lit == size)
        error = np.sqrt(share * (1 - share) / len(lit))
        assert abs(np.mean(lit == size) - share) < 4 * error


def test_the_table_has_every_yardstick_within_its_precision():
    table = known_risk()
    assert [(r.output, r.yardstick) for r in table.risks] == [
        (output, name) for output in OUTPUTS for name in YARDSTICKS
    ]
    risk = table.risk("least_squares")
    assert risk.mse_se < 0.002 * risk.mse
    for row in table.risks:
        assert row.mse == pytest.approx(table.risk(FLOOR, row.output).mse + row.regret)
    assert table.risk(FLOOR).regret == table.risk(FLOOR).regret_se == 0
    assert table.risk("least_squares").ratio_se == 0
    constant = lab_split("train").params.mean(axis=0, dtype=np.float64)
    assert table.constant(constant) == table.risk(CONSTANT)


def test_what_is_published_is_what_the_code_reads():
    table = known_risk()
    with (YARDSTICK_TABLES / "population.csv").open(encoding="utf-8") as file:
        published = list(csv.DictReader(file))
    assert len(published) == len(table.risks)
    for row, risk in zip(published, table.risks, strict=True):
        assert row == {name: str(value) for name, value in vars(risk).items()}
    assert (YARDSTICK_TABLES / "population.md").read_text(encoding="utf-8") == markdown(table)


def test_the_table_is_of_this_generator():
    """A change of how images are drawn, or of the prior, asks for `python -m linefit.risk_table` anew."""
    assert known_risk().fingerprint == fingerprint()
    assert fingerprint() != fingerprint(39)
    moments = line_moments()
    np.testing.assert_allclose(known_risk().lines.mean, moments.mean, rtol=1e-12)
    np.testing.assert_allclose(known_risk().lines.variance, moments.variance, rtol=1e-12)


def test_an_unknown_yardstick_is_refused():
    with pytest.raises(ValueError, match="no risk is known of 'ridge', output 'slope'"):
        known_risk().risk("ridge", "slope")


def test_the_command_computes_every_row(monkeypatch):
    """A small run agrees with the committed table within its own errors."""
    monkeypatch.setattr("linefit.population.PILOT", 20)
    table = known_risk()
    for row in compute(images=3000, seed=1).risks:
        known = table.risk(row.yardstick, row.output)
        assert abs(row.mse - known.mse) <= 5 * np.hypot(row.mse_se, known.mse_se) + 1e-9 * row.mse


def check_plain_sample(names, sizes, offset):
    """The mean squared errors of fresh images of the lab's generator, with the lines that were drawn, in pieces."""
    train, table = lab_split("train"), known_risk()
    sums = {name: np.zeros((2, 3)) for name in names}
    for size in sizes:
        images = lab_images(size, random_offset=offset)
        offset += size
        for name in names:
            squared = by_output((YARDSTICKS[name](train)(images.pixels) - images.params) ** 2)
            sums[name] += [squared.sum(axis=0), (squared**2).sum(axis=0)]
    for name, (total, squares) in sums.items():
        mean = total / sum(sizes)
        se = np.sqrt((squares / sum(sizes) - mean**2) / sum(sizes))
        for output, value, error in zip(OUTPUTS, mean, se, strict=True):
            known = table.risk(name, output)
            assert abs(value - known.mse) < 4 * np.hypot(error, known.mse_se), (name, output)


def test_a_plain_sample_agrees():
    check_plain_sample(list(YARDSTICKS), [20_000], FRESH + 1_000_000)


@pytest.mark.statistics
def test_ten_million_plain_images_agree():
    """Minutes: 10 million images of the quick estimators, a tenth of the slow ones."""
    quick = [CONSTANT, "least_squares", "total_least_squares", "huber", FLOOR]
    check_plain_sample(quick, [100_000] * 100, 100_000_000)
    slow = [name for name in YARDSTICKS if name not in quick]
    check_plain_sample(slow, [100_000] * 10, 200_000_000)


def test_regret_of_the_floor_is_none():
    values = regrets({"posterior_mean": posterior_mean, "tls": total_least_squares})
    found = values(lab_images(50, random_offset=FRESH).pixels)
    assert found.shape == (50, 9)
    assert not found[:, 3:6].any()
    assert (found[:, 6:] >= 0).all()
