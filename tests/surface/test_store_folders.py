"""Which folders a store takes, what it says of the others, and stores that can only be read."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from landscape.errors import CorruptFileError, LandscapeError, LockedError, MismatchError, StorageError
from landscape.objective import Objective
from landscape.storage import FolderLock, Ledger, write_json
from landscape.surface import Surface, evaluate_line, evaluate_surface, random_direction, random_plane, store

FILES = {"identity.json", "points.jsonl", "lock"}


def run(objective: Objective, store: object, **options: object) -> Surface:
    settings = {"points": 3, "progress": False, "engine": "auto"} | options
    return evaluate_surface(objective, random_plane(objective, seed=1), store=store, **settings)  # type: ignore


def unfinished(objective: Objective, folder: Path) -> int:
    """Leave a store with some of its points; return how many."""
    run(objective, folder, workers=1)
    ledger = folder / "points.jsonl"
    row = json.loads(ledger.read_text().splitlines()[0])
    ledger.unlink()
    kept = {name: row[name][:3] for name in ("points", "loss", "accuracy")}
    Ledger(ledger).append(kept)
    return 3


@pytest.fixture
def readable_only(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Make a folder one that nobody writes, root included."""

    def protect(folder: Path) -> None:
        really = os.open

        def refuse(path, flags, *rest, **named):
            if folder in Path(path).parents and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
            return really(path, flags, *rest, **named)

        monkeypatch.setattr(os, "open", refuse)

    return protect


def test_an_empty_name_is_not_the_working_directory(objective, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError, match=r"cannot be the name of a file or folder.*Got: ''"):
        run(objective, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a" * 300, "a\0b", "\ud800", 5, b"store", ["a"]])
def test_what_cannot_be_a_folder_is_one_error(objective, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError, match=r"Expected: .*Got: .*What to do: "):
        run(objective, name)
    with pytest.raises(StorageError, match=r"Expected: .*What to do: "):
        evaluate_line(objective, random_direction(objective), points=3, store=name, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_other_things_is_refused_and_left_alone(objective, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    (tmp_path / ".hidden").touch()
    for extra in ([], ["lock"]):  # a lock makes no store: a run has one too
        for name in extra:
            (tmp_path / name).touch()
        before = sorted(tmp_path.iterdir())
        with pytest.raises(
            StorageError, match=r"holds other things, and no store.*Got: \.hidden, thesis\.tex"
        ) as caught:
            run(objective, tmp_path)
        assert "elete" not in str(caught.value)
        assert sorted(tmp_path.iterdir()) == before
        advice = str(caught.value).partition("for example ")[2].removesuffix(".")
        run(objective, advice)
        assert {path.name for path in Path(advice).iterdir()} == FILES
        shutil.rmtree(advice)


def test_many_other_things_are_counted(objective, tmp_path):
    for number in range(9):
        (tmp_path / f"{number}.txt").touch()
    with pytest.raises(StorageError, match=r"Got: 0\.txt, 1\.txt, 2\.txt, 3\.txt, 4\.txt and 4 more"):
        run(objective, tmp_path)


def test_what_a_crash_left_in_an_empty_folder_is_no_other_thing(objective, tmp_path):
    (tmp_path / "lock").touch()
    (tmp_path / ".identity.json.host.7.0123abcd.landscape-tmp").touch()
    assert run(objective, tmp_path).complete


def test_a_store_that_was_given_a_note_goes_on_and_is_never_to_be_deleted(objective, tmp_path):
    run(objective, tmp_path / "s")
    (tmp_path / "s" / "notes.txt").write_text("what I saw")
    assert run(objective, tmp_path / "s").provenance["points_resumed"] == 9
    with pytest.raises(MismatchError, match=r"Name another folder; .*notes\.txt") as caught:
        run(objective, tmp_path / "s", extent=2.0)
    assert "delete" not in str(caught.value)


def follow(advice: str, folder: Path, objective: Objective) -> None:
    """Do what a message says."""
    assert f"or delete {folder} to begin again" in advice
    shutil.rmtree(folder)
    assert run(objective, folder).complete


@pytest.mark.parametrize("text", ["", "{", "[1, 2", "\x00\xff"])
def test_the_advice_about_a_damaged_record_works(objective, tmp_path, text):
    run(objective, tmp_path / "s")
    (tmp_path / "s" / "identity.json").write_text(text)
    with pytest.raises(CorruptFileError, match="not valid JSON") as caught:
        run(objective, tmp_path / "s")
    follow(str(caught.value), tmp_path / "s", objective)


def test_the_advice_about_a_missing_record_works(objective, tmp_path):
    run(objective, tmp_path / "s")
    (tmp_path / "s" / "identity.json").unlink()
    with pytest.raises(CorruptFileError, match="nobody knows") as caught:
        run(objective, tmp_path / "s")
    follow(str(caught.value), tmp_path / "s", objective)


def test_the_advice_about_a_damaged_line_works(objective, tmp_path):
    whole = run(objective, tmp_path)
    ledger = tmp_path / "points.jsonl"
    ledger.write_text("damaged\n" + ledger.read_text())
    with pytest.raises(CorruptFileError, match=r"line 1, is damaged.*Remove that line, or the file"):
        run(objective, tmp_path)
    ledger.write_text("".join(ledger.read_text().splitlines(keepends=True)[1:]))
    assert run(objective, tmp_path).provenance["points_resumed"] == 9
    ledger.unlink()
    again = run(objective, tmp_path)
    assert again.provenance["points_resumed"] == 0
    assert again.loss.tobytes() == whole.loss.tobytes()


def test_an_engine_that_this_version_does_not_have(objective, tmp_path):
    run(objective, tmp_path / "s")
    path = tmp_path / "s" / "identity.json"
    write_json(path, {**json.loads(path.read_text()), "engine": "quantum"})
    with pytest.raises(
        MismatchError, match=r"begun with an engine.*Expected: one of .*plain.*Got: 'quantum'"
    ) as caught:
        run(objective, tmp_path / "s")
    follow(str(caught.value), tmp_path / "s", objective)


@pytest.mark.parametrize("name", ["identity.json", "points.jsonl"])
@pytest.mark.parametrize("text", ['{"name": "me", "key": "private"}', "[1, 2]", "no JSON", ""])
def test_another_programs_record_is_not_to_be_deleted(objective, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(LandscapeError) as caught:
        run(objective, tmp_path)
    assert "Name another folder" in str(caught.value) and "delete" not in str(caught.value)
    assert (tmp_path / name).read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_finished_store_is_read_where_nothing_can_be_written(objective, tmp_path, readable_only):
    whole = run(objective, tmp_path / "s")
    (tmp_path / "s" / "lock").unlink()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "s").iterdir()}
    readable_only(tmp_path / "s")
    with pytest.raises(StorageError), FolderLock(tmp_path / "s"):
        pass
    again = run(objective, tmp_path / "s")
    assert again.provenance["points_resumed"] == 9
    for name in ("loss", "accuracy", "status"):
        assert getattr(again, name).tobytes() == getattr(whole, name).tobytes()
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "s").iterdir()} == before


