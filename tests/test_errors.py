"""Every error of the package says what is wrong, what was expected, what came and what to do."""

from __future__ import annotations

import inspect
import pickle  # only here: executors send exceptions between processes this way

import numpy as np
import pytest
import torch
from torch import nn

from landscape import errors
from landscape.config import require_name
from landscape.errors import ConfigError, DataError, LandscapeError, StorageError, nearest, shown, unknown_name

FAMILY = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, LandscapeError)]


def test_the_message_has_its_parts_in_order():
    error = DataError("Labels are out of range.", expected="0 to 9", got=11, fix="Check the labels.")
    assert str(error) == "Labels are out of range. Expected: 0 to 9. Got: 11. What to do: Check the labels."


def test_parts_that_are_not_given_are_left_out():
    assert str(DataError("No images.")) == "No images."
    assert str(DataError("No images.", got=0)) == "No images. Got: 0."


def test_a_falsy_value_is_still_shown():
    assert "Got: 0." in str(ConfigError("points is out of range.", got=0))
    assert "Got: ''." in str(ConfigError("name is empty.", got=repr("")))


@pytest.mark.parametrize("kind", FAMILY, ids=lambda c: c.__name__)
def test_one_family_caught_by_one_except(kind):
    with pytest.raises(LandscapeError) as caught:
        raise kind("What is wrong.", expected="a", got="b", fix="Do this.")
    assert str(caught.value) == "What is wrong. Expected: a. Got: b. What to do: Do this."


@pytest.mark.parametrize("kind", FAMILY, ids=lambda c: c.__name__)
def test_errors_survive_the_way_between_processes(kind):
    error = kind("What is wrong.", expected="a", got="b", fix="Do this.")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == str(error)


def test_errors_are_also_what_python_would_raise():
    assert issubclass(ConfigError, ValueError)
    assert issubclass(StorageError, OSError)
    assert issubclass(errors.MissingDependencyError, ImportError)


@pytest.mark.parametrize(
    ("typed", "found"), [("epoch", "epochs"), ("SEED", "seed"), ("Epochs", "epochs"), ("zzz", None), ("", None)]
)
def test_nearest(typed, found):
    assert nearest(typed, ["epochs", "seed"]) == found


def test_unknown_name_suggests_or_lists():
    assert "Did you mean 'sam'?" in str(unknown_name("optimizer", "SAM", ["sgd", "sam"]))
    message = str(unknown_name("optimizer", "zzzz", ["sgd", "sam"]))
    assert "one of sam, sgd" in message
    assert "Choose" in message


def test_unknown_name_copes_with_odd_input():
    assert "Unknown dataset 3." in str(unknown_name("dataset", 3, ["digits"]))
    assert "no key at all" in str(unknown_name("key", "a", []))
    assert isinstance(unknown_name("model", "a", ["b"], errors.ModelError), errors.ModelError)
    assert "one of a, b" in str(unknown_name("key", "x", iter(["b", "a"])))


class Long:
    def __repr__(self) -> str:
        return "long\n" * 100


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (5, "5"),
        ("a", "'a'"),
        (None, "None"),
        ("a" * 200, "'" + "a" * 79 + "..."),
        (ConfigError, "the class ConfigError itself"),
        (np.zeros((2, 3)), "ndarray of shape (2, 3), float64"),
        (torch.zeros(2), "Tensor of shape (2,), torch.float32"),
        (torch.tensor(2.0), "tensor(2.)"),
        (np.float64(2.0), "np.float64(2.0)"),
        (Long(), "Long"),
        (object(), "object"),
        ([*range(100)], "list"),
        (nn.Sequential(nn.Linear(1, 1)), "Sequential"),
        (nn.Linear(1, 1, bias=False), "Linear(in_features=1, out_features=1, bias=False)"),
        (test_nearest, "the function test_nearest"),
    ],
)
def test_shown(value, said):
    assert shown(value) == said


@pytest.mark.parametrize("value", [None, 5, [], {}, object(), np.ones(3), torch.ones(3), b"sam", True])
def test_a_name_of_another_kind_is_an_unknown_name(value):
    require_name("optimizer", "sam", ("sgd", "sam"))
    with pytest.raises(ConfigError, match=r"Unknown optimizer .*Expected: one of sam, sgd.*What to do: Choose"):
        require_name("optimizer", value, ("sgd", "sam"))
