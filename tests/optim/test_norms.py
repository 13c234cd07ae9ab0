import pytest
import torch

from landscape.optim.norms import global_norm, tensor_norms


def _values(*shape, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3), dtype=dtype)


@pytest.mark.parametrize(
    "tensor",
    [
        _values(7, 5, 3, 3),
        _values(7, 5, 3, 3).to(memory_format=torch.channels_last),
        _values(70, 90).T,
        _values(4, 6, 5).permute(2, 0, 1),
        _values(20)[::3],
        _values(3).sum(),
        _values(0),
        _values(50, dtype=torch.float64),
        _values(50).half(),
        _values(50).bfloat16(),
    ],
    ids=["plain", "channels last", "transposed", "permuted", "strided", "scalar", "empty", "float64", "half", "bf16"],
)
def test_every_layout_and_precision(tensor):
    exact = tensor.double().square().sum().sqrt()
    (norm,) = tensor_norms([tensor])
    assert norm.dtype == (torch.float64 if tensor.dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(norm.double(), exact, rtol=1e-6, atol=0)
    torch.testing.assert_close(global_norm([tensor, tensor]).double(), exact * 2**0.5, rtol=1e-6, atol=0)


def test_many_values_are_summed_to_the_precision_of_the_type():
    """1e-5: a few 1e-6 with one thread, less with more; sums without partial sums are off by 4e-5 here."""
    gradient = _values(4_000_000)
    exact = gradient.double().square().sum().sqrt()
    torch.testing.assert_close(tensor_norms([gradient])[0].double(), exact, rtol=1e-5, atol=0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_so(bad):
    assert not tensor_norms([torch.tensor([1.0, bad])])[0].isfinite()


def test_mixed_precisions_and_sizes_make_one_norm():
    tensors = [_values(5000), _values(3).half(), _values(2, 2, dtype=torch.float64), _values(4)]
    exact = torch.cat([t.double().flatten() for t in tensors]).norm()
    torch.testing.assert_close(global_norm(tensors).double(), exact, rtol=1e-6, atol=0)
