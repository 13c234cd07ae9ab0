"""The published datasets: their files with checksums, and how torchvision's readers turn them into arrays."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from landscape.datasets.builtin import DIGIT_NAMES
from landscape.datasets.files import Archive, Member
from landscape.datasets.imagefiles import ImageFiles, file_source
from landscape.datasets.source import Request, Source, array_source
from landscape.datasets.statistics import ChannelStatistics
from landscape.errors import CorruptFileError, DataError

# Mean and standard deviation over all pixels of the training images, as commonly published.
MNIST_STATISTICS = ChannelStatistics((0.1307,), (0.3081,))
FASHION_STATISTICS = ChannelStatistics((0.2860,), (0.3530,))
CIFAR10_STATISTICS = ChannelStatistics((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
CIFAR100_STATISTICS = ChannelStatistics((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
SVHN_STATISTICS = ChannelStatistics((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970))

FASHION_NAMES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)


@contextmanager
def _reading(what: Path) -> Iterator[None]:
    """Keep the readers' warnings in, and turn what they raise into an error that names the files."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # RuntimeError, ValueError, KeyError, AssertionError: each reader has its own
        raise CorruptFileError(
            f"{what} cannot be read.",
            got=f"{type(error).__name__}: {error}",
            fix="Remove it and run again with download=True.",
        ) from error


def _idx_files(folder: str, mirrors: tuple[str, ...], sums: dict[str, tuple[str, str]]) -> tuple[Archive, ...]:
    """Describe MNIST-like files: name -> (MD5 packed, MD5 unpacked)."""
    return tuple(
        Archive(
            path=f"{folder}/raw/{name}.gz",
            md5=packed,
            urls=tuple(f"{mirror}{name}.gz" for mirror in mirrors),
            members=(Member(f"{folder}/raw/{name}", unpacked),),
            split="train" if name.startswith("train") else "test",
        )
        for name, (packed, unpacked) in sums.items()
    )


