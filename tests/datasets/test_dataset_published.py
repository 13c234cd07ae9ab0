"""The published sets through torchvision's readers, on small files of the real formats with sums of their own."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import pickle
import struct
import tarfile
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torchvision
from PIL import Image

from landscape.datasets import DATASETS, Archive, Member, load_dataset, published
from landscape.errors import CorruptFileError, DataError


def md5(content):
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def install(monkeypatch, root, name, contents, split=None):
    """Put archives into the data folder, and make their sums the published ones: path -> (content, members)."""
    archives = []
    for path, (content, members) in contents.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
        listed = tuple(Member(member, value and md5(value)) for member, value in members.items())
        archives.append(Archive(path=path, md5=md5(content), urls=("file:///nowhere",), members=listed, split=split))
    monkeypatch.setitem(DATASETS, name, replace(DATASETS[name], files=tuple(archives)))


def idx(array):
    return struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def random():
    return np.random.RandomState(0)


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_mnist(monkeypatch, tmp_path, random, name, folder):
    arrays, contents = {}, {}
    for prefix, count in (("train", 12), ("t10k", 7)):
        arrays[prefix] = random.randint(0, 256, (count, 28, 28), dtype=np.uint8), np.arange(count, dtype=np.uint8) % 10
        for kind, array in zip(("images-idx3", "labels-idx1"), arrays[prefix], strict=True):
            file = f"{folder}/raw/{prefix}-{kind}-ubyte"
            contents[f"{file}.gz"] = (gzip.compress(idx(array)), {file: idx(array)})
    install(monkeypatch, tmp_path, name, contents)
    (tmp_path / folder / "processed").mkdir()
    (tmp_path / folder / "processed" / "training.pt").write_bytes(b"must not be read")
    (tmp_path / folder / "processed" / "test.pt").write_bytes(b"must not be read")
    for split, prefix in (("train", "train"), ("test", "t10k")):
        ds = load_dataset(name, root=tmp_path, split=split)
        assert np.array_equal(ds.inputs[:, 0].numpy(), arrays[prefix][0])
        assert np.array_equal(ds.targets.numpy(), arrays[prefix][1])
        assert ds.input_shape == DATASETS[name].shape and len(ds.mean) == 1
    raw = tmp_path / folder / "raw" / "train-images-idx3-ubyte"
    raw.write_bytes(raw.read_bytes()[:-1])
    with pytest.raises(CorruptFileError, match="train-images-idx3-ubyte is damaged"):
        load_dataset(name, root=tmp_path)


def test_an_idx_file_of_the_right_sum_and_wrong_form(monkeypatch, tmp_path):
    contents = {}
    for kind in ("images-idx3", "labels-idx1"):
        file = f"MNIST/raw/train-{kind}-ubyte"
        contents[f"{file}.gz"] = (gzip.compress(b"no idx file"), {file: b"no idx file"})
    install(monkeypatch, tmp_path, "mnist", contents)
    with pytest.raises(CorruptFileError, match="cannot be read"):
        load_dataset("mnist", root=tmp_path)


CIFAR = {
    "cifar10": ("CIFAR10", "cifar-10-batches-py", "cifar-10-python.tar.gz", "labels", "label_names", "batches.meta"),
    "cifar100": ("CIFAR100", "cifar-100-python", "cifar-100-python.tar.gz", "fine_labels", "fine_label_names", "meta"),
}


def fake_cifar(monkeypatch, root, random, name):
    """Make a CIFAR archive with 3 images a batch; return train and test arrays."""
    reader, folder, path, key, meta_key, meta = CIFAR[name]
    kind, classes = getattr(torchvision.datasets, reader), DATASETS[name].classes
    arrays, files = {}, {meta: pickle.dumps({meta_key: [f"class {k}" for k in range(classes)]}, protocol=2)}
    for table in ("train_list", "test_list"):
        data, labels = [], []
        for batch, _ in getattr(kind, table):
            pixels, targets = random.randint(0, 256, (3, 3072), dtype=np.uint8), random.randint(0, classes, 3).tolist()
            files[batch] = pickle.dumps({"data": pixels, key: targets}, protocol=2)
            data.append(pixels)
            labels += targets
        arrays[table] = np.concatenate(data).reshape(-1, 3, 32, 32), np.array(labels)
        monkeypatch.setattr(kind, table, [[batch, md5(files[batch])] for batch, _ in getattr(kind, table)])
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": md5(files[meta])})
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as pack:
        for file, content in files.items():
            entry = tarfile.TarInfo(f"{folder}/{file}")
            entry.size = len(content)
            pack.addfile(entry, io.BytesIO(content))
    members = {f"{folder}/{file}": content for file, content in files.items()}
    install(monkeypatch, root, name, {path: (buffer.getvalue(), members)})
    return arrays


@pytest.mark.parametrize("name", sorted(CIFAR))
def test_cifar(monkeypatch, tmp_path, random, name):
    arrays = fake_cifar(monkeypatch, tmp_path, random, name)
    for split in ("train", "test"):
        ds = load_dataset(name, root=tmp_path, split=split)
        images, labels = arrays[f"{split}_list"]
        assert np.array_equal(ds.inputs.numpy(), images) and np.array_equal(ds.targets.numpy(), labels)
        assert ds.class_names[:2] == ("class 0", "class 1") and len(ds.std) == 3


def test_a_damaged_batch_is_refused_before_it_is_unpickled(monkeypatch, tmp_path, random):
    fake_cifar(monkeypatch, tmp_path, random, "cifar10")
    load_dataset("cifar10", root=tmp_path)

    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("exploded").write_text, ("x",))

    (tmp_path / "cifar-10-batches-py" / "data_batch_3").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CorruptFileError, match="data_batch_3 is damaged"):
        load_dataset("cifar10", root=tmp_path)
    assert not (tmp_path / "exploded").exists()
    assert len(load_dataset("cifar10", root=tmp_path, download=True)) == 15  # mended from the archive beside it


def test_svhn(monkeypatch, tmp_path, random):
    import scipy.io

    for split, count in (("train", 9), ("test", 5)):
        images = random.randint(0, 256, (32, 32, 3, count), dtype=np.uint8)
        labels = (np.arange(count, dtype=np.uint8) % 10 + 1)[:, None]  # 1..10, where 10 is the digit 0
        buffer = io.BytesIO()
        scipy.io.savemat(buffer, {"X": images, "y": labels})
        content, file = buffer.getvalue(), f"{split}_32x32.mat"
        install(monkeypatch, tmp_path, "svhn", {file: (content, {file: content})})
        listed = torchvision.datasets.SVHN.split_list
        monkeypatch.setitem(listed, split, [listed[split][0], file, md5(content)])
        ds = load_dataset("svhn", root=tmp_path, split=split)
        assert np.array_equal(ds.inputs.numpy(), images.transpose(3, 2, 0, 1))
        assert np.array_equal(ds.targets.numpy(), labels[:, 0] % 10)


def ppm(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PPM")
    return buffer.getvalue()


def zip_of(contents):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as pack:
        for name, content in contents.items():
            pack.writestr(name, content)
    return buffer.getvalue()


def test_gtsrb_from_its_archives(monkeypatch, tmp_path, random):
    training = {
        f"GTSRB/Training/{k:05d}/00000_{i}.ppm": ppm(random.randint(0, 256, (20 + i, 30, 3), dtype=np.uint8))
        for k in range(43)
        for i in range(2)
    }
    images = [random.randint(0, 256, (32, 32, 3), dtype=np.uint8) for _ in range(4)]
    testing = {f"GTSRB/Final_Test/Images/{i:05d}.ppm": ppm(image) for i, image in enumerate(images)}
    table = io.StringIO()
    writer = csv.writer(table, delimiter=";")
    writer.writerows([["Filename", "ClassId"], *([f"{i:05d}.ppm", 42 - i] for i in range(4))])
    contents = {
        "gtsrb/a.zip": (zip_of(training), {"gtsrb/GTSRB/Training": None}),
        "gtsrb/b.zip": (zip_of(testing), {"gtsrb/GTSRB/Final_Test": None}),
        "gtsrb/c.zip": (zip_of({"GT-final_test.csv": table.getvalue()}), {"gtsrb/GT-final_test.csv": None}),
    }
    install(monkeypatch, tmp_path, "gtsrb", contents)
    train, test = load_dataset("gtsrb", root=tmp_path), load_dataset("gtsrb", root=tmp_path, split="test")
    assert (len(train), train.input_shape, train.classes) == (86, (3, 32, 32), 43)
    assert test.targets.tolist() == [42, 41, 40, 39] and train.targets.tolist() == [k // 2 for k in range(86)]
    assert np.array_equal(test.inputs.numpy(), np.stack(images).transpose(0, 3, 1, 2))
    assert test.mean == train.mean
    assert load_dataset("gtsrb", root=tmp_path, limit=43, image_size=8).input_shape == (3, 8, 8)
    (tmp_path / "gtsrb" / "GTSRB" / "Final_Test" / "Images" / "00001.ppm").unlink()
    with pytest.raises(DataError, match="00001.ppm is missing"):
        load_dataset("gtsrb", root=tmp_path, split="test")


def test_our_table_of_files_is_torchvisions():
    known = torchvision.datasets
    for ours, theirs in ((published.MNIST_FILES, known.MNIST), (published.FASHION_FILES, known.FashionMNIST)):
        assert {(a.path.rsplit("/", 1)[1], a.md5) for a in ours} == set(map(tuple, theirs.resources))
        assert all(a.path.startswith(f"{theirs.__name__}/raw/") for a in ours)
    for (archive,), theirs in ((published.CIFAR10_FILES, known.CIFAR10), (published.CIFAR100_FILES, known.CIFAR100)):
        assert (archive.path, archive.md5, archive.urls) == (theirs.filename, theirs.tgz_md5, (theirs.url,))
        listed = [*theirs.train_list, *theirs.test_list, [theirs.meta["filename"], theirs.meta["md5"]]]
        assert [(m.path, m.md5) for m in archive.members] == [(f"{theirs.base_folder}/{f}", s) for f, s in listed]
    for archive in published.SVHN_FILES:
        assert [archive.urls[0], archive.path, archive.md5] == known.SVHN.split_list[archive.split]


@pytest.mark.parametrize("name", [name for name, spec in DATASETS.items() if spec.files])
def test_the_page_on_data_lists_every_file(name):
    from pathlib import Path

    page = (Path(__file__).parents[2] / "data" / "README.md").read_text()
    for archive in DATASETS[name].files:
        assert archive.path in page and archive.md5 in page
    assert DATASETS[name].license in page
