"""What must hold of any model: order of attacks, balls, images, the untouched model, errors."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from landscape.datasets import Dataset, load_dataset
from landscape.errors import ConfigError, DataError, MismatchError, ModelError
from landscape.models import build_model
from landscape.robustness import ATTACKS, RobustAccuracy, perturbed, robust_accuracy, worst_case
from landscape.robustness import accuracy as accuracy_module
from landscape.robustness import attacks as attacks_module
from landscape.robustness.pixels import PixelModel
from landscape.seeding import generator, seeded
from landscape.surface.archive import save_result


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, Dataset]:
    """A small network that has learned the digits, and a hundred of them."""
    data = load_dataset("digits")
    with seeded(0, "tests", "robust"):
        model = build_model("smallcnn", input_shape=data.input_shape, classes=data.classes)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    inputs = data.normalized()
    for _ in range(6):
        for part in torch.arange(len(data)).split(50):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs[part]), data.targets[part]).backward()
            optimizer.step()
    return model, data.subset(torch.arange(100))


def attacked(trained, attack: str, epsilon, **options) -> RobustAccuracy:
    model, data = trained
    return robust_accuracy(model, data, attack=attack, epsilon=epsilon, progress=False, **options)


def quick(name: str) -> dict[str, int]:
    """Fewer steps than by default for the attacks of very many."""
    attack = ATTACKS[name]
    if attack.parts:
        return {"steps": 1}
    return {"steps": 40} if attack.search else {"steps": 4} if attack.adaptive else {}


RADII = {"l2": [0.0, 0.3, 0.9], "linf": [0.0, 0.04, 0.12]}


@pytest.mark.parametrize("name", ATTACKS)
def test_at_radius_zero_it_is_the_clean_accuracy_and_it_falls_with_the_radius(trained, name: str) -> None:
    model, data = trained
    found = attacked(trained, name, RADII[ATTACKS[name].norm], **quick(name))
    clean = model.eval()(data.normalized()).argmax(1) == data.targets
    assert found.broken[0].tolist() == (~clean).tolist()
    assert (np.diff(found.broken.astype(int), axis=0) >= 0).all()
    within = np.isnan(found.sizes) | (found.sizes <= found.epsilons[:, None] * (1 + 1e-5))  # rounding of float32
    assert within.all()


@pytest.mark.parametrize(
    ("weak", "strong"),
    [
        (("noise-linf", {}), ("fgsm", {})),
        (("noise-linf", {"starts": 2}), ("noise-linf", {"starts": 20})),
        (("fgsm", {}), ("bim", {})),
        (("bim", {}), ("pgd-linf", {"starts": 3})),
        (("pgd-linf", {"steps": 3, "step_size": 0.02}), ("pgd-linf", {"steps": 20, "step_size": 0.02})),
        (("noise-l2", {}), ("fgm", {})),
        (("fgm", {}), ("pgd-l2", {})),
        (("pgd-l2", {"steps": 5, "step_size": 0.1}), ("pgd-l2", {"steps": 40, "step_size": 0.1})),
        (("pgd-l2", {"steps": 5}), ("pgd-l2", {"steps": 5, "starts": 4})),
        (("pgd-l2", {"steps": 10}), ("apgd-l2", {"steps": 50})),
        (("fgsm", {}), ("apgd-linf", {"steps": 10})),
        (("apgd-linf", {"steps": 5}), ("apgd-linf", {"steps": 5, "starts": 3})),
        (("square-linf", {"steps": 20}), ("square-linf", {"steps": 20, "starts": 3})),
        (("noise-linf", {"starts": 100}), ("square-linf", {"steps": 100})),
        (("noise-l2", {"starts": 100}), ("square-l2", {"steps": 100})),
        (("apgd-l2", {"steps": 2}), ("autoattack-l2", {"steps": 2})),
    ],
)
def test_stronger_attacks_report_no_higher_accuracy(trained, weak, strong) -> None:
    radii = RADII[ATTACKS[weak[0]].norm]
    one, other = (attacked(trained, name, radii, **options) for name, options in (weak, strong))
    assert (other.accuracy <= one.accuracy).all()
    if weak[0] == strong[0]:  # the same points, and more
        assert (other.broken | ~one.broken).all()


@pytest.mark.parametrize("name", ATTACKS)
def test_everything_tried_is_an_image_within_the_ball(trained, name: str, monkeypatch) -> None:
    model, data = trained
    seen, real = [], PixelModel.__call__

    def watched(self, pixels):
        seen.append(pixels.detach())
        return real(self, pixels)

    monkeypatch.setattr(PixelModel, "__call__", watched)
    data = data.subset(torch.arange(20))
    radius = RADII[ATTACKS[name].norm][1]
    robust_accuracy(model, data, attack=name, epsilon=radius, progress=False, **quick(name))
    clean = data.inputs.float() / 255
    assert len(seen) > 2
    for pixels in seen:
        assert float(pixels.min()) >= 0 and float(pixels.max()) <= 1
        if any(ATTACKS[part].minimal for part in (name, *ATTACKS[name].parts)):  # its way has no radius
            continue
        away = (pixels[:, None] - clean[None]).flatten(2)
        sizes = torch.linalg.vector_norm(away, 2 if ATTACKS[name].norm == "l2" else torch.inf, dim=2).amin(1)
        assert float(sizes.max()) <= radius * (1 + 1e-5) + 1e-6


def test_the_largest_loss_of_a_sure_network_is_found_too() -> None:
    """Where float32 gives the label a probability of 1, the cross-entropy's own gradient is exactly 0."""
    points = torch.tensor([[1.0], [-1.0]])
    data = Dataset(name="line", inputs=points, targets=torch.tensor([1, 0]), classes=2, mean=(0.0,), std=(1.0,))
    model = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[-1000.0], [1000.0]]))
    (gradient,) = torch.autograd.grad(
        nn.functional.cross_entropy(model(x := points.clone().requires_grad_()), data.targets), x
    )
    assert not gradient.any()
    for loss in ("cross_entropy", "margin"):
        found = robust_accuracy(model, data, attack="fgm", epsilon=[0.9, 1.1], loss=loss, progress=False)
        assert found.accuracy.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("kind", ["constant", "dead", "constant image", "one class", "not finite"])
