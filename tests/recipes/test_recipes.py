"""Published settings: every row of the tables is there, is understood, is packed with the code, and trains a step."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from importlib import resources
from itertools import product
from pathlib import Path

import pytest

from landscape.datasets import DATASETS
from landscape.errors import ConfigError
from landscape.optim import OPTIMIZERS
from landscape.recipes import RECIPES, Published, Recipe, Source, load_recipe
from landscape.training import RunConfig, train

ROOT = Path(__file__).parents[2]
FILES = resources.files("landscape.recipes")


def raw(name: str) -> dict:
    return json.loads(FILES.joinpath(*f"{name}.json".split("/")).read_text(encoding="utf-8"))


# ------------------------------------------------------------------------------------------------ which rows there are

_UNITS = {"test error": "%", "robust accuracy": "%", "test NLL": "nats"}
AUGMENTED = ("", "-cutout", "-autoaugment")


def rows() -> dict[str, set[str]]:
    """The names that the tables of each source ask for."""
    cifars = ("cifar10", "cifar100")
    others = ("", "-erm", "-dropout", "-label-smoothing", "-flooding", "-mixup", "-adversarial", "-rmp")
    amp = {f"{d}-{m}{s}" for d, m, s in product(("svhn", *cifars), ("preactresnet18", "vgg16"), others)}
    wide = product(("svhn", *cifars), ("wrn28-10", "pyramidnet164-270"), AUGMENTED, ("", "-erm"))
    amp |= {f"{d}-{m}{a}{s}" for d, m, a, s in wide}
    large = ("wrn28-10", "wrn28-10-1800", "shakeshake26-96", "pyramidnet272-200")
    sam = {f"{d}-{m}{a}{s}" for d, m, a, s in product(cifars, large, AUGMENTED, ("", "-sgd"))}
    small = ("svhn-wrn28-10", "svhn-wrn28-10-autoaugment", "fashion-mnist-wrn28-10", "cifar10-wrn40-10-nobn")
    noisy = [f"cifar10-resnet32-noise{percent}" for percent in (20, 40, 60, 80)]
    sam |= {f"{m}{s}" for m, s in product((*small, *noisy, "cifar10-wrn16-8"), ("", "-sgd"))} | {"cifar10-wrn16-8-asam"}
    plain = [f"{d}-{m}" for d, m in product(cifars, ("resnet18", "resnet50", "resnet101"))]
    plain += ["mnist-lenet", "tiny-imagenet-resnet18", "imagenet-resnet18"]
    lpf = {f"{m}{s}" for m, s in product(plain, ("", "-sgd", "-sam", "-esgd", "-aso"))}
    networks = ("wrn16-8", "wrn28-10", "shakeshake26-96", "pyramidnet110-270", "pyramidnet272-200")
    lpf |= {f"{d}-{m}{a}{s}" for d, m, a, s in product(cifars, networks, AUGMENTED, ("", "-sgd", "-sam"))}
    sizes = product(("cifar10-1000", "cifar10-5000", "cifar10"), ("vgg", "resnet"), ("", "-noaug"))
    kernel = {f"{size}-{m}{a}" for size, m, a in sizes} | {"cifar10-5000-resnet-wd"}
    kernel |= {f"cifar10-1000-vgg-{penalty}" for penalty in ("adversarial", "gradient", "grad-l2-projection")}
    digits = ("", "-wd", "-gradient", "-adversarial", "-deformation", "-tangent")
    kernel |= {f"mnist-{n}-vgg5{a}" for n, a in product((300, 1000), digits)}
    kernel |= {"cifar10-vgg-robust", "cifar10-vgg-robust-2"}
    asam = {f"{m}{s}" for m, s in product(("cifar10-wrn28-10", "cifar100-wrn28-10"), ("", "-sam"))}
    asam |= {f"{m}{s}" for m, s in product(("cifar10-wrn28-2", "cifar10-resnet56"), ("", "-sam"))}
    student = {"cifar10-preactresnet18", "gtsrb-preactresnet18"}
    return {"amp": amp, "asam": asam, "kernel": kernel, "lpf": lpf, "sam": sam, "student": student}


def test_every_row_of_the_tables_is_a_file_and_no_other():
    assert sorted(f"{family}/{row}" for family, names in rows().items() for row in names) == list(RECIPES)


@pytest.mark.parametrize(
    ("name", "value", "settings"),
    [
        ("amp/cifar100-wrn28-10", 17.33, {"epsilon": 0.5, "inner_lr": 1.0, "batch_size": 50, "milestones": [100, 150]}),
        ("amp/cifar100-wrn28-10-erm", 19.17, {"optimizer": "sgd", "nesterov": True, "weight_decay": 1e-4}),
        ("amp/svhn-pyramidnet164-270-autoaugment", 1.35, {"epsilon": 0.1, "cutout": 20, "autoaugment": "svhn"}),
        ("amp/cifar10-vgg16", 5.65, {"model": "vgg16_bn", "epsilon": 0.1, "inner_lr": 0.2}),
        ("amp/cifar10-preactresnet18-flooding", 4.97, {"flooding": 0.02}),
        ("sam/cifar10-wrn16-8-asam", 2.55, {"rho": 2.0, "label_smoothing": 0.1, "milestones": [60, 120, 160]}),
        ("sam/cifar100-pyramidnet272-200-cutout", 12.6, {"rho": 0.2, "epochs": 1800, "schedule": "cosine"}),
        ("sam/cifar10-wrn28-10-sgd", 3.5, {"epochs": 400, "clip_norm": 5.0}),
        ("sam/cifar10-resnet32-noise80", 22.1, {"rho": 0.05, "label_noise": 0.8}),
        ("lpf/cifar100-resnet18", 30.02, {"std": 0.002, "M": 1, "milestones": [100, 120]}),
        ("lpf/cifar10-resnet18-esgd", 10.88, {"lr": 0.5, "epochs": 40, "milestones": [20, 24]}),
        ("lpf/cifar100-wrn28-10", 17.44, {"std": 5e-4, "M": 8, "inc": 25.0}),
        ("lpf/cifar100-wrn28-10-autoaugment", 15.94, {"std": 7e-4, "inc": 15.0, "cutout": 8}),
        ("lpf/cifar100-pyramidnet110-270-sgd", 18.45, {"lr": 0.5, "epochs": 300, "milestones": [150, 225]}),
        ("lpf/imagenet-resnet18", 35.36, {"std": 0.0005, "batch_size": 256, "image_size": 224}),
    ],
)
def test_rows_read_against_the_sources(name, value, settings):
    found = raw(name)
    assert found["published"][0]["value"] == value
    assert {key: found["config"].get(key) for key in settings} == settings


# --------------------------------------------------------------------------------------------- what each file must hold


@pytest.mark.parametrize("name", RECIPES)
def test_a_file_says_what_it_must(name):
    found = raw(name)
    assert list(found) == ["title", "config", "published", "source", "notes"]
    assert set(found["source"]) == {"paper", "table", "url", "settings"} and all(found["notes"]) and found["title"]
    assert found["source"]["settings"].startswith("https://")
    for figure in (Published(**entry) for entry in found["published"]):
        assert math.isfinite(figure.value) and figure.value > 0
        assert figure.std is None or 0 < figure.std < figure.value
        assert figure.epoch in ("last", "best", None)
        assert figure.unit == _UNITS.get(figure.what.partition(" at ")[0], "")
        assert figure.unit != "%" or figure.value < 100
        assert found["source"]["url"].startswith("https://") and found["source"]["table"]
    notes = " ".join(found["notes"])
    assert bool(found["published"]) != any(words in notes for words in ("No figure of", "No figure was"))
    if any(entry["epoch"] == "best" for entry in found["published"]):
        assert "best epoch" in notes


@pytest.mark.parametrize("name", RECIPES)
def test_settings_agree_with_each_other(name):
    config = raw(name)["config"]
    dataset = config["dataset"].removeprefix("folder:data/")
    assert dataset in (*DATASETS, "tiny-imagenet", "imagenet")
    assert name.split("/")[1].startswith(dataset)
    assert config["optimizer"] in OPTIMIZERS
    if dataset in DATASETS and DATASETS[dataset].never_flip:
        assert "flip" not in config
    assert all(milestone < config["epochs"] for milestone in config.get("milestones", ()))
    for key in ("model", "lr", "weight_decay", "momentum", "epochs", "batch_size", "schedule"):
        assert key in config, "a default of this package is no part of a published setting"


@pytest.mark.parametrize("name", RECIPES)
def test_settings_are_those_of_a_run(name):
    found, recipe = raw(name), load_recipe(name)
    assert recipe.config == RunConfig(**found["config"])
    assert recipe.title == found["title"] and len(recipe.published) == len(found["published"])


@pytest.mark.parametrize("name", RECIPES)
def test_the_smallest_form_keeps_every_other_setting(name, tmp_path):
    recipe = load_recipe(name)
    small = recipe.smoke(data_root=tmp_path)
    before, after = recipe.config.to_dict(), small.to_dict()
    changed = {key for key in before if before[key] != after[key]}
    assert {"limit", "test_limit", "epochs", "batch_size"} <= changed
    assert changed <= {"limit", "test_limit", "epochs", "batch_size", "dataset"}
    assert (small.epochs, small.limit) == (1, small.batch_size)
    assert small.dataset.startswith("synthetic:")
    shape = small.dataset.removeprefix("synthetic:")
    name = recipe.config.dataset.removeprefix("folder:data/")
    known = {"tiny-imagenet": "3x64x64:200", "imagenet": "3x224x224:1000", "cifar100": "3x32x32:100"}
    known |= {"gtsrb": "3x32x32:43", "mnist": "1x28x28:10", "fashion-mnist": "1x28x28:10"}
    assert shape == known.get(name, "3x32x32:10")


def test_a_dataset_that_is_there_is_kept(tmp_path):
    (tmp_path / "cifar-10-python.tar.gz").touch()
    recipe = Recipe(
        name="x", title="x", config=RunConfig(dataset="cifar10", model="resnet20"), published=(), source=SOURCE
    )
    assert recipe.smoke(data_root=tmp_path).dataset == "cifar10"
    own = dataclasses.replace(recipe, config=RunConfig(dataset=f"folder:{tmp_path}", model="resnet20"))
    assert own.smoke().dataset == f"folder:{tmp_path}"
    lost = dataclasses.replace(recipe, config=RunConfig(dataset=f"folder:{tmp_path / 'no'}", model="resnet20"))
    assert lost.smoke().dataset == lost.config.dataset  # loading it says what is wrong


def test_every_part_of_a_batch_has_two_examples():
    config = RunConfig(optimizer="lpfsgd", M=8, epochs=9)
    recipe = Recipe(name="x", title="x", config=config, published=(), source=SOURCE)
    assert recipe.smoke().batch_size == 16


SOURCE = Source(paper="A: B, 2020", table="table 1", url="https://example.org", settings="https://example.org")


# ---------------------------------------------------------------------------------------------------- names and texts


@pytest.mark.parametrize(
    ("name", "near"), [("amp/cifar100-wrn2810", "'amp/cifar100-wrn28-10'"), ("LPF/mnist-lenet", "'lpf/mnist-lenet'")]
)
def test_an_unknown_name_gives_the_nearest_and_no_long_list(name, near):
    with pytest.raises(ConfigError, match="Did you mean") as caught:
        load_recipe(name)
    assert near in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("name", ["", "zzz", "../recipes/amp/cifar100-wrn28-10", "amp"])
def test_nothing_but_a_name_is_read(name):
    with pytest.raises(ConfigError, match="Unknown recipe"):
        load_recipe(name)


def test_a_figure_in_a_line():
    assert str(Published(what="test error", value=5.0, std=0.25, epoch="last")) == "test error 5 ± 0.25 % (last epoch)"
    eigenvalue = Published(what="largest eigenvalue", value=24.2, unit="", note="after 300 epochs")
    assert str(eigenvalue) == "largest eigenvalue 24.2 (after 300 epochs)"
    assert str(SOURCE) == "A: B, 2020, table 1, https://example.org"


def test_differences_are_those_that_change_a_result():
    config = RunConfig(epochs=9, milestones=(3,), schedule="multistep")
    recipe = Recipe(name="x", title="x", config=config, published=(), source=SOURCE)
    assert recipe.differences(config) == ()
    assert recipe.differences(config.replace(name="mine", seed=3, device="cpu", save_every=4)) == ()
    other = config.replace(limit=50, milestones=(2, 4), model="mlp")
    assert recipe.differences(other) == (
        "limit 50 in place of none",
        "model mlp in place of smallcnn",
        "milestones [2, 4] in place of [3]",
    )


# ------------------------------------------------------------------------------------------------------- packed with it

BUILD = "from setuptools import build_meta; build_meta.build_wheel('out'); build_meta.build_sdist('out')"


def test_a_wheel_and_a_source_archive_hold_every_file(tmp_path):
    pytest.importorskip("setuptools")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "landscape", tmp_path / "landscape", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "out").mkdir()
    done = subprocess.run([sys.executable, "-c", BUILD], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    wheel, archive = (next((tmp_path / "out").glob(pattern)) for pattern in ("*.whl", "*.tar.gz"))
    expected = {f"landscape/recipes/{name}.json" for name in RECIPES}
    with zipfile.ZipFile(wheel) as packed:
        assert expected <= set(packed.namelist())
    with tarfile.open(archive) as packed:
        assert expected <= {name.partition("/")[2] for name in packed.getnames()}


# --------------------------------------------------------------------------------------------------- a step of each

SLOW_MODELS = ("vgg16", "wrn16-8", "wrn28-10", "wrn40-10", "pyramidnet", "shakeshake", "resnet50", "resnet101")


def slow(name: str) -> bool:
    """Whether a step takes seconds, by the size of the network or of the images."""
    config = raw(name)["config"]
    return config["model"].startswith(SLOW_MODELS) or "image_size" in config or config["optimizer"] == "entropysgd"


def covering() -> list[str]:
    """A few quick recipes that hold between them every value of every setting that takes words, and every setting."""

    def features(name: str) -> set[tuple]:
        config = raw(name)["config"]
        numbers = {(key,) for key, value in config.items() if isinstance(value, int | float | dict | list)}
        return numbers | {(key, value) for key, value in config.items() if isinstance(value, str)}

    left = {name: features(name) for name in RECIPES if not slow(name)}
    wanted, chosen = set().union(*left.values()), []
    while wanted:
        best = max(left, key=lambda name: len(left[name] & wanted))
        chosen.append(best)
        wanted -= left.pop(best)
    return sorted(chosen)


def smoke(name: str, root: Path) -> None:
    recipe = load_recipe(name)
    data = os.environ.get("LANDSCAPE_DATA")
    config = recipe.smoke(data_root=data or root)
    if data and recipe.config.dataset == "cifar10":
        config = config.replace(dataset=f"folder:{Path(data) / 'cifar10-images'}")
    run = train(config, root=root, progress=False, data_root=data or root)
    (row,) = run.metrics()
    assert run.status == "finished" and row["step"] == 1
    assert math.isfinite(row["train_loss"]) and 0 <= row["test_error"] <= 1
    assert [step for step, _ in run.checkpoints()] == [0, 1]


COVERING = covering()


@pytest.mark.parametrize("name", COVERING)
def test_a_step_of_a_few_that_cover_all_settings(name, tmp_path):
    smoke(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in RECIPES if name not in COVERING])
def test_a_step_of_every_other(name, tmp_path):
    smoke(name, tmp_path)
