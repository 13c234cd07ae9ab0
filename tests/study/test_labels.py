"""One method has one name, wherever it is printed."""

from __future__ import annotations

import pytest

from landscape.optim import OPTIMIZERS
from landscape.study import Generalization, Score, method_configs, paired_verdict
from landscape.study.flatness import Method
from landscape.study.labels import method_label
from landscape.training import RunConfig


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name != "sgd"])
def test_every_table_and_sentence_names_a_method_alike(name):
    label = method_label(name)
    assert label in method_configs(RunConfig(), [name])
    assert Method(optimizer=name, radius=None, ends=()).label == label
    scores = tuple(
        Score(optimizer=each, option=None, radius=None, validation=(), errors=(0.2, 0.1)) for each in ("sgd", name)
    )
    found = Generalization(base={}, validation=0.0, search_seeds=0, scores=scores)
    assert paired_verdict(found)[0].startswith(f"{label}: ")
    assert f"| {label} |" in found.table()
