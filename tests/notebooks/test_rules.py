"""Values of parameters: by the names that all notebooks share, and by what stands in brackets."""

from __future__ import annotations

import math

import pytest

from landscape.datasets import DATASETS
from landscape.errors import ConfigError, NotebookError
from landscape.notebooks.catalog import entry_of
from landscape.notebooks.given import check_given
from landscape.notebooks.parameters import check_type, parse_parameters
from landscape.notebooks.profile import PROFILES, SIZES, find_profile
from landscape.notebooks.rules import check_values, plain_help, rule_of
from landscape.training import RunConfig
from tests.notebooks.form import NOTEBOOKS


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rho", -1.0, "'rho' is out of range. Expected: at least 0. Got: -1.0"),
        ("epsilon", -1e-9, "at least 0"),
        ("std", math.nan, "a finite number"),
        ("extent", math.inf, "a finite number"),
        ("lr", 0.0, "above 0"),
        ("epochs", 0, "at least 1"),
        ("points", 0, "at least 1"),
        ("seed", -1, "at least 0"),
        ("label_noise", 1.5, "0 to 1"),
        ("dataset", "nope", r"Unknown dataset 'nope'. Expected: one of .*digits.*folder:PATH.*mnist1d"),
        ("dataset", "digit", "Did you mean 'digits'"),
        ("dataset", "imagenet", "folder:PATH"),
        ("dataset", "folder:/no/such/place", "There are no images.*no such folder"),
        ("model", "resnet", "Unknown model 'resnet'.*module:function"),
        ("model", "torchvision:nope", "Unknown model of torchvision 'nope'"),
        ("optimizer", "samm", "Did you mean 'sam'"),
        ("optimizers", ("sgd", "samm"), "Did you mean 'sam'"),
        ("recipe", "amp/nope", "recipe"),
        ("profile", "fast", "Unknown profile 'fast'. Expected: one of paper, quick, standard"),
        ("mode", "alive", "Unknown mode 'alive'.*Did you mean 'live'"),
        ("device", "gpu", "auto, cpu, cuda or cuda:N"),
        ("device", "cuda:99", "is not there"),
        ("root", "", "names no folder"),
        ("data_root", "/no/such/place", "a folder that is there"),
    ],
)
def test_values_that_no_notebook_takes(name, value, message):
    with pytest.raises(NotebookError, match=message):
        check_values({name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rho", 0.0), ("rho", 3), ("label_noise", 0.0), ("label_noise", 1.0), ("limit", 0), ("epochs", None),
        ("dataset", "mnist1d"), ("dataset", "synthetic:1x8x8:3"), ("model", "a:b"), ("model", "torchvision:resnet18"),
        ("optimizers", ("sgd", "amp")), ("recipe", ""), ("recipe", "amp/cifar10-vgg16"), ("device", "auto"),
        ("data_root", ""), ("anything", -5), ("anything", "else"),
    ],
)  # fmt: skip
def test_values_that_are_taken(name, value):
    check_values({name: value})


def test_a_folder_of_images_is_taken(tmp_path):
    (tmp_path / "train" / "cats").mkdir(parents=True)
    check_values({"dataset": f"folder:{tmp_path}", "data_root": str(tmp_path)})


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ("> 0", 0.1, 0.0), (">= 1", 1, 0), ("< 2", 1.9, 2), ("<= 2", 2, 2.1), ("0..1", 1.0, 1.1), ("-1 .. 1", -1, -2),
        ("1e-3..1", 0.001, 0.0), ("mean | max", "max", "min"), ("1 | 3", 3, 2),
    ],
)  # fmt: skip
def test_brackets_at_the_end_of_a_comment(rule, good, bad):
    known = parse_parameters(f"mine = {bad!r}  # what it is [{rule}]")
    check_values({"mine": good}, known)
    check_values({"mine": [good, good]}, known)
    for value in (bad, [good, bad]):
        with pytest.raises(NotebookError, match="mine"):
            check_values({"mine": value}, known)


