"""``folder:PATH``: anyone's own images, ``PATH/train/<class>/*.png`` and ``PATH/test/<class>/*.png``."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from landscape.datasets.imagefiles import ImageFiles, file_source
from landscape.datasets.source import Request, Source
from landscape.errors import DataError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".ppm", ".bmp")
_LAYOUT = "PATH/train/<class>/*.png and PATH/test/<class>/*.png (also jpg, jpeg, ppm, bmp)"


def folder_source(path: str, request: Request) -> Source:
    """Open one split of a folder of images.

    Classes are the folders below ``train``, in the order of their names; ``test`` must hold the same ones. Files are
    taken in the order of their names; hidden files and files that are no images are passed over. All images must have
    the size of the first training image, unless ``image_size`` is given: nothing is resized unasked.

    Args:
        path: The folder that holds ``train`` and ``test``.
        request: What is asked for.

    Raises:
        DataError: A folder is missing, a class is empty, or the two splits have different classes.
    """
    base = Path(path).expanduser()
    try:
        there = base.is_dir()
    except (OSError, ValueError):  # a name that the file system cannot hold
        there = False
    if not there:
        raise DataError(f"There is no folder {base}.", expected=_LAYOUT, fix="Check the path behind 'folder:'.")
    class_names, training = _list_split(base / "train")
    chosen = training
    if request.split == "test" or (base / "test").is_dir():
        test_names, test = _list_split(base / "test")
        if test_names != class_names:
            odd = sorted(set(class_names) ^ set(test_names))
            raise DataError(
                f"The classes in {base / 'train'} and {base / 'test'} differ.",
                expected="the same folders in both",
                got=f"{len(odd)} that only one has: {', '.join(odd[:5])}",
                fix="Add the missing folders with images, or remove the others.",
            )
        chosen = test if request.split == "test" else training
    return file_source(chosen, training, class_names, request)


def _list_split(folder: Path) -> tuple[tuple[str, ...], ImageFiles]:
    """List the classes of a split and its image files."""
    if not folder.is_dir():
        raise DataError(
            f"There is no folder {folder}.", expected=_LAYOUT, fix=f"Create {folder.name}/ with the classes."
        )
    with os.scandir(folder) as entries:
        names = tuple(sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")))
    if not names:
        raise DataError(
            f"There are no class folders in {folder}.", expected=_LAYOUT, fix="Put one folder per class there."
        )
    paths: list[str] = []
    counts: list[int] = []
    for name in names:
        images = _list_images(folder / name)
        paths += images
        counts.append(len(images))
    return names, ImageFiles(paths=paths, labels=np.repeat(np.arange(len(names)), counts))


def _is_regular(entry: os.DirEntry[str]) -> bool:
    """Tell whether it can be read to its end (a named pipe cannot); folders and broken links are errors later."""
    return entry.is_file() or entry.is_dir() or (entry.is_symlink() and not os.path.exists(entry.path))


def _list_images(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        images = sorted(
            entry.path
            for entry in entries
            if entry.name.lower().endswith(EXTENSIONS) and not entry.name.startswith(".") and _is_regular(entry)
        )
    if not images:
        raise DataError(
            f"There are no images in {folder}.",
            expected="files that end in " + ", ".join(EXTENSIONS),
            fix="Add images of that class, or remove the folder.",
        )
    return images
