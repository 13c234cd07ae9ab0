"""Settings: strict types, JSON round trip, one hash everywhere, unknown keys named."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
import os
import subprocess
import sys
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from landscape.config import Config, field_help
from landscape.errors import ConfigError
from landscape.training.run_config import RunConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Small(Config):
    """Settings for tests.

    Attributes:
        rate: A number
            over two lines.
        kind: One of two words.
    """

    rate: float = 0.5
    kind: Literal["a", "b"] = "a"
    count: int = 1
    steps: tuple[int, ...] = ()
    flag: bool | None = None


def test_whole_numbers_become_floats_and_lists_become_tuples():
    config = Small(rate=1, steps=[1, 2])
    assert (config.rate, type(config.rate), config.steps) == (1.0, float, (1, 2))
    assert Small(rate=1).hash == Small(rate=1.0).hash


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rate": "1"}, "rate has the wrong type.*float.*'1'"),
        ({"count": 1.0}, "count has the wrong type"),
        ({"count": True}, "count has the wrong type"),
        ({"flag": 1}, "flag has the wrong type"),
        ({"rate": float("nan")}, "rate must be finite"),
        ({"kind": "c"}, "Unknown value for kind 'c'.*a, b"),
        ({"steps": [1, "x"]}, r"steps\[1\] has the wrong type"),
        ({"rat": 1.0}, "Unknown key 'rat'.*Did you mean 'rate'"),
    ],
)
def test_wrong_values_are_named(values, message):
    with pytest.raises(ConfigError, match=message):
        Small.from_dict(values)


def test_text_that_is_no_json_or_no_object():
    with pytest.raises(ConfigError, match="not valid JSON"):
        Small.from_json("{")
    with pytest.raises(ConfigError, match="no JSON object"):
        Small.from_json("[1]")


@given(
    lr=st.floats(0, 10, allow_nan=False),
    epochs=st.integers(1, 10**6),
    rho=st.none() | st.floats(0, 5, allow_nan=False),
    milestones=st.lists(st.integers(1, 100), max_size=3),
    options=st.dictionaries(st.text(max_size=3), st.integers() | st.lists(st.integers(), max_size=2), max_size=2),
)
def test_round_trip_keeps_value_and_hash(lr, epochs, rho, milestones, options):
    config = RunConfig(
        optimizer="sam",
        lr=lr,
        epochs=epochs,
        rho=rho,
        milestones=tuple(milestones),
        schedule="multistep" if milestones else "cosine",
        model_options=options,
    )
    again = RunConfig.from_json(config.to_json())
    assert again == config
    assert again.hash == config.hash


def test_the_hash_is_the_same_in_every_process_and_for_every_order_of_keys():
    values = {"optimizer": "amp", "epsilon": 0.25, "model_options": {"hidden": [4], "batch_norm": False}}
    code = (
        "import sys; from landscape.training.run_config import RunConfig; print(RunConfig.from_json(sys.argv[1]).hash)"
    )
    expected = RunConfig.from_dict(values).hash
    shuffled = json.dumps(dict(reversed(values.items())))
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    found = subprocess.run(
        [sys.executable, "-c", code, shuffled], capture_output=True, text=True, env=environment, check=True
    )
    assert found.stdout.strip() == expected


def test_every_field_counts_in_the_hash():
    assert RunConfig(seed=1).hash != RunConfig(seed=2).hash
    assert RunConfig(device="cpu").hash != RunConfig().hash


def test_replace_checks_names_and_values():
    assert RunConfig().replace(epochs=3).epochs == 3
    with pytest.raises(ConfigError, match="Did you mean 'epochs'"):
        RunConfig().replace(epoch=3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"optimizer": "samm"}, "Unknown optimizer 'samm'.*Did you mean 'sam'"),
        ({"optimizer": "sam", "rho": -0.1}, "rho is out of range"),
        (
            {"optimizer": "sgd", "rho": 0.1},
            "^sgd does not read rho.*Leave rho unset, or choose one of: sam, asam, ",
        ),
        ({"optimizer": "amp", "std": 0.1}, "^amp does not read std.*choose one of: lpfsgd"),
        ({"optimizer": "adam", "base": "sgd"}, "^adam does not read base.*choose one of: sam"),
        ({"optimizer": "sgd", "when": "always"}, "^sgd does not read when.*choose one of: sam"),
        ({"optimizer": "amp", "inner_iter": 0}, "inner_iter is out of range"),
        ({"epochs": 0}, "epochs is out of range"),
        ({"lr": -1.0}, "lr is out of range"),
        ({"label_noise": 1.5}, "label_noise is out of range"),
        ({"momentum": 1.0}, "momentum is out of range"),
        ({"momentum": 0.0, "nesterov": True}, "nesterov"),
        ({"schedule": "multistep"}, "milestones"),
        ({"device": "gpu"}, "device is out of range"),
        ({"name": "../up"}, "name is out of range"),
        ({"limit": 0}, "limit is out of range"),
    ],
)
def test_run_settings_out_of_range(values, message):
    with pytest.raises(ConfigError, match=message):
        RunConfig.from_dict(values)


def test_folder_names_are_plain():
    assert RunConfig(dataset="folder:/some/where/my images/").folder_name.startswith("my_images-smallcnn-sgd-")
    assert RunConfig(name="mine").folder_name == f"mine-{RunConfig(name='mine').hash[:8]}"


def test_every_setting_is_described():
    described = field_help(RunConfig)
    assert [field.name for field in dataclasses.fields(RunConfig)] == list(described)
    assert field_help(Small)["rate"] == "A number over two lines."


def test_a_misspelled_setting_is_named_from_python_too():
    with pytest.raises(ConfigError, match="Unknown key 'optimzer'.*Did you mean 'optimizer'"):
        RunConfig(optimzer="sam")  # pyright: ignore[reportCallIssue]
    with pytest.raises(ConfigError, match="given by name.*digits"):
        RunConfig("digits")  # pyright: ignore[reportCallIssue]


def test_settings_can_be_copied_and_show_their_signature():
    config = RunConfig(optimizer="sam")
    assert copy.deepcopy(config) == copy.copy(config) == dataclasses.replace(config) == config
    assert "optimizer" in inspect.signature(RunConfig).parameters
