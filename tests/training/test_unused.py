"""Parameters without a gradient in some passes, where several processes average gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from landscape.errors import ModelError
from landscape.training import RunConfig, train
from landscape.training.batches import epoch_order
from landscape.training.feasible import unused_parameters
from landscape.training.materials import build_run_model, load_run_dataset
from landscape.training.world import World, check_averaged

MINE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.inner = nn.Sequential(nn.Flatten(), nn.Linear(64, classes))
        self.never, self.often = nn.Linear(3, 3), nn.Linear(64, classes)

    def forward(self, inputs):
        found = self.inner(inputs)
        return found + self.often(inputs.flatten(1)) if inputs.sum() > 0 else found

def net(num_classes, in_channels):
    return Net(num_classes)
"""


class Sometimes(nn.Module):
    """Skips a layer in a share of its passes, at random."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.inner = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
        self.often = nn.Linear(10, 10)

    def forward(self, inputs):
        found = self.inner(inputs)
        return found if torch.rand(()) < self.share else self.often(found)


@pytest.fixture
def digits():
    return load_run_dataset(RunConfig(limit=20), "train")


def test_a_layer_that_is_skipped_by_some_passes_is_found_and_nothing_changes(digits, snapshot, assert_unchanged):
    model, whole = Sometimes(0.5), Sometimes(0.0)
    before = snapshot(model)
    assert unused_parameters(model, digits) == ("often.weight", "often.bias")
    assert unused_parameters(whole, digits) == ()
    assert_unchanged(before, model)


def test_a_model_that_takes_no_two_examples_is_searched_at_each_step(digits):
    class Particular(Sometimes):
        def forward(self, inputs):
            if len(inputs) == 2:
                raise ValueError("too few")
            return super().forward(inputs)

    assert len(unused_parameters(Particular(0.0), digits)) == 4


@pytest.fixture
def alone(tmp_path):
    """A group of one process."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield World(0, 2)  # wraps models as one of two does
    torch.distributed.destroy_process_group()


def test_a_gradient_that_is_missing_is_seen_before_the_step(alone):
    for share, unused in ((0.0, False), (1.0, True)):
        model = alone.wrap(Sometimes(share), unused=unused)
        model(torch.ones(2, 64)).sum().backward()
        check_averaged(model)
    model = alone.wrap(Sometimes(1.0))
    with model.no_sync():  # such a pass is this process's own
        model(torch.ones(2, 64)).sum().backward()
        check_averaged(model)
    model(torch.ones(2, 64)).sum().backward()
    with pytest.raises(ModelError, match=r"often.weight, often.bias.*nproc=1"):
        check_averaged(model)
    check_averaged(Sometimes(1.0))


def test_two_processes_train_what_passes_leave_out(tmp_path, monkeypatch):
    (tmp_path / "often.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    config = RunConfig(
        model="often:net",
        limit=40,
        test_limit=10,
        epochs=1,
        batch_size=8,
        nproc=2,
        schedule="constant",
        precision="float64",
        device="cpu",
        momentum=0.0,
        weight_decay=0.0,
    )
    run = train(config, progress=False)
    assert run.status == "finished"

    data = load_run_dataset(config, "train")
    model = build_run_model(config, data).train()
    inputs = data.normalized(dtype=torch.float64)
    seen = []
    for part in epoch_order(config.seed, 0, len(data)).split(config.batch_size):
        model.zero_grad()
        for share in part.tensor_split(2):
            seen.append(bool(inputs[share].sum() > 0))
            (nn.functional.cross_entropy(model(inputs[share]), data.targets[share]) / 2).backward()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.grad is not None:
                    parameter -= config.lr * parameter.grad
    assert 0 < sum(seen) < len(seen)  # used and left out
    found = run.checkpoint().model
    for name, expected in model.state_dict().items():
        torch.testing.assert_close(found[name], expected, rtol=1e-9, atol=1e-12)  # another order of float64 sums
