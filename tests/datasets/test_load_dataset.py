"""load_dataset: the sets that need no files, and everything that holds for all names."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from landscape.datasets import DATASETS, load_dataset
from landscape.errors import ConfigError, DataError
from landscape.seeding import preserved_rng


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


def test_images_that_do_not_fit_into_memory_are_refused_before_they_are_made(monkeypatch):
    load_dataset("digits", limit=10)  # what it imports asks the system other things
    pages = {"SC_PHYS_PAGES": 100, "SC_PAGE_SIZE": 1000}
    monkeypatch.setattr("os.sysconf", lambda name: pages[name])
    assert load_dataset("digits", limit=10, image_size=100).input_shape == (1, 100, 100)  # 100 000 bytes
    with pytest.raises(ConfigError, match="do not fit into memory.*Lower image_size"):
        load_dataset("digits", limit=10, image_size=101)
    monkeypatch.delattr("os.sysconf")  # where nobody knows
    load_dataset("digits", limit=10, image_size=101)


def test_the_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    train, test = load_dataset("digits"), load_dataset("digits", split="test")
    assert (len(train), len(test), train.input_shape) == (1000, 797, (1, 8, 8))
    images, labels = load_digits(return_X_y=True)
    expected = {(tuple(image), int(label)) for image, label in zip(images, labels, strict=True)}
    found = set()
    for ds in (train, test):
        grays = (ds.inputs.double() * 16 / 255).round().flatten(1)  # 0..255 in 17 levels: exact after rounding
        found |= {(tuple(image.tolist()), int(label)) for image, label in zip(grays, ds.targets, strict=True)}
    assert found == expected
    assert int(train.inputs.max()) == 255
    assert (train.mean, train.std) == (test.mean, test.std)
    assert abs(float(train.normalized(dtype=torch.float64).mean())) < 1e-12  # sum of 64,000 values of size 1


def test_mnist1d_is_the_generators(tmp_path, monkeypatch):
    """A tenth of the signals, since the generator takes seconds for all."""
    from mnist1d import data

    standard = data.get_dataset_args

    def tenth():
        settings = standard()
        settings.num_samples = 500
        return settings

    monkeypatch.setattr(data, "get_dataset_args", tenth)
    state = np.random.get_state()[1].copy()
    train, test = (load_dataset("mnist1d", root=tmp_path, split=split) for split in ("train", "test"))
    assert np.array_equal(state, np.random.get_state()[1])
    with preserved_rng():
        made = data.make_dataset(tenth())
    for ds, suffix in ((train, ""), (test, "_test")):
        np.testing.assert_array_equal(ds.inputs[:, 0].numpy(), made[f"x{suffix}"].astype(np.float32))
        np.testing.assert_array_equal(ds.targets.numpy(), made[f"y{suffix}"])
    assert (len(train), len(test), train.input_shape) == (400, 100, (1, 40))
    assert torch.equal(train.normalized(), train.inputs)


@pytest.mark.parametrize("name", ["digits", "mnist1d"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_the_registry_tells_the_truth(name, split, root):
    ds, spec = load_dataset(name, root=root, split=split), DATASETS[name]
    assert (ds.classes, ds.input_shape, len(ds)) == (spec.classes, spec.shape, getattr(spec, split))
    assert (ds.name, ds.split, len(ds.class_names)) == (name, split, spec.classes)


def test_loading_twice_gives_the_same_bytes():
    settings = {"limit": 200, "label_noise": 0.3, "pixel_noise": 0.1, "seed": 4}
    assert load_dataset("digits", **settings).checksum == load_dataset("digits", **settings).checksum
    assert load_dataset("digits", **settings | {"seed": 5}).checksum != load_dataset("digits", **settings).checksum


def test_a_limit_is_balanced_and_a_part_of_the_whole():
    part, whole = load_dataset("digits", limit=205), load_dataset("digits")
    counts = torch.bincount(part.targets)
    assert len(part) == 205 and int(counts.max() - counts.min()) == 1
    rows = {tuple(row.tolist()) for row in whole.inputs.flatten(1)}
    assert all(tuple(row.tolist()) in rows for row in part.inputs.flatten(1))
    assert (part.mean, part.std) == (whole.mean, whole.std)
    with pytest.raises(DataError, match="at most 1000"):
        load_dataset("digits", limit=1001)


def test_the_noise_of_an_example_does_not_depend_on_the_limit():
    settings = {"label_noise": 0.5, "pixel_noise": 0.2, "seed": 1}
    whole = load_dataset("digits", **settings)
    part = load_dataset("digits", limit=100, **settings)
    place = {tuple(row.tolist()): index for index, row in enumerate(whole.inputs.flatten(1))}
    chosen = [place[tuple(row.tolist())] for row in part.inputs.flatten(1)]  # equal noise, bit for bit
    assert torch.equal(whole.targets[chosen], part.targets)
    assert torch.equal(whole.clean_targets[chosen], part.clean_targets)


def test_noise_is_for_training_only_and_the_clean_labels_are_kept():
    clean = load_dataset("digits")
    noisy = load_dataset("digits", label_noise=0.4, noise_kind="uniform-other")
    assert torch.equal(noisy.clean_targets, clean.targets)
    assert abs(float((noisy.targets != clean.targets).double().mean()) - 0.4) < 0.08  # five standard deviations
    settings = {"label_noise": 0.4, "pixel_noise": 1.0}
    assert load_dataset("digits", split="test", **settings).checksum == load_dataset("digits", split="test").checksum


def test_images_in_memory_are_resized_with_antialiasing():
    small, half = load_dataset("digits", limit=10), load_dataset("digits", limit=10, image_size=4)
    expected = F.interpolate(small.inputs.double(), size=(4, 4), mode="bilinear", antialias=True)
    assert half.inputs.dtype == torch.uint8 and half.input_shape == (1, 4, 4)
    # Two passes, each rounded to 8 bits: at most one level from each, plus its weight of 1.
    assert float((half.inputs.double() - expected).abs().max()) <= 1.5
    assert load_dataset("digits", limit=10, image_size=(8, 6)).input_shape == (1, 8, 6)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"name": "digit"}, ConfigError, "Did you mean 'digits'"),
        ({"name": "tiny-imagenet"}, DataError, "PATH/train"),
        ({"name": "wmt14"}, DataError, "sentences"),
        ({"name": "digits", "split": "trian"}, ConfigError, "Did you mean 'train'"),
        ({"name": "digits", "label_noise": 2.0}, ConfigError, "probability"),
        ({"name": "digits", "label_noise": 2.0, "split": "test"}, ConfigError, "probability"),
        ({"name": "digits", "noise_kind": "other"}, ConfigError, "uniform-other"),
        ({"name": "digits", "pixel_noise": -1.0}, ConfigError, "0 or more"),
        ({"name": "digits", "image_size": 0}, ConfigError, "pixels"),
        ({"name": "digits", "image_size": (3, 4, 5)}, ConfigError, "pixels"),
        ({"name": "mnist1d", "image_size": 8}, ConfigError, "no images"),
    ],
)
def test_settings_that_cannot_be_used(arguments, error, words, root):
    with pytest.raises(error, match=words):
        load_dataset(root=root, **arguments)


@pytest.mark.parametrize("name", [name for name, spec in DATASETS.items() if spec.files])
@pytest.mark.parametrize("split", ["train", "test"])
def test_without_files_the_error_says_what_to_put_where(name, split, tmp_path):
    with pytest.raises(DataError) as caught:
        load_dataset(name, root=tmp_path, split=split)
    message = str(caught.value)
    needed = [archive for archive in DATASETS[name].files if archive.split in (None, split)]
    assert needed and all(str(tmp_path / archive.path) in message and archive.md5 in message for archive in needed)
    assert f"landscape data download {name} --root {tmp_path}" in message and "download=True" in message
    assert not any(tmp_path.iterdir())
