"""The same questions for each layer, against the blocks of the dense matrix."""

from __future__ import annotations

import pytest
import torch

from landscape.curvature import GGN, Fisher, Hessian
from landscape.errors import ConfigError

from .nets import NETS, net_objective


def blocks_of(operator, whole: torch.Tensor) -> dict[str, torch.Tensor]:
    layout = operator.objective.layout
    place = dict(zip(layout.names, zip(layout.offsets, layout.sizes, strict=True), strict=True))
    found = {}
    for layer, names in layout.layers.items():
        index = torch.cat([torch.arange(start, start + size) for start, size in map(place.__getitem__, names)])
        found[layer] = whole[index][:, index]
    return found


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("kind", [Hessian, GGN, Fisher])
def test_each_layers_answers_are_those_of_its_block(name, kind):
    operator = kind(net_objective(name))
    whole = operator.dense()
    expected = blocks_of(operator, whole)
    traces = operator.layerwise("trace", method="exact", progress=False)
    tops = operator.layerwise("top", k=1, tol=1e-6, progress=False)
    assert list(traces) == list(tops) == list(expected)
    for layer, block in expected.items():
        assert traces[layer].value == pytest.approx(float(block.trace()), rel=1e-8, abs=1e-12)
        largest = float(torch.linalg.eigvalsh(block)[-1])
        assert tops[layer].values[0] == pytest.approx(largest, rel=1e-6, abs=1e-9)
    assert sum(one.value for one in traces.values()) == pytest.approx(float(whole.trace()), rel=1e-8)


def test_a_function_is_asked_too_and_blocks_are_closed():
    seen = []

    def question(block):
        seen.append(block)
        return block.shape

    operator = Hessian(net_objective("mlp"))
    assert operator.layerwise(question) == {"0": (35, 35), "2": (18, 18)}
    assert not any(block.keeps_graph for block in seen) and operator.keeps_graph


def test_the_blocks_of_a_fisher_draw_the_same_labels():
    operator = Fisher(net_objective("mlp"), kind="monte-carlo", samples=3, seed=5)
    whole = blocks_of(operator, operator.dense())
    for layer, found in operator.layerwise("dense").items():
        torch.testing.assert_close(found, whole[layer], rtol=1e-10, atol=1e-14)


def test_a_block_of_a_block():
    block = Hessian(net_objective("mlp")).block("2")
    assert block.block("2.bias").shape == (3, 3)
    with pytest.raises(ConfigError, match="No weight that moves"):
        block.block("0")


def test_what_cannot_be_asked():
    operator = Hessian(net_objective("mlp"))
    with pytest.raises(ConfigError, match="question"):
        operator.layerwise("traces")
    with pytest.raises(ConfigError, match="Options are for a named question"):
        operator.layerwise(lambda block: block, probes=3)
