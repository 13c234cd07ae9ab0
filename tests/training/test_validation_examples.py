"""Settings chosen by examples beside the training set, which stays as large as it is."""

from __future__ import annotations

import pytest

from landscape import RunConfig
from landscape.errors import ConfigError, DataError
from landscape.training.materials import load_run_dataset


def test_training_and_validation_share_no_image_and_training_is_that_of_the_final_run():
    final = RunConfig(limit=300)
    search = final.replace(validation_examples=200)
    train, held = load_run_dataset(search, "train"), load_run_dataset(search, "test")
    assert (len(train), len(held)) == (300, 200)
    assert train.checksum == load_run_dataset(final, "train").checksum
    rows = {bytes(image) for image in train.inputs.flatten(1).numpy()}
    assert not rows & {bytes(image) for image in held.inputs.flatten(1).numpy()}
    assert held.split == "train" and load_run_dataset(final, "test").split == "test"


def test_validation_labels_are_as_noisy_as_training_labels():
    held = load_run_dataset(RunConfig(limit=300, validation_examples=200, label_noise=0.5), "test")
    assert 0.3 < (held.targets != held.clean_targets).float().mean() < 0.6


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"validation_examples": 10}, "limit"),
        ({"validation_examples": -1, "limit": 10}, "validation_examples"),
        ({"validation_examples": 10, "limit": 10, "validation": 0.5}, "validation"),
        ({"validation_examples": 10, "limit": 10, "test_limit": 5}, "test_limit"),
    ],
)
def test_settings_that_contradict_each_other(settings, names):
    with pytest.raises(ConfigError, match=names):
        RunConfig(**settings)


def test_more_than_there_are():
    with pytest.raises(DataError, match="at most 700 examples"):
        load_run_dataset(RunConfig(limit=300, validation_examples=701), "test")


def test_runs_from_before_the_setting_keep_their_name():
    values = RunConfig().to_dict()
    assert RunConfig().hash == RunConfig.from_dict(values).hash
    assert RunConfig(limit=300).hash != RunConfig(limit=300, validation_examples=1).hash
    assert RunConfig().hash == "3c42ab892eaddfd92119e423de8a748f3dc50e353f32d6af89d8897bdb7f8777"
