"""The datasets that have a name: what they are, where they come from, how they are opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from landscape.datasets import published
from landscape.datasets.builtin import DIGIT_NAMES, digits_source, mnist1d_source
from landscape.datasets.files import Archive
from landscape.datasets.source import Request, Source


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """What is known of a named dataset before it is loaded.

    Args:
        title: One line.
        shape: The shape of one input: (C, H, W) or (C, L).
        classes: The number of classes.
        train: Examples in the training split.
        test: Examples in the test split.
        origin: Where it comes from; cite this.
        license: What its authors allow.
        open: Opens one split.
        files: What is downloaded, with published checksums; empty for sets that need none.
        never_flip: Whether mirrored images are of another class, or of none, as digits and traffic signs are.
        image_size: (height, width) in pixels to which images of many sizes are resized; None for sets of one size.
    """

    title: str
    shape: tuple[int, ...]
    classes: int
    train: int
    test: int
    origin: str
    license: str
    open: Callable[[Request], Source]
    files: tuple[Archive, ...] = ()
    never_flip: bool = False
    image_size: tuple[int, int] | None = None


GTSRB_NAMES = (
    *(f"speed limit {speed}" for speed in (20, 30, 50, 60, 70, 80)),
    "end of speed limit 80",
    *("speed limit 100", "speed limit 120", "no passing", "no passing for trucks", "right of way at next crossing"),
    *("priority road", "yield", "stop", "no vehicles", "no trucks", "no entry", "general caution"),
    *("dangerous curve left", "dangerous curve right", "double curve", "bumpy road", "slippery road"),
    *("road narrows on the right", "road work", "traffic signals", "pedestrians", "children crossing"),
    *("bicycles crossing", "beware of ice or snow", "wild animals crossing", "end of all limits"),
    *("turn right ahead", "turn left ahead", "ahead only", "go straight or right", "go straight or left"),
    *("keep right", "keep left", "roundabout mandatory", "end of no passing", "end of no passing for trucks"),
)

_KRIZHEVSKY = "Krizhevsky: Learning Multiple Layers of Features from Tiny Images, 2009 (https://www.cs.toronto.edu/~kriz/cifar.html)"

DATASETS: dict[str, DatasetSpec] = {
    "digits": DatasetSpec(
        title="8x8 handwritten digits, in the scikit-learn package",
        shape=(1, 8, 8),
        classes=10,
        train=1000,
        test=797,
        origin="Alpaydin, Kaynak: Optical Recognition of Handwritten Digits, UCI, 1998 (https://doi.org/10.24432/C50P49)",
        license="CC BY 4.0",
        open=digits_source,
        never_flip=True,
    ),
    "mnist1d": DatasetSpec(
        title="synthetic one-dimensional digits, made by the mnist1d package's generator",
        shape=(1, 40),
        classes=10,
        train=4000,
        test=1000,
        origin="Greydanus, Kobak: Scaling Down Deep Learning with MNIST-1D, ICML 2024 (https://github.com/greydanus/mnist1d)",
        license="Apache-2.0 (the generator)",
        open=mnist1d_source,
    ),
    "mnist": DatasetSpec(
        title="28x28 handwritten digits",
        shape=(1, 28, 28),
        classes=10,
        train=60_000,
        test=10_000,
        origin="LeCun, Cortes, Burges: The MNIST Database (http://yann.lecun.com/exdb/mnist/)",
        license="CC BY-SA 3.0",
        open=partial(published.idx_source, folder="MNIST", statistics=published.MNIST_STATISTICS, names=DIGIT_NAMES),
        files=published.MNIST_FILES,
        never_flip=True,
    ),
    "fashion-mnist": DatasetSpec(
        title="28x28 gray images of clothes",
        shape=(1, 28, 28),
        classes=10,
        train=60_000,
        test=10_000,
        origin="Xiao, Rasul, Vollgraf: Fashion-MNIST, 2017 (https://github.com/zalandoresearch/fashion-mnist)",
        license="MIT",
        open=partial(
            published.idx_source,
            folder="FashionMNIST",
            statistics=published.FASHION_STATISTICS,
            names=published.FASHION_NAMES,
        ),
        files=published.FASHION_FILES,
    ),
    "cifar10": DatasetSpec(
        title="32x32 color images of ten kinds of things",
        shape=(3, 32, 32),
        classes=10,
        train=50_000,
        test=10_000,
        origin=_KRIZHEVSKY,
        license="none stated; for research",
        open=partial(published.cifar_source, reader="CIFAR10", statistics=published.CIFAR10_STATISTICS),
        files=published.CIFAR10_FILES,
    ),
    "cifar100": DatasetSpec(
        title="32x32 color images of a hundred kinds of things",
        shape=(3, 32, 32),
        classes=100,
        train=50_000,
        test=10_000,
        origin=_KRIZHEVSKY,
        license="none stated; for research",
        open=partial(published.cifar_source, reader="CIFAR100", statistics=published.CIFAR100_STATISTICS),
        files=published.CIFAR100_FILES,
    ),
    "svhn": DatasetSpec(
        title="32x32 house numbers, cropped to one digit",
        shape=(3, 32, 32),
        classes=10,
        train=73_257,
        test=26_032,
        origin="Netzer et al.: Reading Digits in Natural Images, 2011 (http://ufldl.stanford.edu/housenumbers/)",
        license="non-commercial use only",
        open=published.svhn_source,
        files=published.SVHN_FILES,
        never_flip=True,
    ),
    "gtsrb": DatasetSpec(
        title="German traffic signs of many sizes, resized to 32x32; left and right matter, so never flip them",
        shape=(3, 32, 32),
        classes=43,
        train=26_640,
        test=12_630,
        origin="Stallkamp et al.: Man vs. Computer, Neural Networks 32, 2012 (https://benchmark.ini.rub.de/)",
        license="none stated; free to use with citation",
        open=partial(published.gtsrb_source, names=GTSRB_NAMES),
        files=published.GTSRB_FILES,
        never_flip=True,
        image_size=(32, 32),
    ),
}

_AS_FOLDER = "Arrange its images as PATH/train/<class>/ and PATH/test/<class>/ and load 'folder:PATH'"

ELSEWHERE = {
    "imagenet": _AS_FOLDER + ", with an image_size.",
    "tiny-imagenet": _AS_FOLDER + ".",
    "multi30k": "It holds sentences: use landscape.translation.",
    "wmt14": "It holds sentences: use landscape.translation.",
}