def test_brackets_take_the_place_of_a_names_rule_and_are_no_help_text():
    known = parse_parameters("rho = 0.5  # part of the norm [0.1..1]")
    check_values({"rho": 0.5}, known)
    with pytest.raises(NotebookError, match="0.1 to 1"):
        check_values({"rho": 0.0}, known)
    assert plain_help(known[0].help) == "part of the norm"
    assert rule_of("x", "a list [0, 1] in the middle") is None
    for nonsense in ("[positive]", "[a |]", "[> many]", "[]"):
        with pytest.raises(NotebookError, match="hold no rule"):
            rule_of("x", f"help {nonsense}")


def test_every_dataset_has_a_place_among_what_is_listed():
    for name in DATASETS:
        check_values({"dataset": name})


def test_shared_rules_let_pass_what_a_run_takes_and_refuse_what_it_refuses():
    for name, value in (("rho", 0.0), ("epsilon", 0.0), ("std", 0.0), ("label_noise", 1.0), ("epochs", 1)):
        optimizer = {"rho": "sam", "epsilon": "amp", "std": "lpfsgd"}.get(name, "sgd")
        RunConfig(**{"optimizer": optimizer, name: value})
        with pytest.raises(ConfigError):
            RunConfig(**{"optimizer": optimizer, name: -1 if name == "epochs" else -0.5})


# ------------------------------------------------------------------------------------------- as a notebook sees them

CELL = "rho: float = 0.05  # radius [> 0]\nfast: bool = True\nseed: int = 0\nparts: tuple[int, ...] = (1, 2)"


def test_what_papermill_injected_is_checked_in_the_first_cell():
    check_given({"rho": 0.1, "fast": True}, [CELL, "# Parameters\nrho = 0.1\n", "import landscape"])
    with pytest.raises(NotebookError, match="Unknown notebook parameter 'rhoo'.*Did you mean 'rho'"):
        check_given({"rho": 0.05}, [CELL, '# Parameters\nrhoo = 0.1\nfast = "x"\n', "x = 1"])
    with pytest.raises(NotebookError, match="'fast' has another type"):
        check_given({"rho": 0.1, "fast": "false"}, [CELL])
    with pytest.raises(NotebookError, match="above 0"):
        check_given({"rho": 0.0}, [CELL])
    with pytest.raises(NotebookError, match="at least 0"):
        check_given({"rho": -1.0}, [])


def test_the_newest_parameters_cell_counts():
    older = CELL.replace("[> 0]", "[< 0]")
    given = {"rho": 0.1, "seed": 1}
    check_given(given, [older, "# Parameters\nold = 1", CELL, "%matplotlib inline", "f(", "rho = 3"])
    with pytest.raises(NotebookError, match="below 0"):
        check_given(given, [CELL, older])


def test_only_whole_numbers_and_rows_stand_for_other_types():
    known = {parameter.name: parameter for parameter in parse_parameters(CELL)}
    for name, value in (("rho", 1), ("parts", [1, 2]), ("fast", False)):
        check_type(value, known[name])
    for name, value in (("rho", "1"), ("seed", 1.0), ("fast", 1), ("parts", "1,2"), ("seed", None), ("seed", True)):
        with pytest.raises(NotebookError, match="another type"):
            check_type(value, known[name])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_defaults_of_the_notebooks_are_allowed(path):
    entry = entry_of(path)
    check_values({parameter.name: parameter.default for parameter in entry.parameters}, entry.parameters)


# ----------------------------------------------------------------------------------------------------------- sizes


def test_profiles_grow():
    for size in SIZES:
        values = [getattr(PROFILES[name], size) for name in ("quick", "standard", "paper")]
        assert values == sorted(values) and values[0] < values[-1], size


def test_sizes_can_be_replaced_and_are_checked():
    assert find_profile("paper", epochs=2, points=None).epochs == 2
    assert find_profile("paper", epochs=2, points=None).points == PROFILES["paper"].points
    with pytest.raises(NotebookError, match="Unknown profile"):
        find_profile("full")
    for wrong in ({"points": 10}, {"line_points": 1}, {"seeds": 0}, {"seconds": 0.0}, {"epochs": 1.5}):
        with pytest.raises(ConfigError):
            find_profile("quick", **wrong)
