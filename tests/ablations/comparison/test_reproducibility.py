"""The paragraph answers each question of the checklist with numbers that are counted here anew."""

from dataclasses import replace

import numpy as np
import pytest

from ablations.comparison.layout import PARAGRAPHS
from ablations.comparison.reproducibility import reproducibility
from ablations.study.until import Looks
from linefit.protocol import Protocol
from tests.ablations.synthetic import synthetic_results


@pytest.fixture(scope="module")
def results():
    return synthetic_results(3, 5, 60, failures={(1, 0): "diverged"}, splits=("test", "test_large"))


def test_every_count_is_that_of_the_records(results):
    text = reproducibility(results, 0.9)
    hours = results.cells["seconds"].sum() / 3600
    for words in (
        "90% confidence intervals",
        "asymmetric",
        "5 seeds of each of 3 variants, 15 trained networks (1 failed",
        "60 of split `test` and 60 of split `test_large`",
        f"{hours:.3g} hours of training in all",
        "512 MiB a worker",
        "device cpu, 1 thread a network",
        "torch 2.13.0, numpy 2.4.6",
        "commit 0123456789ab",
        "one training set of 5,000 images",
        "initial weights and the order of the training images",
    ):
        assert words in text, words


def test_it_says_by_which_looks_seeds_were_added(results):
    looks = Looks((5, 8), ("verdict",))
    looked = replace(results, looks=looks)
    assert "by looks at 5 and 8 seeds a variant" in reproducibility(looked)
    assert "97.5% by itself" in reproducibility(looked)
    assert "looks at" not in reproducibility(results)


def test_it_says_what_varied_when_the_training_set_did(results):
    protocol = Protocol(training_set="per_seed")
    variants = tuple(
        replace(v, levels={**v.levels, "training_set": "per_seed"}) for v in results.study.variants
    )
    study = replace(results.study, protocol=protocol, variants=variants)
    text = reproducibility(replace(results, study=study))
    assert "the initial weights, the training images and their order" in text
    assert "new training sets of 5,000 images" in text


def test_several_machines_and_none_on_record_are_both_told(results):
    several = replace(results, provenance={"cpu": ["A", "B"], "gpu": [None, "G"]})
    assert "on A or B and G" in reproducibility(several)
    nothing = replace(results, provenance={}, cells=results.cells.assign(peak_memory_mib=np.nan))
    text = reproducibility(nothing)
    assert "an unknown processor" in text
    assert "Software: not recorded" in text
    assert "MiB" not in text
    assert "commit unknown" in text


def test_it_stands_in_documents_as_their_source():
    text = "50% of `a_b` & #1"
    assert PARAGRAPHS["latex"](text).endswith(r"50\% of \texttt{a\_b} \& \#1")
    assert PARAGRAPHS["typst"](text).endswith(r"50% of `a_b` & \#1")
