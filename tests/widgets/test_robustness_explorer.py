"""The explorer of robustness: what it draws and says is what was computed, live and static, of images and signals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from landscape.datasets import Dataset
from landscape.errors import ConfigError, DataError, LandscapeError, MismatchError
from landscape.objective import Objective
from landscape.robustness import perturbed, robust_accuracy, worst_case
from landscape.seeding import generator
from landscape.surface import perturbation_profile
from landscape.widgets import RobustnessExplorer
from landscape.widgets.panel import AT_START
from landscape.widgets.robustness_words import accuracy_said, answer, drawable

RADII = {"l2": [0.0, 0.5, 1.0], "linf": [0.0, 8 / 255, 32 / 255]}
LENGTHS = [0.0, 0.1, 0.5]


def data_of(kind: str) -> Dataset:
    """Twenty images or signals of two classes that a line can tell apart, mostly."""
    draws = generator(0, "tests", "explorer of robustness", kind)
    labels = torch.arange(20) % 2
    if kind == "signals":
        inputs = torch.randn(20, 1, 12, generator=draws) + labels[:, None, None]
        return Dataset(name=kind, inputs=inputs, targets=labels, classes=2, mean=(0.0,), std=(1.0,))
    channels = 3 if kind == "colors" else 1
    inputs = torch.randint(0, 120, (20, channels, 4, 4), generator=draws) + 60 * labels[:, None, None, None]
    look = {"mean": (0.4,) * channels, "std": (0.3,) * channels, "class_names": ("cat", "dog")}
    return Dataset(name=kind, inputs=inputs.to(torch.uint8), targets=labels, classes=2, **look)


def parts_of(kind: str = "images", norms: tuple[str, ...] = ("l2", "linf")) -> tuple[dict, dict, dict]:
    """Changed inputs of eight, accuracies over twenty, and profiles, of two small networks."""
    data, found = data_of(kind), ({}, {}, {})
    for seed, label in enumerate(("SGD", "SAM")):
        draws = generator(seed, "tests", "explorer of robustness")
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(data.inputs[0].numel(), 2))
        inputs = data.normalized()
        with torch.no_grad():
            model[1].weight.copy_(0.02 * torch.randn(model[1].weight.shape, generator=draws))
        for _ in range(60):
            loss = torch.nn.functional.cross_entropy(model(inputs), data.targets)
            for parameter, step in zip(
                model.parameters(), torch.autograd.grad(loss, [*model.parameters()]), strict=True
            ):
                parameter.data -= (0.3 - 0.2 * seed) * step
        for norm in norms:
            options = {"attack": f"pgd-{norm}", "epsilon": RADII[norm], "steps": 4, "progress": False}
            few = perturbed(model, data.subset(list(range(8))), beyond=True, **options)
            found[0].setdefault(label, []).append(few)
            found[1].setdefault(label, []).append(robust_accuracy(model, data, **options))
        objective = Objective(model, data)
        found[2][label] = perturbation_profile(objective, radii=LENGTHS, kinds=["sam"], progress=False)
    return found


@pytest.fixture(scope="module")
def parts() -> tuple[dict, dict, dict]:
    return parts_of()


def trace(picture, **wanted):
    (found,) = [one for one in picture.data if all(one.get(key) == value for key, value in wanted.items())]
    return found


def test_what_is_drawn_is_what_was_found(parts):
    inputs, accuracy, profiles = parts
    explorer = RobustnessExplorer(*parts)
    values = {"network": "SAM", "example": 3, "norm": "linf", "epsilon_linf": 32 / 255, "rho": 0.5}
    picture, found = explorer.build(explorer.result(**values)), inputs["SAM"][1]
    np.testing.assert_array_equal(trace(picture, name="as it is")["z"], found.clean[3, 0])
    np.testing.assert_array_equal(trace(picture, name="changed")["z"], found.inputs[2, 3, 0])
    np.testing.assert_allclose(trace(picture, name="change")["z"], found.inputs[2, 3, 0] - found.clean[3, 0])
    curve = trace(picture, name="SAM", xaxis="x4")
    np.testing.assert_allclose(curve["x"], [0, 8, 32])
    np.testing.assert_allclose(curve["y"], 100 * accuracy["SAM"][1].accuracy)
    band = trace(picture, name="95 % interval")
    np.testing.assert_allclose(band["y"][:3], 100 * accuracy["SAM"][1].interval[:, 1])
    marks = [(one["x"][0], one["y"][0]) for one in picture.data if one["name"] == "now"]
    assert marks[0] == pytest.approx((32.0, 100 * accuracy["SAM"][1].accuracy[2]))
    assert marks[1] == (0.5, profiles["SAM"].loss["sam"][2])


def test_the_colors_of_the_change_are_white_at_zero_and_the_same_for_all_networks(parts):
    explorer = RobustnessExplorer(*parts)
    for radius in RADII["l2"]:
        views = [explorer.result(epsilon_l2=radius, network=label) for label in parts[0]]
        changes = [trace(explorer.build(view), name="change") for view in views]
        ((low, high),) = {(change["zmin"], change["zmax"]) for change in changes}
        assert low == -high < 0
        largest = max(np.abs(change["z"]).max() for change in changes)
        assert high == (largest or 1.0)


def test_it_says_the_numbers_with_their_interval_and_the_attack(parts):
    inputs, accuracy, profiles = parts
    explorer = RobustnessExplorer(*parts, example=2)
    said = explorer.words(explorer.result(epsilon_l2=1.0, rho=0.1), epsilon_l2=1.0, rho=0.1)
    found, over = inputs["SGD"][0], accuracy["SGD"][0]
    low, high = 100 * over.interval[2]
    share = found.probabilities(2)[2]
    named = found.class_names[int(share.argmax())]
    for words in (
        "Example 3 of 8, labelled cat", f"Within ε = 1 it says {named} ({100 * share.max():.1f} %)",
        f"keeps {100 * over.accuracy[2]:.1f} % of 20 examples (Wilson's 95 % interval {low:.1f} to {high:.1f})",
        f"as they are, {100 * over.accuracy[0]:.1f} %", "pgd-l2 (4 steps, 1 start, up the cross-entropy)",
        f"loss {profiles['SGD'].base_loss:.4g} → {profiles['SGD'].loss['sam'][1]:.4g}", "over 20 examples",
    ):  # fmt: skip
        assert words in said, words


def test_an_example_that_is_wrong_as_it_is_is_said_to_be_so(parts):
    inputs, accuracy, profiles = parts
    label = 1 - inputs["SGD"][0].labels[0]
    wrong = {
        name: [replace(one, labels=np.r_[label, one.labels[1:]], broken=one.broken) for one in its]
        for name, its in inputs.items()
    }
    explorer = RobustnessExplorer(wrong, accuracy, profiles, example=0)
    assert "wrong as it is, so no change is looked for" in explorer.words(explorer.result())


def test_it_begins_where_the_first_network_is_broken(parts):
    inputs = parts[0]
    broken = inputs["SGD"][0].broken
    assert (broken[2] & ~broken[0]).any()
    start = RobustnessExplorer(*parts, epsilon=1.0).values()
    assert start["epsilon_l2"] == 1.0 and broken[2, start["example"]] and not broken[0, start["example"]]
    right = parts[0]["SGD"][0].clean_logits.argmax(axis=1) == parts[0]["SGD"][0].labels
    lost = np.ones((3, 1), dtype=bool)
    flipped = {}
    for name, its in parts[0].items():
        wrong = {"labels": np.r_[1 - its[0].labels[:1], its[0].labels[1:]]}
        flipped[name] = [replace(one, **wrong, broken=np.c_[lost, one.broken[:, 1:]]) for one in its]
    assert right[:2].all() and RobustnessExplorer(flipped, *parts[1:], epsilon=0.0).values()["example"] == 1


def test_live_sliders_move_the_figure_and_the_words(parts):
    explorer = RobustnessExplorer(*parts, epsilon=0.5)
    explorer.widget()

    def shown() -> list[str]:
        return [name for name, one in explorer.sliders.items() if one.layout.display != "none"]

    assert shown() == ["network", "example", "norm", "epsilon_l2", "rho"]
    before = next(one.z for one in explorer.live_figure.data if one.name == "changed")
    explorer.sliders["epsilon_l2"].value = 1.0
    after = next(one.z for one in explorer.live_figure.data if one.name == "changed")
    assert not np.allclose(np.array(before, float), np.array(after, float))
    assert "Within ε = 1 it" in explorer.status.value and "role='status'" in explorer.status.value
    explorer.sliders["norm"].value = "linf"
    assert shown() == ["network", "example", "norm", "epsilon_linf", "rho"]
    assert "Within ε = 8/255 it" in explorer.status.value
    explorer.sliders["network"].value = "SAM"
    assert explorer.live_figure.layout.title.text.startswith("<b>SAM:")
    explorer.reset()
    assert explorer._now() == explorer.values()


def test_a_static_page_has_a_slider_over_the_input_and_one_over_the_weights(parts):
    explorer = RobustnessExplorer(*parts)
    (one, other), words = zip(*explorer.static_parts(), strict=True)
    assert [figure.layout.sliders[0].currentvalue.prefix[0] for figure in (one, other)] == ["ε", "ρ"]
    assert {frame.name for frame in one.frames} == {"0", "0.5", "1"} and len(other.frames) == 3
    changed = next(trace for trace in {f.name: f for f in one.frames}["1"].data if trace.name == "changed")
    k = explorer.values()["example"]
    np.testing.assert_allclose(np.array(changed.z, float), parts[0]["SGD"][0].inputs[2, k, 0])
    assert all(said.startswith(AT_START) for said in words)
    titles = [annotation.text for annotation in one.frames[0].layout.annotations]
    assert any(text.startswith("Changed<br>says") for text in titles)


@pytest.mark.parametrize(("kind", "drawn"), [("signals", "scatter"), ("colors", "image")])
def test_signals_and_colors_are_drawn_as_what_they_are(kind, drawn):
    parts = parts_of(kind, norms=("l2",))
    explorer = RobustnessExplorer(*parts, example=1)
    assert "norm" not in explorer.controls
    picture, found = explorer.build(explorer.result(epsilon_l2=1.0)), parts[0]["SGD"][0]
    changed = trace(picture, name="changed")
    assert changed["type"] == drawn
    if kind == "signals":
        np.testing.assert_array_equal(changed["y"], found.inputs[2, 1, 0])
        assert "pixels" not in str(picture.layout)
    else:
        np.testing.assert_array_equal(changed["z"], np.round(255 * found.inputs[2, 1].transpose(1, 2, 0)))
        assert "mean of the channels" in str(picture.layout)
    explorer.figure_with_frames()


def test_what_does_not_belong_together_is_refused(parts):
    inputs, accuracy, profiles = parts
    one = {name: its[:1] for name, its in inputs.items()}
    for wrong in (
        ({"SGD": inputs["SGD"]}, accuracy, profiles),
        (inputs, accuracy, {"SGD": profiles["SGD"]}),
        (inputs, {name: its[:1] for name, its in accuracy.items()}, profiles),
        ({**one, "SAM": inputs["SAM"][1]}, accuracy, profiles),
        ({**one, "SAM": replace(one["SAM"][0], clean=one["SAM"][0].clean / 2)}, accuracy, profiles),
        ({**one, "SAM": replace(one["SAM"][0], epsilons=[0.0, 0.4, 1.0])}, accuracy, profiles),
        ({name: replace(its[0], epsilons=[0.0, 0.4, 1.0]) for name, its in one.items()}, accuracy, profiles),
        (inputs, accuracy, {**profiles, "SAM": replace(profiles["SAM"], radii=[0.0, 0.1, 0.6])}),
    ):  # fmt: skip
        with pytest.raises(MismatchError):
            RobustnessExplorer(*wrong)
    with pytest.raises(DataError, match="nothing to explore"):
        RobustnessExplorer({}, accuracy, profiles)
    amp = replace(profiles["SAM"], kinds=("amp",), loss={"amp": [1, 2, 3]}, stderr={"amp": [0, 0, 0]})
    with pytest.raises(DataError, match="no kind 'sam'"):
        RobustnessExplorer(inputs, accuracy, {**profiles, "SAM": amp})
    for options in ({"epsilon": 0.7}, {"rho": 0.2}, {"example": 8}):
        with pytest.raises(ConfigError):
            RobustnessExplorer(*parts, **options)
    with pytest.raises(LandscapeError):
        RobustnessExplorer(*parts).result(network="AMP")


def test_words_of_what_is_not_finite_and_of_attacks_together(parts):
    found, over = parts[0]["SGD"][0], parts[1]["SGD"][0]
    lost = replace(found, logits=np.full_like(found.logits, np.nan))
    assert answer(lost, 1, 0) == "says nothing: its outputs are not finite"
    both = worst_case([over, replace(over, settings={**over.settings, "loss": "margin"})])
    assert accuracy_said(both, 1, "0.5").endswith(
        "Attack: pgd-l2 (4 steps, 1 start, up the cross-entropy) and pgd-l2 (4 steps, 1 start, up the margin)."
    )
    assert [drawable(np.zeros(shape)).shape for shape in ((1, 4, 5), (3, 4, 5), (4, 5), (1, 7), (7,), (2, 3, 4))] == [
        (4, 5), (3, 4, 5), (4, 5), (7,), (7,), (24,),
    ]  # fmt: skip
