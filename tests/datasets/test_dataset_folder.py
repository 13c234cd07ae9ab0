"""folder:PATH: what is read, what is refused, and what is kept between two loads."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from landscape.datasets import channel_statistics, decode, imagefiles, load_dataset
from landscape.errors import CorruptFileError, DataError

COUNTS = {"train": {"ant": 5, "bee": 4, "cat": 3}, "test": {"ant": 2, "bee": 2, "cat": 2}}


def pixels(seed, size=(6, 5)):
    return np.random.RandomState(seed).randint(0, 256, (*size, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    """12 training and 6 test images of 6x5 pixels, saved without loss; image i has the pixels of seed i."""
    base, number = tmp_path / "photos", 0
    for split, classes in COUNTS.items():
        for name, count in classes.items():
            (base / split / name).mkdir(parents=True)
            for index in range(count):
                Image.fromarray(pixels(number)).save(base / split / name / f"{index:02d}.png")
                number += 1
    return base


@pytest.fixture
def load(folder, tmp_path):
    return lambda **settings: load_dataset(f"folder:{folder}", root=tmp_path / "data", **settings)


def cached(tmp_path):
    return sorted((tmp_path / "data" / ".cache").glob("*.npz"))


def refuse_to_decode(monkeypatch):
    def fail(*_, **__):
        raise AssertionError("decoded again")

    monkeypatch.setattr(imagefiles, "decode_images", fail)


def test_images_come_in_the_order_of_their_names(load):
    train, test = load(), load(split="test")
    expected = np.stack([pixels(number).transpose(2, 0, 1) for number in range(18)])
    assert np.array_equal(train.inputs.numpy(), expected[:12]) and np.array_equal(test.inputs.numpy(), expected[12:])
    assert train.targets.tolist() == [0] * 5 + [1] * 4 + [2] * 3 and train.class_names == ("ant", "bee", "cat")
    assert test.targets.tolist() == [0, 0, 1, 1, 2, 2]


def test_all_splits_and_limits_share_the_statistics_of_the_training_images(load):
    expected = channel_statistics(load().inputs)
    for ds in (load(), load(split="test"), load(limit=3), load(limit=3, seed=9), load(pixel_noise=2.0)):
        assert (ds.mean, ds.std) == expected


def test_statistics_of_a_large_set_come_from_a_balanced_sample(load, monkeypatch):
    monkeypatch.setattr(imagefiles, "STATISTICS_SAMPLE", 3)
    first = load(limit=3, seed=0)
    assert (first.mean, first.std) == channel_statistics(first.inputs)  # the sample is the choice of seed 0
    assert load(split="test", limit=2).mean == load(limit=5, seed=7).mean == first.mean


def test_only_the_chosen_images_are_opened(load, folder, monkeypatch):
    monkeypatch.setattr(imagefiles, "STATISTICS_SAMPLE", 3)
    opened, real = [], decode._decode
    monkeypatch.setattr(decode, "_decode", lambda path, size: opened.append(path) or real(path, size))
    load(limit=3)
    assert len(set(opened)) <= 4  # three chosen, which are the sample too, and the first, for the size


def test_a_second_load_decodes_nothing(load, monkeypatch, tmp_path):
    first = load()
    assert len(cached(tmp_path)) == 2  # images and statistics
    refuse_to_decode(monkeypatch)
    assert load().checksum == first.checksum
    with pytest.raises(AssertionError, match="decoded again"):
        load(limit=6)


def test_the_cache_is_not_in_the_users_folder(load, folder):
    before = sorted(folder.rglob("*"))
    load()
    assert sorted(folder.rglob("*")) == before


def test_a_changed_image_is_decoded_again(load, folder):
    first, path = load(), folder / "train" / "ant" / "00.png"
    Image.fromarray(pixels(99)).save(path)
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert np.array_equal(load().inputs[0].numpy(), pixels(99).transpose(2, 0, 1))
    assert load().checksum != first.checksum


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive", None])
def test_a_damaged_cache_is_moved_aside_and_made_again(load, tmp_path, caplog, damage):
    first = load()
    for path in cached(tmp_path):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content) if damage is None else damage)
    assert load().checksum == first.checksum
    assert len(list((tmp_path / "data" / ".cache").glob("*.corrupt"))) == 2
    assert "made again" in caplog.text
    assert load().mean == first.mean


def test_a_cache_that_cannot_be_written_is_no_error(load, tmp_path, caplog):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".cache").write_text("a file where the folder should be")
    assert len(load()) == 12
    assert "not cached" in caplog.text


def test_an_interrupted_decoding_leaves_nothing(load, tmp_path, monkeypatch):
    real, calls = decode._decode, []

    def interrupted(path, size):
        calls.append(path)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return real(path, size)

    monkeypatch.setattr(decode, "_decode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load()
    assert not (tmp_path / "data").exists()
    assert len(load()) == 12


def test_several_threads_may_load_at_once(load, tmp_path):
    found = []
    threads = [threading.Thread(target=lambda: found.append(load().checksum)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [load().checksum] * 6
    assert not list((tmp_path / "data" / ".cache").glob("*.corrupt"))


def test_resizing_is_torchvisions_antialiased_one(load, folder):
    from torchvision.transforms.v2.functional import resize

    load()
    found = load(image_size=(3, 4))  # the cache tells sizes apart
    for index, name in enumerate(["00", "01", "02"]):
        with Image.open(folder / "train" / "ant" / f"{name}.png") as image:
            assert np.array_equal(found.inputs[index].permute(1, 2, 0), np.asarray(resize(image, [3, 4])))


def test_many_images_are_resized_by_several_threads_in_order(tmp_path):
    paths = []
    for number in range(600):
        paths.append(str(tmp_path / f"{number}.bmp"))
        Image.fromarray(np.full((4, 4, 3), number % 256, dtype=np.uint8)).save(paths[-1])
    images = decode.decode_images(paths, (2, 2), resize=True, desc="", progress=False)
    assert np.array_equal(images, np.broadcast_to(np.arange(600).astype(np.uint8)[:, None, None, None], images.shape))


@pytest.mark.parametrize(
    ("mode", "suffix"), [("L", "png"), ("1", "png"), ("LA", "png"), ("RGBA", "png"), ("P", "png"), ("CMYK", "jpg")]
)
def test_other_kinds_of_images_become_rgb(load, folder, mode, suffix):
    (folder / "train" / "ant" / "00.png").unlink()
    image = Image.fromarray(np.full((6, 5, 3), 255, dtype=np.uint8)).convert(mode)
    options = {"transparency": bytes([0] * 200)} if mode == "P" else {}
    image.save(folder / "train" / "ant" / f"00.{suffix}", **options)
    assert torch.equal(load().inputs[0], torch.full((3, 6, 5), 255, dtype=torch.uint8))


def test_what_is_no_image_is_passed_over(load, folder):
    (folder / "train" / "ant" / "Thumbs.db").write_bytes(b"x")
    (folder / "train" / "ant" / ".hidden.png").write_bytes(b"x")
    (folder / "train" / "README.txt").write_text("x")
    (folder / "train" / ".git").mkdir()
    (folder / "train" / "ant" / "00.png").rename(folder / "train" / "ant" / "00.PNG")
    assert len(load()) == 12 and len(load().class_names) == 3


def remove_tree(path):
    for child in sorted(path.rglob("*"), reverse=True):
        child.rmdir() if child.is_dir() else child.unlink()
    path.rmdir()


def break_nothing(folder):
    remove_tree(folder)


def break_train(folder):
    (folder / "train").rename(folder / "training")


def break_classes(folder):
    remove_tree(folder / "test" / "cat")


def break_empty_class(folder):
    for path in (folder / "train" / "bee").iterdir():
        path.unlink()


def break_no_classes(folder):
    remove_tree(folder / "train")
    (folder / "train").mkdir()


def break_truncated(folder):
    path = folder / "train" / "bee" / "01.png"
    path.write_bytes(path.read_bytes()[:60])


def break_text(folder):
    (folder / "train" / "bee" / "01.png").write_text("no image")


def break_first(folder):
    (folder / "train" / "ant" / "00.png").write_bytes(b"")


def break_size(folder):
    Image.fromarray(pixels(1, (7, 5))).save(folder / "train" / "cat" / "02.png")


def break_depth(folder):
    Image.fromarray(np.full((6, 5), 40_000, dtype=np.uint16)).save(folder / "train" / "cat" / "02.png")


def break_directory(folder):
    (folder / "train" / "cat" / "99.png").mkdir()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (break_nothing, "There is no folder .*photos.*PATH/train/<class>"),
        (break_train, "There is no folder .*photos/train"),
        (break_classes, "differ.*1 that only one has: cat"),
        (break_empty_class, "no images in .*train/bee"),
        (break_no_classes, "no class folders in .*train"),
        (break_truncated, "train/bee/01.png cannot be read.*Restore 01.png"),
        (break_text, "train/bee/01.png cannot be read"),
        (break_first, "train/ant/00.png cannot be read"),
        (break_size, "cat/02.png.*6x5 pixels.*7x5.*image_size"),
        (break_depth, "cat/02.png cannot be used.*8 bits"),
        (break_directory, "cat/99.png cannot be read"),
    ],
)
def test_each_defect_gives_one_clear_error(load, folder, tmp_path, damage, words):
    damage(folder)
    with pytest.raises(DataError, match=f"(?s){words}"):
        load()
    assert not list(tmp_path.glob("data/.cache/*.npz"))


def test_a_size_that_is_asked_for_makes_mixed_sizes_usable(load, folder):
    break_size(folder)
    assert load(image_size=4).input_shape == (3, 4, 4)


def test_a_folder_without_test_serves_training_only(load, folder):
    remove_tree(folder / "test")
    assert len(load()) == 12
    with pytest.raises(DataError, match="photos/test"):
        load(split="test")


def test_a_huge_image_is_refused_without_a_warning(load, folder, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)  # 30 pixels: between the warning and twice that
    with pytest.raises(DataError, match="00.png is too large"):
        load()


def test_a_truncated_jpeg_is_found(load, folder):
    """Some decoders fill the rest with gray and say nothing."""
    path = folder / "train" / "bee" / "01.png"
    path.unlink()
    Image.fromarray(pixels(5)).save(path.with_suffix(".jpg"))
    content = path.with_suffix(".jpg").read_bytes()
    path.with_suffix(".jpg").write_bytes(content[: len(content) - 40])
    with pytest.raises(DataError, match="01.jpg cannot be read"):
        load()


def test_the_error_of_a_damaged_image_is_no_corrupt_cache(load, folder):
    break_text(folder)
    with pytest.raises(DataError) as caught:
        load()
    assert not isinstance(caught.value, CorruptFileError)


def test_what_is_no_regular_file_is_passed_over(folder, load):
    """Reading a named pipe would wait for ever."""
    expected = load().checksum
    os.mkfifo(folder / "train" / "ant" / "zz.png")
    assert load().checksum == expected
    (folder / "train" / "cat" / "zz.png").symlink_to(folder / "nowhere.png")
    with pytest.raises(DataError, match=r"zz\.png"):
        load()


def test_a_path_that_no_file_system_holds_is_no_folder(tmp_path):
    for path in ("x" * 5000, "/".join(["y" * 200] * 40), "a\0b"):
        with pytest.raises(DataError, match="There is no folder"):
            load_dataset(f"folder:{path}", root=tmp_path)
