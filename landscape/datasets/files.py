"""The files of published datasets: found, verified by their published checksums, downloaded, unpacked."""

from __future__ import annotations

import gzip
import hashlib
import os
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from landscape.datasets.download import download_file
from landscape.errors import CorruptFileError, DataError, StorageError
from landscape.storage import write_bytes


@dataclass(frozen=True)
class Member:
    """What is read in the end: a file with its MD5, or a folder (no MD5).

    Args:
        path: Below the data folder.
        md5: Published checksum in hexadecimal; None for folders.
    """

    path: str
    md5: str | None = None


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A file as it is published.

    Args:
        path: Where it belongs, below the data folder; it is unpacked into the folder where it lies.
        md5: Published checksum in hexadecimal.
        urls: Where it can be had, the best first.
        members: What comes out of it; for a file that is read as it is, the file itself.
        split: "train" or "test" where only that split needs it; None where both do.
    """

    path: str
    md5: str
    urls: tuple[str, ...]
    members: tuple[Member, ...]
    split: str | None = None


def md5_of(path: Path) -> str:
    """Return the MD5 of a file in hexadecimal (against damage, not against forgery)."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def ensure_files(
    name: str, archives: Sequence[Archive], root: Path, *, download: bool = False, progress: bool = True
) -> None:
    """Make sure that every member of every archive is there and undamaged: unpack or download what is not.

    A download enters the data folder only as a whole and after its checksum was right; an archive is unpacked beside
    its place and moved there member by member. So an interruption leaves nothing that could be taken for data.

    Args:
        name: The dataset's name, for messages.
        archives: What is needed.
        root: The data folder.
        download: Whether missing files may be fetched. Damaged ones are then moved aside (``.corrupt``) first.
        progress: Whether downloads show a bar.

    Raises:
        DataError: A file is missing and may not, or could not, be downloaded; the message says what to put where.
        CorruptFileError: A file does not match its published checksum, and ``download`` is False.
        StorageError: The data folder cannot be written.
    """
    missing = [archive for archive in archives if not _usable(archive, root, mend=download)]
    if missing and not download:
        raise _missing_error(name, missing, root)
    for archive in missing:
        try:
            content = download_file(archive.urls, md5=archive.md5, desc=Path(archive.path).name, progress=progress)
        except DataError as error:
            raise _missing_error(name, [archive], root, str(error)) from error
        write_bytes(root / archive.path, content)
        del content
        _unpack(archive, root)


def _usable(archive: Archive, root: Path, *, mend: bool) -> bool:
    """Return whether all members are there and undamaged, after unpacking the archive where it was needed.

    A damaged file is moved aside where ``mend`` is true, and an error where it is not.
    """
    while True:
        unpacked = False
        damaged = None
        if not all((root / member.path).exists() for member in archive.members):
            if not (root / archive.path).is_file():
                return False
            damaged = _damage(root / archive.path, archive.md5)
            if damaged is None:
                _unpack(archive, root)
                unpacked = True
        if damaged is None:
            found = (_damage(root / member.path, member.md5) for member in archive.members)
            damaged = next((error for error in found if error is not None), None)
        if damaged is None:
            return True
        if unpacked or not mend:
            raise damaged
        _move_aside(damaged.path)


class _Damaged(CorruptFileError):
    """A file with a wrong checksum."""

    path: Path


def _damage(path: Path, md5: str | None) -> _Damaged | None:
    found = None if md5 is None else md5_of(path)
    if found == md5:
        return None
    error = _Damaged(
        f"{path} is damaged, or is another file of that name.",
        expected=f"MD5 {md5}",
        got=f"MD5 {found}",
        fix="Remove it and run again with download=True, or restore it from the original.",
    )
    error.path = path
    return error


def _move_aside(path: Path) -> None:
    try:
        os.replace(path, path.with_name(path.name + ".corrupt"))
    except OSError as error:
        raise StorageError(f"Could not move {path} aside.", got=str(error), fix="Check the folder's rights.") from error


def _missing_error(name: str, archives: Sequence[Archive], root: Path, reason: str | None = None) -> DataError:
    wanted = [f"{root / archive.path} (MD5 {archive.md5}, from {archive.urls[0]})" for archive in archives]
    command = f"landscape data download {name} --root {root}"
    how = f"`{command}`, or load_dataset({name!r}, download=True)" if reason is None else f"`{command}` later"
    return DataError(
        f"The files of {name!r} are not in {root}." if reason is None else f"{name!r} could not be downloaded.",
        expected="; ".join(wanted),
        got=reason,
        fix=f"Run {how}; without a network, put the files above there (what is unpacked from them will do as well).",
    )


def _unpack(archive: Archive, root: Path) -> None:
    """Unpack an archive beside its place and move its members in, each in one step."""
    path = root / archive.path
    if archive.members == (Member(archive.path, archive.md5),):
        return
    if path.suffix == ".gz" and not path.name.endswith(".tar.gz"):
        write_bytes(root / archive.members[0].path, gzip.decompress(path.read_bytes()))
        return
    with _staging(path.parent) as staging:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as pack:
                pack.extractall(staging)
        else:
            with tarfile.open(path) as pack:
                pack.extractall(staging, filter="data")
        for member in archive.members:
            target = root / member.path
            if target.is_dir():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(staging / target.relative_to(path.parent), target)


@contextmanager
def _staging(folder: Path) -> Iterator[Path]:
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".unpacking-") as staging:
            yield Path(staging)
    except (OSError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise StorageError(
            f"Could not unpack into {folder}.", got=f"{type(error).__name__}: {error}", fix="Check space and rights."
        ) from error
