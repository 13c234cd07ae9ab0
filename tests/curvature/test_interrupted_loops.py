"""Ctrl-C within one of many questions ends the whole loop: not one of its estimates, with the next one after it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

from landscape.curvature import Hessian, InterruptedWarning, curvature_map, eigen_plane
from landscape.curvature.unfinished import whole
from landscape.surface import random_plane

from .nets import net_objective

Clock = Callable[[int], SimpleNamespace]


@pytest.fixture
def ctrl_c(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """``ctrl_c(n)``: it comes at the n-th product from now; ``.after`` counts the products after it."""
    real, clock = Hessian.__matmul__, SimpleNamespace(left=0, after=0)

    def multiply(self, vector):
        clock.left -= 1
        if clock.left == 0:
            raise KeyboardInterrupt
        clock.after += clock.left < 0
        return real(self, vector)

    def start(product: int) -> SimpleNamespace:
        clock.left, clock.after = product, 0
        monkeypatch.setattr(Hessian, "__matmul__", multiply)
        return clock

    return start


@pytest.mark.filterwarnings("ignore::landscape.curvature.unfinished.ConvergenceWarning")
def test_a_map_ends_at_the_point_where_it_was(ctrl_c: Clock) -> None:
    objective = net_objective("mlp")
    expected = curvature_map(objective, random_plane(objective), points=(1, 4), progress=False)
    clock = ctrl_c(60)
    with pytest.warns(InterruptedWarning, match=r"after \d of 4 points") as caught:
        found = curvature_map(objective, random_plane(objective), points=(1, 4), progress=False)
    assert clock.left == 0 and not found.complete and len(caught) == 1
    done = int(np.isfinite(found.highest).sum())
    assert 0 < done < 4
    np.testing.assert_array_equal(found.highest[0, :done], expected.highest[0, :done])


@pytest.mark.parametrize("which", ["LA", "BE"])
def test_a_plane_is_of_eigenvectors_that_were_found(ctrl_c: Clock, which: str) -> None:
    hessian = Hessian(net_objective("mlp"))
    clock = ctrl_c(7)
    with pytest.raises(KeyboardInterrupt):
        eigen_plane(hessian, which=which, tol=1e-10)
    assert clock.left == 0


@pytest.mark.parametrize("question", ["trace", "diagonal", "frobenius_norm"])
def test_no_other_layer_is_asked(ctrl_c: Clock, question: str) -> None:
    operator = Hessian(net_objective("residual"))
    expected = operator.layerwise(question, probes=5, progress=False)
    clock = ctrl_c(14)
    with pytest.warns(InterruptedWarning) as caught:
        found = operator.layerwise(question, probes=5, progress=False)
    assert clock.left == 0 and 1 < len(found) < len(expected)
    assert str(caught[-1].message) == f"Interrupted after {len(found)} of {len(expected)} layers."
    assert caught[-1].filename == __file__
    *before, last = found
    assert expected.complete and not found.complete
    assert not found[last].complete and list(found) == list(expected)[: len(found)]
    assert all(found[name].complete and str(found[name]) == str(expected[name]) for name in before)


def test_a_layer_without_an_answer_is_missing(ctrl_c: Clock) -> None:
    operator = Hessian(net_objective("residual"))
    ctrl_c(6)  # the second layer's first product
    with pytest.warns(InterruptedWarning, match="after 1 of 4 layers"):
        found = operator.layerwise("trace", probes=5, progress=False)
    assert [estimate.complete for estimate in found.values()] == [True]
    assert not found.complete  # so that it is not kept as if it were all


def test_layers_without_a_single_answer(ctrl_c: Clock) -> None:
    operator = Hessian(net_objective("residual"))
    ctrl_c(1)
    with pytest.raises(KeyboardInterrupt):
        operator.layerwise("trace", probes=5, progress=False)


def test_a_part_is_not_passed_on(ctrl_c: Clock) -> None:
    operator = Hessian(net_objective("mlp"))
    assert whole(lambda: operator.trace(probes=9, progress=False)).matvecs == 9
    ctrl_c(5)
    with pytest.raises(KeyboardInterrupt):  # and nothing is said of an answer from a part
        whole(lambda: operator.trace(probes=9, progress=False))
