"""First and second derivatives of the convolution are those of torch's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landscape.convolution import Geometry, convolve

CASES = {
    "plain": ((3, 2, 7, 6), nn.Conv2d(2, 4, 3)),
    "padded, strided": ((3, 2, 7, 6), nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 2))),
    "dilated": ((2, 2, 8, 8), nn.Conv2d(2, 3, 3, dilation=2)),
    "grouped, no bias": ((2, 4, 6, 6), nn.Conv2d(4, 6, 3, groups=2, bias=False)),
    "depthwise": ((2, 4, 6, 6), nn.Conv2d(4, 4, 3, padding=1, groups=4)),
    "one dimension": ((3, 2, 9), nn.Conv1d(2, 3, 4, stride=3, padding=2)),
    "1x1": ((3, 2, 5, 5), nn.Conv2d(2, 3, 1)),
}


def second_order(run, tensors: list[torch.Tensor], alongs: list[torch.Tensor], wanted: list[torch.Tensor]):
    """A loss with curvature in everything: its value, gradients, and their product with the vectors, once more."""
    loss = torch.tanh(run(*tensors)).pow(2).sum()
    grads = torch.autograd.grad(loss, tensors, create_graph=True)
    along = sum((g * a).sum() for g, a in zip(grads, alongs, strict=True))
    assert isinstance(along, torch.Tensor)
    return [loss.detach(), *[g.detach() for g in grads], *torch.autograd.grad(along, wanted)]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("without", [None, "input", "weight", "bias"])
def test_second_derivatives_equal_torchs(name, without):
    shape, module = CASES[name]
    module = module.double()
    stream = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=stream, dtype=torch.float64)
    given = {"input": x, "weight": module.weight.detach(), "bias": module.bias}
    moving = {k: v.detach().clone().requires_grad_() for k, v in given.items() if v is not None and k != without}
    alongs = [torch.randn(t.shape, generator=stream, dtype=torch.float64) for t in moving.values()]
    call = F.conv1d if x.ndim == 3 else F.conv2d

    def parts(tensors):
        known = given | dict(zip(moving, tensors, strict=True))
        return known["input"], known["weight"], known["bias"]

    def theirs(*tensors):
        return call(*parts(tensors), module.stride, module.padding, module.dilation, module.groups)

    def ours(*tensors):
        return convolve(*parts(tensors), Geometry.of(module))

    tensors = list(moving.values())
    expected, found = (second_order(run, tensors, alongs, tensors) for run in (theirs, ours))
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-11, atol=1e-11)


def test_third_derivatives_are_there_too():
    stream = torch.Generator().manual_seed(1)
    x, w = (torch.randn(2, 2, 4, 4, generator=stream).double(), torch.randn(3, 2, 2, 2, generator=stream).double())
    found = []
    for call in (lambda x, w: convolve(x, w, None, Geometry((1, 1), (0, 0), (1, 1), 1)), F.conv2d):
        a, b = x.clone().requires_grad_(), w.clone().requires_grad_()
        value = torch.tanh(call(a, b)).sum()
        for _ in range(3):
            value = sum(g.pow(2).sum() for g in torch.autograd.grad(value, (a, b), create_graph=True))
        found.append(value.item())
    assert found[0] == pytest.approx(found[1], rel=1e-10)