def test_nothing_to_climb(name: str, kind: str) -> None:
    draws = generator(0, "tests", "nothing to climb")
    pixels = torch.randint(256, (4, 1, 3, 3), generator=draws).to(torch.uint8)
    if kind == "constant image":
        pixels = torch.full_like(pixels, 7)
    labels = torch.zeros(4).long() if kind == "one class" else torch.tensor([0, 1, 0, 1])
    data = Dataset(name="few", inputs=pixels, targets=labels, classes=2, mean=(0.5,), std=(0.5,))
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        if kind == "dead":
            model[1].bias.fill_(-1e6)
        if kind == "constant":
            for parameter in model.parameters():
                parameter.zero_()
        if kind == "not finite":
            model[3].weight.fill_(torch.nan)
    found = robust_accuracy(model, data, attack=name, epsilon=[0.0, 0.3], progress=False, **quick(name))
    assert np.isfinite(found.accuracy).all() and np.isfinite(found.interval).all()
    if kind in ("constant", "dead"):
        assert found.broken[0].tolist() == found.broken[1].tolist()
    if kind == "not finite":
        assert found.broken.all()


def test_the_model_comes_back_as_it_was(trained) -> None:
    model, _ = trained
    model.train()
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    attacked(trained, "pgd-l2", 0.5, steps=3)
    assert model.training and torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.requires_grad and torch.equal(p.grad, torch.ones_like(p)) for p in model.parameters())
    model.eval()


