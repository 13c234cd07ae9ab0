"""Layouts: order, views, filters; and a model put back bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from landscape.errors import ConfigError, MismatchError, ModelError
from landscape.parameters import Layout, preserved
from landscape.seeding import seeded


def convnet() -> nn.Module:
    with seeded(0, "convnet"):
        return nn.Sequential(
            nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ConvTranspose2d(3, 4, 2), nn.Flatten(), nn.Linear(16, 5)
        ).double()


def test_flat_order_is_that_of_named_parameters():
    model = convnet()
    layout = Layout.of(model)
    assert layout.names == tuple(name for name, _ in model.named_parameters())
    vector = layout.flatten(model)
    assert torch.equal(vector, torch.cat([p.detach().reshape(-1) for p in model.parameters()]))
    for name, piece in layout.named(vector).items():
        assert torch.equal(piece, dict(model.named_parameters())[name])
    assert layout.size == vector.numel() == sum(layout.sizes)
    assert torch.equal(layout.flatten(layout.named(vector)), vector)


def test_filters_are_slices_along_the_output_dimension():
    model = convnet()
    layout = Layout.of(model)
    vector = layout.flatten(model)
    expected = []
    for module in model:
        for name, p in module.named_parameters():
            if p.ndim < 2:
                expected.append(p.norm().item())
            elif isinstance(module, nn.ConvTranspose2d):
                expected += [p[:, k].norm().item() for k in range(p.shape[1])]
            else:
                expected += [p[k].norm().item() for k in range(p.shape[0])]
            assert name in ("weight", "bias")
    np.testing.assert_allclose(layout.filter_norms(vector), expected, rtol=1e-14)
    index = layout.filter_index()
    assert index.max().item() + 1 == layout.filters == len(expected)
    squares = torch.zeros(layout.filters, dtype=torch.float64).index_add(0, index, vector**2)
    np.testing.assert_allclose(squares.sqrt(), expected, rtol=1e-14)


def test_only_what_moves_counts_and_shared_weights_count_once():
    model = convnet()
    model[0].requires_grad_(False)
    assert "0.weight" not in Layout.of(model).names
    a = nn.Linear(3, 3, bias=False)
    tied = nn.Sequential(a, nn.ReLU(), a)
    assert Layout.of(tied).size == 9


def test_models_without_weights_are_refused():
    with pytest.raises(ModelError, match="no trainable weights"):
        Layout.of(nn.ReLU())
    with pytest.raises(ModelError, match="no shape yet"):
        Layout.of(nn.Sequential(nn.LazyLinear(3)))


def test_wrong_vectors_and_models_are_refused():
    layout = Layout.of(convnet())
    with pytest.raises(MismatchError, match="does not fit"):
        layout.named(torch.zeros(3))
    with pytest.raises(MismatchError, match="does not fit"):
        layout.flatten(nn.Linear(2, 2))
    with pytest.raises(MismatchError, match="missing"):
        layout.flatten({})
    assert layout.fingerprint != Layout.of(nn.Linear(2, 2)).fingerprint
    assert layout.fingerprint == Layout.of(convnet()).fingerprint


@settings(max_examples=25, deadline=None)
@given(shape=st.lists(st.integers(1, 4), min_size=0, max_size=4), seed=st.integers(0, 100))
def test_norms_and_views_hold_for_any_shape(shape, seed):
    class Holder(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(shape, dtype=torch.float64))

    layout = Layout.of(Holder())
    vector = torch.randn(layout.size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert layout.filter_norms(vector).square().sum().item() == pytest.approx(vector.square().sum().item(), rel=1e-12)


def scramble(model: nn.Module) -> None:
    for module in model.modules():
        module.training = not module.training
    for p in model.parameters():
        p.data = torch.zeros(1)
        p.grad = torch.ones(1)
        p.requires_grad_(False)
    for buffer in model.buffers():
        buffer.fill_(7)
    model[1].running_mean = torch.zeros(1)
    torch.rand(3)
    np.random.rand(3)
    torch.set_num_threads(1 if torch.get_num_threads() > 1 else 2)


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_a_preserved_model_comes_back_bit_for_bit(error):
    model = convnet()
    model[3].eval()
    model[4].bias.requires_grad_(False)
    model(torch.randn(2, 2, 3, 3, dtype=torch.float64)).sum().backward()
    model[0].weight.data[0, 0, 0, 0] = float("nan")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    gradients = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
    identities = [(p.data_ptr(), p.requires_grad, id(p.grad)) for p in model.parameters()]
    modes = [m.training for m in model.modules()]
    torch_state, numpy_state, threads = torch.get_rng_state(), np.random.get_state()[1].copy(), torch.get_num_threads()
    try:
        with preserved(model):
            scramble(model)
            if error is not None:
                raise error
    except (ValueError, KeyboardInterrupt):
        pass
    for name, value in model.state_dict().items():
        assert value.numpy().tobytes() == before[name].numpy().tobytes(), name
    for p, g in zip(model.parameters(), gradients, strict=True):
        assert (p.grad is None) == (g is None)
        assert g is None or torch.equal(p.grad, g)
    assert [(p.data_ptr(), p.requires_grad, id(p.grad)) for p in model.parameters()] == identities
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ("0", ("0.weight", "0.bias")),
        ("*.bias", ("0.bias", "1.bias")),
        (["1.weight", "0.b*"], ("0.bias", "1.weight")),
        ("[01].weight", ("0.weight", "1.weight")),
    ],
)
def test_a_subset_keeps_the_order_of_the_layout(patterns, names):
    layout = Layout.of(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1)))
    part = layout.subset(patterns)
    assert part.names == names
    shapes = dict(zip(layout.names, layout.shapes, strict=True))
    assert part.shapes == tuple(shapes[name] for name in names)


@pytest.mark.parametrize("patterns", ["2", "0.weights", [], ["0", "x"], "weight"])
def test_a_pattern_that_fits_nothing_is_told(patterns):
    with pytest.raises(ConfigError, match="No weight that moves is called"):
        Layout.of(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))).subset(patterns)


class Scaled(nn.Module):
    """A linear layer times one trainable number."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(-2.0, dtype=torch.float64))
        self.linear = nn.Linear(3, 2).double()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.scale * self.linear(inputs)