MNIST_FILES = _idx_files(
    "MNIST",
    ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
    {
        "train-images-idx3-ubyte": ("f68b3c2dcbeaaa9fbdd348bbdeb94873", "6bbc9ace898e44ae57da46a324031adb"),
        "train-labels-idx1-ubyte": ("d53e105ee54ea40749a09fcbcd1e9432", "a25bea736e30d166cdddb491f175f624"),
        "t10k-images-idx3-ubyte": ("9fb629c4189551a2d022fa330f9573f3", "2646ac647ad5339dbf082846283269ea"),
        "t10k-labels-idx1-ubyte": ("ec29112dd5afa0611ce80d1b7f02629c", "27ae3e4e09519cfbb04c329615203637"),
    },
)
FASHION_FILES = _idx_files(
    "FashionMNIST",
    ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    {
        "train-images-idx3-ubyte": ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "f4a8712d7a061bf5bd6d2ca38dc4d50a"),
        "train-labels-idx1-ubyte": ("25c81989df183df01b3e8a0aad5dffbe", "9018921c3c673c538a1fc5bad174d6f9"),
        "t10k-images-idx3-ubyte": ("bef4ecab320f06d8554ea6380940ec79", "8181f5470baa50b63fa0f6fddb340f0a"),
        "t10k-labels-idx1-ubyte": ("bb300cfdad3c16e7a12a480ee83cd310", "15d484375f8d13e6eb1aabb0c3f46965"),
    },
)
CIFAR10_FILES = (
    Archive(
        path="cifar-10-python.tar.gz",
        md5="c58f30108f718f92721af3b95e74349a",
        urls=("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
        members=(
            Member("cifar-10-batches-py/data_batch_1", "c99cafc152244af753f735de768cd75f"),
            Member("cifar-10-batches-py/data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
            Member("cifar-10-batches-py/data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
            Member("cifar-10-batches-py/data_batch_4", "634d18415352ddfa80567beed471001a"),
            Member("cifar-10-batches-py/data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
            Member("cifar-10-batches-py/test_batch", "40351d587109b95175f43aff81a1287e"),
            Member("cifar-10-batches-py/batches.meta", "5ff9c542aee3614f3951f8cda6e48888"),
        ),
    ),
)
CIFAR100_FILES = (
    Archive(
        path="cifar-100-python.tar.gz",
        md5="eb9058c3a382ffc7106e4002c42a8d85",
        urls=("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",),
        members=(
            Member("cifar-100-python/train", "16019d7e3df5f24257cddd939b257f8d"),
            Member("cifar-100-python/test", "f0ef6b0ae62326f3e7ffdfab6717acfc"),
            Member("cifar-100-python/meta", "7973b15100ade9c7d40fb424638fde48"),
        ),
    ),
)


def _svhn_file(name: str, split: str, md5: str) -> Archive:
    url = f"http://ufldl.stanford.edu/housenumbers/{name}"
    return Archive(path=name, md5=md5, urls=(url,), members=(Member(name, md5),), split=split)


SVHN_FILES = (
    _svhn_file("train_32x32.mat", "train", "e26dedcc434d2e4c54c9b2d4a06d8373"),
    _svhn_file("test_32x32.mat", "test", "eb5a983be6a315427106f1b164d9cef3"),
)


def _gtsrb_file(name: str, md5: str, member: str, split: str | None) -> Archive:
    url = f"https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/{name}"
    return Archive(path=f"gtsrb/{name}", md5=md5, urls=(url,), members=(Member(f"gtsrb/{member}"),), split=split)


GTSRB_FILES = (  # both splits need the training images: mean and deviation come from them
    _gtsrb_file("GTSRB-Training_fixed.zip", "513f3c79a4c5141765e10e952eaa2478", "GTSRB/Training", None),
    _gtsrb_file("GTSRB_Final_Test_Images.zip", "c7e4e6327067d32654124b0fe9e82185", "GTSRB/Final_Test", "test"),
    _gtsrb_file("GTSRB_Final_Test_GT.zip", "fe31e9c9270bbcd7b84b7f21a9d9d9e5", "GT-final_test.csv", "test"),
)


def idx_source(request: Request, *, folder: str, statistics: ChannelStatistics, names: tuple[str, ...]) -> Source:
    """Open MNIST or Fashion-MNIST from its IDX files.

    torchvision's file readers are used rather than its class, which would prefer an unverified ``processed/*.pt``.

    Args:
        request: What is asked for.
        folder: The set's folder below the data folder.
        statistics: Of the training split.
        names: The class names.

    Raises:
        CorruptFileError: A file is no IDX file.
    """
    from torchvision.datasets.mnist import read_image_file, read_label_file

    prefix = "train" if request.split == "train" else "t10k"
    raw = request.root / folder / "raw"
    with _reading(raw):
        images = read_image_file(str(raw / f"{prefix}-images-idx3-ubyte"))
        labels = read_label_file(str(raw / f"{prefix}-labels-idx1-ubyte"))
    return array_source(images.numpy()[:, None], labels.numpy(), names, statistics)


def cifar_source(request: Request, *, reader: str, statistics: ChannelStatistics) -> Source:
    """Open CIFAR-10 or CIFAR-100 through torchvision's class.

    The published files are pickles. They are opened only after every one of them matched its published MD5, which
    both :func:`~landscape.datasets.files.ensure_files` and torchvision check; no other pickle is ever read.

    Args:
        request: What is asked for.
        reader: "CIFAR10" or "CIFAR100".
        statistics: Of the training split.

    Raises:
        CorruptFileError: torchvision refuses a file.
    """
    from torchvision import datasets

    kind: type[datasets.CIFAR10] = getattr(datasets, reader)
    with _reading(request.root / kind.base_folder):
        loaded = kind(root=request.root, train=request.split == "train", download=False)
    images = np.ascontiguousarray(loaded.data.transpose(0, 3, 1, 2))
    return array_source(images, np.array(loaded.targets), tuple(loaded.classes), statistics)


def svhn_source(request: Request) -> Source:
    """Open SVHN (the cropped digits) through torchvision's class, which needs scipy.

    Args:
        request: What is asked for.

    Raises:
        CorruptFileError: The file is no MATLAB file.
    """
    from torchvision.datasets import SVHN

    with _reading(request.root / f"{request.split}_32x32.mat"):
        loaded = SVHN(root=request.root, split=request.split, download=False)
    return array_source(np.ascontiguousarray(loaded.data), loaded.labels, DIGIT_NAMES, SVHN_STATISTICS)


def gtsrb_source(request: Request, *, names: tuple[str, ...]) -> Source:
    """Open the German traffic signs through torchvision's class; images have many sizes and are resized.

    Args:
        request: What is asked for.
        names: The 43 class names.

    Raises:
        DataError: There are no images, or a listed one is missing.
        CorruptFileError: The list of the test labels cannot be read.
    """
    from torchvision.datasets import GTSRB

    def listed(split: str) -> ImageFiles:
        with _reading(request.root / "gtsrb"):
            samples = GTSRB(root=request.root, split=split, download=False)._samples  # paths and labels, no pixels yet
        if not samples:
            raise DataError(
                f"There are no {split} images in {request.root / 'gtsrb'}.", fix="Unpack the archives again."
            )
        return ImageFiles(paths=[path for path, _ in samples], labels=np.array([label for _, label in samples]))

    training = listed("train")
    return file_source(training if request.split == "train" else listed("test"), training, names, request)