def test_the_same_seed_gives_the_same_bits_and_another_one_others(trained) -> None:
    one, same, other = (attacked(trained, "pgd-linf", 0.06, steps=4, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(one.sizes, same.sizes, equal_nan=True)
    assert not np.array_equal(one.sizes, other.sizes, equal_nan=True)


def test_ctrl_c_keeps_what_was_done(trained, monkeypatch) -> None:
    real, calls = attacks_module.break_within, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(accuracy_module, "break_within", interrupted)
    found = attacked(trained, "fgm", 0.3, batch_size=20)
    monkeypatch.undo()
    whole = attacked(trained, "fgm", 0.3, batch_size=20)
    assert not found.complete and found.examples == 40 and whole.complete
    assert np.array_equal(found.broken, whole.broken[:, :40])
    monkeypatch.setattr(accuracy_module, "break_within", interrupted)
    calls[:] = [1, 1]
    with pytest.raises(KeyboardInterrupt):
        attacked(trained, "fgm", 0.3)


def test_several_attacks_together(trained) -> None:
    results = [attacked(trained, name, [0.0, 0.3, 0.9]) for name in ("noise-l2", "pgd-l2", "deepfool-l2")]
    both = worst_case(results)
    assert (both.broken == np.any([result.broken for result in results], axis=0)).all()
    assert np.nanmax(both.sizes - np.fmin.reduce([result.sizes for result in results])) == 0
    assert both.attack == "noise-l2 and pgd-l2 and deepfool-l2"
    with pytest.raises(MismatchError, match="same model, examples, norm and radii"):
        worst_case([results[0], attacked(trained, "fgsm", [0.0, 0.3, 0.9])])
    with pytest.raises(DataError, match="at least one"):
        worst_case([])


def test_it_is_saved_and_read_back(trained, tmp_path) -> None:
    found = attacked(trained, "fgm", [0.0, 0.3])
    found.save(tmp_path / "robust.npz")
    again = RobustAccuracy.load(tmp_path / "robust.npz")
    assert np.array_equal(again.sizes, found.sizes, equal_nan=True) and again.provenance == found.provenance
    assert repr(again) == repr(found) and again.settings == found.settings
    with pytest.raises(ValueError, match="read-only"):
        again.broken[0, 0] = True


def test_files_that_hold_what_was_broken_beside_the_sizes_are_read(trained, tmp_path) -> None:
    found = attacked(trained, "fgm", [0.0, 0.3])
    arrays, text = found._packed()
    assert "broken" not in arrays
    save_result(tmp_path / "old.npz", "RobustAccuracy", {**arrays, "broken": found.broken}, text)
    again = RobustAccuracy.load(tmp_path / "old.npz")
    assert np.array_equal(again.broken, found.broken) and again.provenance == found.provenance


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"attack": "pgd"}, "Did you mean"),
        ({"attack": 3}, "Unknown attack"),
        ({"epsilon": -0.1}, "epsilon is out of range"),
        ({"epsilon": []}, "epsilon is out of range"),
        ({"epsilon": [0.1, 1e16]}, "epsilon is out of range.*at most 1e"),
        ({"step_size": 1e39}, "step_size is out of range.*at most 1e"),
        ({"epsilon": [0.1, float("nan")]}, "epsilon is out of range"),
        ({"epsilon": "8/255"}, "epsilon is out of range"),
        ({"epsilon": True}, "epsilon is out of range"),
        ({"steps": 0}, "steps"),
        ({"steps": 2.5}, "steps"),
        ({"step_size": 0.0}, "step_size"),
        ({"step_size": float("inf")}, "step_size"),
        ({"starts": 0}, "starts"),
        ({"attack": "fgm", "steps": 3}, "fgm does not read it"),
        ({"attack": "fgm", "step_size": 0.1}, "fgm does not read it"),
        ({"attack": "fgsm", "starts": 2}, "fgsm does not read it"),
        ({"attack": "deepfool-l2", "step_size": 0.1}, "deepfool-l2 does not read it"),
        ({"attack": "noise-l2", "steps": 4}, "noise-l2 does not read it"),
        ({"attack": "apgd-l2", "step_size": 0.1}, "apgd-l2 does not read it"),
        ({"attack": "square-linf", "step_size": 0.1}, "square-linf does not read it"),
        ({"attack": "autoattack-l2", "starts": 2}, "autoattack-l2 does not read it"),
        ({"loss": "hinge"}, "Unknown loss"),
        ({"overshoot": -1.0}, "overshoot"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_wrong_settings_are_refused(trained, options, words: str) -> None:
    values = {"attack": "pgd-l2", "epsilon": 0.1, **options}
    with pytest.raises(ConfigError, match=words):
        robust_accuracy(*trained, progress=False, **values)


def test_what_cannot_be_attacked_is_refused(trained) -> None:
    model, data = trained
    with pytest.raises(DataError, match="landscape Dataset"):
        robust_accuracy(model, (data.normalized(), data.targets), epsilon=0.1)
    with pytest.raises(ModelError, match="does not classify"):
        robust_accuracy(nn.Sequential(model, nn.Flatten(0)), data, epsilon=0.1)

    class Rounded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x.detach())

    with pytest.raises(ModelError, match="cannot be differentiated"):
        robust_accuracy(Rounded(), data, epsilon=0.1, progress=False)
    found = robust_accuracy(Rounded(), data, attack="noise-linf", epsilon=0.1, progress=False)
    assert found.complete


