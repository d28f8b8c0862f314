"""Where seeds were added by looking, every interval, p-value and word is that of one of several looks."""

from dataclasses import replace

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from ablations.comparison.spelling import number
from ablations.comparison.standing import standings
from ablations.comparison.study_comparison import compare_study
from ablations.report.plots.summary import summarise
from ablations.study.until import Looks, parse_until
from tests.ablations.synthetic import synthetic_results

LOOKS = Looks((5, 8, 12), ("ratio within 25%",))
PLAIN = synthetic_results(4, 8, 120)
LOOKED = replace(PLAIN, looks=LOOKS, splits={"test": replace(PLAIN.splits["test"], looks=LOOKS)})
EACH = 1 - 0.05 / 3
ENDS = [f"{name}{end}" for name in ("", "ratio_", "p_beats_", "regret_") for end in ("low", "high")]


def by_name(comparison):
    return comparison.table.set_index("variant")


def test_intervals_have_the_confidence_of_one_look():
    looked, each = (
        by_name(compare_study(LOOKED)),
        by_name(compare_study(PLAIN, confidence=EACH)),
    )
    np.testing.assert_allclose(
        looked[ENDS].astype(float), each[ENDS].astype(float), rtol=1e-12, equal_nan=True
    )
    narrow = by_name(compare_study(PLAIN))
    variants = looked["kind"] == "variant"
    assert (looked["ratio_high"][variants] > narrow["ratio_high"][variants]).all()
    assert (looked["failure_rate_not_excluded"][variants] > 0.31).all()
    [drawn, *_] = summarise(LOOKED.splits["test"], "mse")
    assert drawn.scored.high == pytest.approx(looked.loc[drawn.name, "high"])


def test_p_values_are_multiplied_before_the_family_is_adjusted():
    table = by_name(compare_study(LOOKED))
    plain = by_name(compare_study(PLAIN))
    assert (table["p"].dropna() == plain["p"].dropna()).all()
    tested = table["p"].dropna()
    expected = multipletests(np.minimum(3 * tested, 1), method="holm")[1]
    np.testing.assert_allclose(table["p_holm"].dropna(), expected)
    pairs, before = compare_study(LOOKED).pairs(), compare_study(PLAIN).pairs()
    expected = multipletests(np.minimum(3 * before["p"], 1), method="fdr_bh")[1]
    np.testing.assert_allclose(pairs["p_bh"], expected)


def test_a_number_of_seeds_that_is_no_look_counts_as_one_more():
    between = compare_study(replace(LOOKED, looks=Looks((5, 12), ("verdict",))))
    assert between.stopping.looks == 3
    assert "none of these numbers, which counts as a look more" in between.methods
    assert compare_study(LOOKED).stopping.looks == 3


def test_words_say_how_seeds_were_added():
    comparison = compare_study(LOOKED)
    name = PLAIN.study.variants[0].name
    sentence = comparison.sentence(name)
    assert "95% CI for 3 looks [" in sentence
    assert "seeds added until ratio within 25%, 98.3% a look" in sentence
    assert "95% CI for 3 looks" in comparison.to_text()
    assert "by looks at 5, 8 and 12 seeds a variant" in comparison.methods
    assert "2 of the 3 were made" in comparison.methods
    assert "p-values are multiplied by 3" in comparison.methods
    assert comparison.table.shape == compare_study(PLAIN).table.shape
    assert '"looks": 3' in comparison.to_text("json")
    assert "look" not in compare_study(PLAIN).methods + compare_study(PLAIN).to_text()


def test_claims_are_checked_at_the_level_of_a_look():
    name = PLAIN.study.variants[0].name
    high = by_name(compare_study(LOOKED, against="total_least_squares")).loc[name, "ratio_high"]
    factors = (high * 1.001, high * 0.999)
    wider, narrower = compare_study(LOOKED).fail_unless(
        *(f"{name}<={factor}*total_least_squares" for factor in factors)
    )
    for check in (wider, narrower):
        assert number(high) in check.reason
        assert "95% CI for 3 looks" in check.reason
    assert "could exceed" not in narrower.reason
    assert not narrower.holds


def test_a_fixed_design_is_one_look():
    once = compare_study(replace(PLAIN, looks=Looks((8,), ("verdict",))))
    assert once.stopping.looks == 1
    np.testing.assert_array_equal(once.table["low"], compare_study(PLAIN).table["low"])
    assert "CI for" not in once.to_text()


def test_standings_are_those_of_the_first_seeds_alone():
    names = [variant.name for variant in PLAIN.study.variants]
    until = parse_until(["ratio within 1000%", f"{names[0]} ratio within 0.1%"])
    five, eight = tuple(range(5)), tuple(range(8))
    found = standings(LOOKED, until.targets, dict.fromkeys(names, five))
    assert [s.reached for s in found] == [False, True, True, True]
    few = synthetic_results(4, 8, 120)
    cut = replace(
        few,
        looks=LOOKS,
        splits={
            "test": replace(
                few.splits["test"],
                variants=tuple(
                    replace(
                        v, seeds=v.seeds[:5], status=v.status[:5], predictions=v.predictions[:5]
                    )
                    for v in few.splits["test"].variants
                ),
            )
        },
    )
    table = by_name(compare_study(cut))
    for standing in found:
        row = table.loc[standing.variant]
        assert standing.percent == pytest.approx(100 * (row["ratio_high"] / row["ratio"] - 1))
        assert standing.verdict == row["verdict"]
        assert standing.n_seeds == 5
    mixed = standings(LOOKED, until.targets[:1], {names[0]: eight, names[1]: five})
    assert [(s.variant, s.n_seeds) for s in mixed] == [(names[0], 8), (names[1], 5)]
