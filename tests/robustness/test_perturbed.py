"""The changed inputs: images within the ball, broken where robust accuracy counts, the strongest that were seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from landscape.datasets import Dataset, load_dataset
from landscape.errors import ConfigError, DataError, MismatchError
from landscape.models import build_model
from landscape.robustness import ATTACKS, PerturbedInputs, perturbed, robust_accuracy
from landscape.robustness import attacks as attacks_module
from landscape.robustness import inputs as inputs_module
from landscape.robustness.pixels import PixelModel, losses_of
from landscape.seeding import seeded


def quick(name: str) -> dict[str, int]:
    """Fewer steps than by default for the attacks of very many."""
    attack = ATTACKS[name]
    if attack.parts:
        return {"steps": 1}
    return {"steps": 60} if attack.search else {"steps": 4} if attack.adaptive else {}


RADII = {"l2": [0.0, 0.3, 0.9], "linf": [0.0, 0.04, 0.12]}


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, Dataset]:
    """A small network in float64 that has learned the digits, and sixty of them."""
    data = load_dataset("digits")
    with seeded(0, "tests", "perturbed"):
        model = build_model("mlp", input_shape=data.input_shape, classes=data.classes).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    inputs = data.normalized(dtype=torch.float64)
    for _ in range(3):
        for part in torch.arange(len(data)).split(50):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs[part]), data.targets[part]).backward()
            optimizer.step()
    return model, data.subset(torch.arange(60))


def found_by(trained, name: str, **options) -> PerturbedInputs:
    return perturbed(*trained, attack=name, epsilon=RADII[ATTACKS[name].norm], progress=False, **options)


@pytest.mark.parametrize("beyond", [False, True])
@pytest.mark.parametrize("name", ATTACKS)
def test_they_are_the_points_that_robust_accuracy_counts(trained, name: str, beyond: bool) -> None:
    steps = {"steps": 8, "starts": 2} if name.startswith("pgd") else quick(name)
    found = found_by(trained, name, beyond=beyond, batch_size=25, **steps)
    counted = robust_accuracy(
        *trained, attack=name, epsilon=RADII[found.norm], batch_size=25, progress=False, **steps
    )  # fmt: skip
    assert found.broken.any() and not found.broken.all()
    assert np.array_equal(found.broken, counted.broken)
    if not beyond:
        np.testing.assert_allclose(found.sizes[found.broken], counted.sizes[found.broken], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("beyond", [False, True])
@pytest.mark.parametrize("name", ATTACKS)
def test_they_are_images_within_the_ball_of_which_the_model_says_what_is_told(trained, name: str, beyond: bool) -> None:
    model, data = trained
    found = found_by(trained, name, beyond=beyond, **quick(name))
    assert found.inputs.min() >= 0 and found.inputs.max() <= 1
    assert (found.sizes <= found.epsilons[:, None] * (1 + 1e-9) + 1e-12).all()
    assert np.array_equal(found.clean, data.inputs.double().numpy() / 255)
    assert np.array_equal(found.inputs[0], found.clean) and np.array_equal(found.logits[0], found.clean_logits)
    with torch.no_grad():
        said = [model(data.normalize(torch.tensor(part), torch.float64)).numpy() for part in found.inputs]
    np.testing.assert_allclose(found.logits, said, atol=1e-9)
    assert np.array_equal(found.broken, found.logits.argmax(2) != found.labels)
    np.testing.assert_allclose(found.probabilities(1).sum(1), 1.0)


def test_they_are_the_strongest_of_all_that_the_attack_came_by(trained, monkeypatch) -> None:
    model, data = trained
    data = data.subset(torch.arange(1))
    seen, real = [], PixelModel.__call__

    def watched(self, pixels):
        logits = real(self, pixels)
        if pixels.ndim > 1 and len(pixels) == 1:
            seen.append(logits.detach())
        return logits

    monkeypatch.setattr(PixelModel, "__call__", watched)
    for radius, broken in ((0.05, False), (1.5, True)):
        seen.clear()
        found = perturbed(
            model, data, epsilon=radius, steps=6, starts=2, loss="margin", beyond=True, progress=False
        )  # fmt: skip
        losses = losses_of(torch.cat(seen), data.targets.repeat(len(seen)), "margin")
        assert len(seen) >= 2 * 7 and found.broken.item() is broken
        mine = losses_of(torch.tensor(found.logits[0]), data.targets, "margin")
        assert float(mine) == float(losses.max())


def test_beyond_the_first_mistake_the_loss_is_larger(trained) -> None:
    _, data = trained
    first, further = (found_by(trained, "pgd-l2", beyond=beyond) for beyond in (False, True))
    losses = [losses_of(torch.tensor(one.logits[2]), data.targets, "cross_entropy") for one in (first, further)]
    broken = torch.tensor(first.broken[2] & ~first.broken[0])
    assert broken.any() and (losses[1] >= losses[0] - 1e-12)[broken].all()
    assert float((losses[1] - losses[0])[broken].max()) > 1


def test_random_starts_do_not_depend_on_who_is_broken(trained) -> None:
    """What an example gets within a radius is the same whether smaller radii were tried before or not."""
    one = perturbed(*trained, attack="noise-l2", epsilon=[0.3, 0.9], progress=False)
    other = perturbed(*trained, attack="noise-l2", epsilon=0.9, progress=False)
    new = ~one.broken[0]
    assert new.any() and not new.all()
    assert np.array_equal(one.inputs[1][new], other.inputs[0][new])


def test_signals_have_no_limits() -> None:
    points = torch.tensor([[[2.0, -3.0]], [[0.5, 9.0]]])
    data = Dataset(name="few", inputs=points, targets=torch.tensor([0, 0]), classes=2, mean=(0.0,), std=(1.0,))
    model = nn.Sequential(nn.Flatten(), nn.Linear(2, 2))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))  # the first is right, the second is not
        model[1].bias.zero_()
    found = perturbed(model, data, attack="fgsm", epsilon=2.5, progress=False)
    changed = np.abs(found.inputs[0] - found.clean)[~(found.clean_logits.argmax(1) != 0)]
    assert changed.size and np.isclose(changed, 2.5).all()
    assert not found.images and found.class_names == ("0", "1")


def test_they_are_saved_and_read_back(trained, tmp_path) -> None:
    found = found_by(trained, "fgm")
    found.save(tmp_path / "inputs.npz")
    again = PerturbedInputs.load(tmp_path / "inputs.npz")
    assert np.array_equal(again.inputs, found.inputs) and again.settings == found.settings
    assert again.images and again.class_names == found.class_names == tuple("0123456789")
    assert repr(again) == repr(found) and "broken" in repr(found)
    with pytest.raises(ValueError, match="read-only"):
        again.inputs[0, 0] = 0.0
    with pytest.raises(MismatchError, match="does not fit"):
        PerturbedInputs(**{**vars(found), "inputs": found.inputs[:1]})


def test_the_model_and_the_random_numbers_come_back_also_after_ctrl_c(trained, monkeypatch) -> None:
    model, _ = trained
    model.train()
    before, state = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    real, calls = attacks_module.visits, []

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == 5:  # two radii above 0 a batch: in the third batch
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(inputs_module, "visits", interrupted)
    found = found_by(trained, "fgm", batch_size=20)
    monkeypatch.undo()
    assert not found.complete and found.examples == 40
    assert np.array_equal(found.inputs, found_by(trained, "fgm", batch_size=20).inputs[:, :40])
    assert model.training and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None or parameter.requires_grad for parameter in model.parameters())
    model.eval()


@pytest.mark.parametrize("options", [{"attack": "pgd"}, {"epsilon": -1.0}, {"steps": 0}, {"attack": "fgm", "steps": 3}])
def test_wrong_settings_are_refused(trained, options) -> None:
    with pytest.raises(ConfigError):
        perturbed(*trained, progress=False, **{"epsilon": 0.1, **options})
    with pytest.raises(DataError, match="landscape Dataset"):
        perturbed(trained[0], trained[1].inputs, epsilon=0.1)