def test_a_finished_store_is_read_while_somebody_holds_its_lock(objective, tmp_path):
    run(objective, tmp_path)
    with FolderLock(tmp_path):
        assert run(objective, tmp_path).provenance["points_resumed"] == 9


def test_an_unfinished_store_is_one_writers(objective, tmp_path):
    unfinished(objective, tmp_path)
    with FolderLock(tmp_path), pytest.raises(LockedError, match="Another process"):
        run(objective, tmp_path)


def test_an_unfinished_store_that_cannot_be_written_says_both(objective, tmp_path, readable_only, monkeypatch):
    known = unfinished(objective, tmp_path / "s")
    with monkeypatch.context():
        readable_only(tmp_path / "s")
        message = (
            rf"is not finished, and it cannot be written.*Expected: all 9 points.*Got: {known} points; .*Read-only"
        )
        with pytest.raises(StorageError, match=message) as caught:
            run(objective, tmp_path / "s")
        assert "Copy it" in str(caught.value)
        shutil.copytree(tmp_path / "s", tmp_path / "copy")
        assert run(objective, tmp_path / "copy").provenance["points_resumed"] == known


def test_a_finished_store_of_something_else_is_refused_without_a_lock(objective, tmp_path, readable_only):
    run(objective, tmp_path / "s")
    readable_only(tmp_path / "s")
    with pytest.raises(MismatchError, match="another alphas"):
        run(objective, tmp_path / "s", extent=2.0)


def test_points_that_stand_twice_do_not_make_a_store_finished(objective, tmp_path):
    unfinished(objective, tmp_path)
    ledger = Ledger(tmp_path / "points.jsonl")
    (row,) = ledger.rows()
    for _ in range(2):
        ledger.append(row)
    assert sum(len(each["points"]) for each in ledger.rows()) == 9
    with FolderLock(tmp_path), pytest.raises(LockedError):
        run(objective, tmp_path)
    found = run(objective, tmp_path)
    assert found.complete and found.provenance["points_resumed"] == 3 and np.isfinite(found.loss).all()


def test_a_store_of_the_working_directory_is_fine_where_it_is_named(objective, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(objective, ".").complete
    assert {path.name for path in tmp_path.iterdir()} == FILES


@pytest.mark.parametrize("finished", [True, False])
def test_points_are_read_once_and_what_helps_is_not_looked_for(objective, tmp_path, monkeypatch, finished):
    run(objective, tmp_path) if finished else unfinished(objective, tmp_path)
    reads, rows = [], Ledger.rows
    monkeypatch.setattr(Ledger, "rows", lambda ledger: reads.append(ledger.path) or rows(ledger))
    monkeypatch.setattr(store, "_remedy", lambda folder: pytest.fail("nothing is wrong with this store"))
    assert run(objective, tmp_path).provenance["points_resumed"] == (9 if finished else 3)
    assert reads == [tmp_path / "points.jsonl"]


def test_points_that_another_process_wrote_meanwhile_are_read(objective, tmp_path, monkeypatch):
    whole = run(objective, tmp_path, workers=1)
    row = Ledger(tmp_path / "points.jsonl").rows()[0]
    (tmp_path / "points.jsonl").unlink()
    Ledger(tmp_path / "points.jsonl").append({key: values[:3] for key, values in row.items()})
    acquire = FolderLock.acquire

    def after_another(lock):
        acquire(lock)
        Ledger(tmp_path / "points.jsonl").append({key: values[3:5] for key, values in row.items()})

    monkeypatch.setattr(FolderLock, "acquire", after_another)
    again = run(objective, tmp_path, workers=1)
    assert again.provenance["points_resumed"] == 5
    assert again.loss.tobytes() == whole.loss.tobytes()
