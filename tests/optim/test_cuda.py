"""On a CUDA device: no step waits for it, and a captured step is the eager one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.optim.methods import METHODS, build, closure_of, flat, problem

pytestmark = pytest.mark.gpu
EACH = pytest.mark.parametrize("method", METHODS)
NOISE = ("lpf", "smoothout", "nso", "entropy")  # a generator inside a graph goes on by itself: other numbers


def on_device(method: str, **options):
    model, inputs, targets = (one.cuda() for one in problem())
    return model, build(method, model.parameters(), model=model, **options), inputs, targets


@EACH
@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_step_does_not_wait_for_the_device(method, clip):
    model, optimizer, inputs, targets = on_device(method)
    for _ in range(2):
        optimizer.step(closure_of(model, optimizer, inputs, targets), max_grad_norm=clip)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(2):
            optimizer.step(closure_of(model, optimizer, inputs, targets), max_grad_norm=clip)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@EACH
def test_half_precision_with_a_scaler_and_a_fused_base_does_not_wait(method):
    model, optimizer, inputs, targets = on_device(method, fused=True)
    scaler = torch.amp.GradScaler("cuda")

    def closure():
        optimizer.zero_grad()
        with torch.autocast("cuda", torch.float16):
            loss = F.cross_entropy(model(inputs), targets)
        scaler.scale(loss).backward()
        return loss

    for _ in range(3):
        optimizer.step(closure, scaler=scaler)
        scaler.update()
    torch.cuda.set_sync_debug_mode("error")
    try:
        optimizer.step(closure, scaler=scaler)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    scaler.update()
    assert torch.isfinite(flat(model)).all()


def captured(method: str, steps: int):
    """Weights after three eager warm-up steps and then replays of one captured step."""
    model, optimizer, inputs, targets = on_device(method)
    closure = closure_of(model, optimizer, inputs, targets)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            optimizer.step(closure)
    torch.cuda.current_stream().wait_stream(stream)
    optimizer.zero_grad()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizer.step(closure)
    for _ in range(steps):
        graph.replay()
    return flat(model)


@pytest.mark.parametrize("method", [name for name in METHODS if name not in (*NOISE, "looksam")])
def test_a_captured_step_is_the_eager_one(method):
    model, optimizer, inputs, targets = on_device(method)
    for _ in range(3 + 5):
        optimizer.step(closure_of(model, optimizer, inputs, targets))
    # another kernel may be chosen under capture: a few roundings over five steps
    torch.testing.assert_close(captured(method, steps=5), flat(model), rtol=1e-5, atol=1e-6)


@EACH
def test_the_device_gives_what_the_cpu_gives(method):
    if method in NOISE:
        pytest.skip("the two devices draw other numbers")
    model, optimizer, inputs, targets = on_device(method)
    plain, x, y = problem()
    reference = build(method, plain.parameters(), model=plain)
    for _ in range(3):
        optimizer.step(closure_of(model, optimizer, inputs, targets))
        reference.step(closure_of(plain, reference, x, y))
    torch.testing.assert_close(flat(model).cpu(), flat(plain), rtol=1e-3, atol=1e-4)  # float32, other kernels