def test_a_single_number_is_one_filter():
    layout = Layout.of(Scaled())
    assert layout.shapes[0] == () and layout.sizes == (1, 6, 2) and layout.filters == 4
    assert layout.is_bias_or_norm == (True, False, True)
    assert layout.filter_index().tolist() == [0, 1, 1, 1, 2, 2, 2, 3, 3]
    vector = torch.arange(9, dtype=torch.float64)
    norms = layout.filter_norms(vector).tolist()
    assert norms == pytest.approx([0.0, 14**0.5, (16 + 25 + 36) ** 0.5, (49 + 64) ** 0.5], rel=1e-15)
    assert torch.equal(layout.flatten(layout.named(vector)), vector)


def test_a_model_of_single_numbers_only():
    model = nn.ParameterDict({"a": nn.Parameter(torch.tensor(1.0)), "b": nn.Parameter(torch.tensor(2.0))})
    layout = Layout.of(model)
    assert (layout.size, layout.filters, layout.filter_index().tolist()) == (2, 2, [0, 1])
    assert layout.filter_norms(torch.tensor([3.0, -4.0])).tolist() == [3.0, 4.0]


def test_vectors_of_another_kind():
    layout = Layout.of(nn.Linear(3, 2))
    for vector in (np.ones(8), [1.0] * 8, None, torch.ones(8, dtype=torch.complex64), torch.ones(7)):
        for ask in (layout.check, layout.named, layout.filter_norms):
            with pytest.raises(MismatchError, match=r"Expected: .*\(8,\).*Got: .*What to do: "):
                ask(vector)
    with pytest.raises(MismatchError, match="a model, or name to tensor"):
        layout.flatten(np.ones(8))