def test_a_frozen_model_is_attacked_like_another(trained) -> None:
    model, data = trained
    frozen = copy.deepcopy(model).requires_grad_(False)
    found = robust_accuracy(frozen, data, attack="fgm", epsilon=0.3, progress=False)
    assert np.array_equal(found.broken, attacked(trained, "fgm", 0.3).broken)
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


def test_one_class_cannot_be_confused() -> None:
    points = torch.zeros(2, 1)
    data = Dataset(name="one", inputs=points, targets=torch.zeros(2).long(), classes=1, mean=(0.0,), std=(1.0,))
    for name in ATTACKS:
        found = robust_accuracy(nn.Linear(1, 1), data, attack=name, epsilon=0.5, progress=False, **quick(name))
        assert found.accuracy.tolist() == [1.0] and np.isnan(found.sizes).all()
        assert not points.any(), name  # inputs that are no images are the caller's own tensor: it stays as it was


class Sign(nn.Module):
    """Class 1 above 0, without a weight."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat((-x, x), 1)


def test_a_model_without_weights_is_attacked_like_another() -> None:
    points, labels = torch.tensor([[0.5], [2.0], [-1.0]]).double(), torch.tensor([1, 1, 0])
    data = Dataset(name="line", inputs=points, targets=labels, classes=2, mean=(0.0,), std=(1.0,))
    model = Sign()
    found = robust_accuracy(model, data, attack="fgm", epsilon=[0.0, 0.6, 1.5], progress=False)
    assert found.broken.sum(1).tolist() == [0, 1, 2]  # those nearer to 0 are broken
    assert (found.provenance["model"], found.provenance["parameters"]) == ("Sign", 0)
    assert found.provenance["dtype"] == "float64"  # the data's
    assert not list(model.parameters())
    model.register_buffer("table", torch.zeros(2))
    found = perturbed(model, data, attack="fgm", epsilon=0.6, progress=False)
    assert found.broken.tolist() == [[True, False, False]] and found.provenance["dtype"] == "float32"


@pytest.mark.parametrize("seed", ["a", 0.5, None, True])
@pytest.mark.parametrize("ask", [robust_accuracy, perturbed])
def test_a_seed_that_is_none_is_refused_before_anything_is_done(ask, seed) -> None:
    points = torch.zeros(2, 1)
    data = Dataset(name="two", inputs=points, targets=torch.arange(2), classes=2, mean=(0.0,), std=(1.0,))
    for attack in ("fgm", "deepfool-l2"):  # which draws nothing
        with pytest.raises(ConfigError, match="seed is out of range"):
            ask(nn.Linear(1, 2), data, attack=attack, epsilon=0.5, seed=seed, progress=False)


def test_what_is_no_model_is_refused() -> None:
    data = Dataset(name="two", inputs=torch.zeros(2, 1), targets=torch.arange(2), classes=2, mean=(0.0,), std=(1.0,))
    with pytest.raises(ModelError, match="no model"):
        robust_accuracy(lambda x: x, data, epsilon=0.5, progress=False)  # type: ignore[arg-type]
