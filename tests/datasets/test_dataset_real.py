"""Real images, where LANDSCAPE_DATA names a folder that holds them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from landscape.datasets import load_dataset


@pytest.fixture(scope="module")
def cifar(data_root, tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    return lambda **settings: load_dataset(f"folder:{data_root / 'cifar10-images'}", root=root, **settings)


@pytest.fixture(scope="module")
def gtsrb_root(data_root, tmp_path_factory):
    """A data folder of our own, so that nothing is cached in the real one."""
    root = tmp_path_factory.mktemp("data")
    (root / "gtsrb").symlink_to(data_root / "gtsrb", target_is_directory=True)
    return root


def test_a_small_part_of_cifar(cifar, data_root):
    train, test = cifar(limit=500), cifar(limit=200, split="test")
    assert train.input_shape == (3, 32, 32) and torch.bincount(train.targets).tolist() == [50] * 10
    assert train.class_names[:3] == ("airplane", "automobile", "bird")
    assert train.mean == test.mean
    # The published statistics of all 50,000 original images, against 5,000 re-encoded ones: a mean has a standard error
    # of about 0.15 / sqrt(5000) = 0.002, to which re-encoding adds about as much.
    np.testing.assert_allclose(train.mean, (0.4914, 0.4822, 0.4465), atol=0.01)
    np.testing.assert_allclose(train.std, (0.2470, 0.2435, 0.2616), atol=0.01)
    first = sorted((data_root / "cifar10-images" / "train" / "airplane").iterdir())
    decoded = {np.asarray(Image.open(path)).tobytes() for path in first}
    assert all(image.permute(1, 2, 0).numpy().tobytes() in decoded for image in train.inputs[train.targets == 0])


@pytest.mark.parametrize("split", ["train", "test"])
def test_gtsrb_is_torchvisions(gtsrb_root, split):
    from torchvision.datasets import GTSRB

    theirs = GTSRB(gtsrb_root, split=split, download=False)
    ours = load_dataset("gtsrb", root=gtsrb_root, split=split)
    assert len(ours) == len(theirs) and ours.classes == 43
    for index in range(0, len(theirs), 500):
        image, label = theirs[index]
        assert np.array_equal(ours.inputs[index].permute(1, 2, 0), np.asarray(image.resize((32, 32), 2)))
        assert int(ours.targets[index]) == label
