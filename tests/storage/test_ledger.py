"""A ledger loses at most the row that a crash tore, and nothing written before or after it."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from landscape.errors import CorruptFileError, StorageError
from landscape.storage import Ledger

values = st.recursive(
    st.one_of(st.integers(), st.floats(allow_nan=False), st.text(max_size=4), st.none(), st.booleans()),
    lambda inner: st.dictionaries(st.text(max_size=3), inner, max_size=2) | st.lists(inner, max_size=2),
    max_leaves=4,
)
rows = st.dictionaries(st.text(max_size=3), values, max_size=3)


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("ledger") / "metrics.jsonl"


def ledger_of(path: Path, written: list[dict]) -> Ledger:
    """A ledger of these rows, not flushed to the disk, which is not what is tested here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        for row in written:
            Ledger(path).append(row)
    return Ledger(path)


def test_rows_come_back_in_order(tmp_path):
    ledger = Ledger(tmp_path / "runs" / "a.jsonl")
    assert ledger.rows() == []
    for epoch in range(3):
        ledger.append({"epoch": epoch, "text": "a\nb"})
    assert ledger.rows() == [{"epoch": epoch, "text": "a\nb"} for epoch in range(3)]
    assert len(ledger.path.read_bytes().splitlines()) == 3


def test_nan_is_kept(tmp_path):
    ledger = Ledger(tmp_path / "a")
    ledger.append({"loss": math.nan, "other": -math.inf})
    (row,) = ledger.rows()
    assert math.isnan(row["loss"])
    assert row["other"] == -math.inf


@given(written=st.lists(rows, min_size=1, max_size=3), more=st.lists(rows, min_size=1, max_size=2), cut=st.integers(1))
@settings(max_examples=150)
def test_a_tear_anywhere_costs_only_the_torn_row(path, written, more, cut):
    path.unlink(missing_ok=True)
    ledger = Ledger(path)
    ledger_of(path, written)
    content = path.read_bytes()
    last = len(content) - len(content.splitlines(keepends=True)[-1])
    kept = last + cut % (len(content) - last)  # somewhere inside the last line, its newline gone at least
    path.write_bytes(content[:kept])
    whole = written if kept == len(content) - 1 else written[:-1]
    assert ledger.rows() == whole
    assert ledger_of(path, more).rows() == whole + more


@given(written=st.lists(rows, min_size=1, max_size=3), place=st.integers(0), bit=st.integers(0, 7))
@settings(max_examples=150)
def test_a_flipped_bit_is_found_or_costs_the_last_row(path, written, place, bit):
    """Only a flip of the very last byte looks like a tear, which costs that row and gives no wrong one."""
    path.unlink(missing_ok=True)
    ledger = ledger_of(path, written)
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1 << bit
    path.write_bytes(content)
    try:
        found = ledger.rows()
    except CorruptFileError:
        return
    assert place % len(content) == len(content) - 1
    assert found == written[:-1]


def test_an_edited_line_is_an_error(tmp_path):
    ledger = Ledger(tmp_path / "metrics.jsonl")
    for epoch in range(3):
        ledger.append({"epoch": epoch, "test_error": 0.5})
    good = ledger.path.read_text()
    ledger.path.write_text(good.replace('"epoch": 1, "test_error": 0.5', '"epoch": 1, "test_error": 0.1'))
    with pytest.raises(CorruptFileError, match=r"line 2, is damaged.*matches its checksum"):
        ledger.rows()
    ledger.path.write_text(good + '{"epoch": 3}\n')  # and one without any
    with pytest.raises(CorruptFileError, match="line 4"):
        ledger.rows()


def test_a_row_torn_after_an_inner_brace(tmp_path):
    ledger = Ledger(tmp_path / "a")
    ledger.append({"a": {"b": 1}, "c": 2})
    content = ledger.path.read_bytes()
    ledger.path.write_bytes(content[: content.index(b"}") + 1])
    ledger.append({"d": 3})
    assert ledger.rows() == [{"d": 3}]


def test_zeros_that_a_power_cut_left_are_a_tear(tmp_path):
    ledger = Ledger(tmp_path / "a")
    ledger.append({"a": 1})
    with open(ledger.path, "ab") as file:
        file.write(bytes(20))
    assert ledger.rows() == [{"a": 1}]
    ledger.append({"b": 2})
    assert ledger.rows() == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize("damaged", [b'{"a": 1', b"\xff", b"[1]", b"3", b'{"a": 1}}'])
def test_damage_that_is_no_tear_is_an_error_naming_the_line(tmp_path, damaged):
    ledger = Ledger(tmp_path / "metrics.jsonl")
    ledger.append({"a": 1})
    ledger.path.write_bytes(ledger.path.read_bytes() + damaged + b"\n")
    ledger.append({"a": 2})
    with pytest.raises(CorruptFileError, match=r"metrics\.jsonl, line 2, is damaged"):
        ledger.rows()


def test_keep_rewrites_atomically_without_the_torn_row(tmp_path):
    ledger = Ledger(tmp_path / "a")
    ledger.keep(lambda row: True)
    assert not ledger.path.exists()
    for step in range(5):
        ledger.append({"step": step})
    with open(ledger.path, "ab") as file:
        file.write(b'{"st')
    ledger.keep(lambda row: row["step"] < 2)
    texts = ledger.path.read_text().splitlines()
    assert [text.partition(', "check"')[0] for text in texts] == ['{"step": 0', '{"step": 1']
    assert ledger.rows() == [{"step": 0}, {"step": 1}]


def test_keep_that_fails_changes_nothing(tmp_path):
    ledger = Ledger(tmp_path / "a")
    ledger.append({"step": 0})
    with pytest.raises(KeyError):
        ledger.keep(lambda row: row["epoch"] < 2)
    assert ledger.rows() == [{"step": 0}]


def test_a_new_ledger_is_durable(tmp_path, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.fstat(fd).st_ino), real(fd)))
    ledger = Ledger(tmp_path / "a")
    ledger.append({})
    assert synced == [ledger.path.stat().st_ino, tmp_path.stat().st_ino]
    ledger.append({})
    assert len(synced) == 3


def test_unwritable_and_unreadable_places_are_our_own_errors(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="Could not append"):
        Ledger(tmp_path / "file" / "a").append({})
    with pytest.raises(StorageError, match="Could not read"):
        Ledger(tmp_path).rows()


APPENDER = """
from landscape.storage import Ledger
ledger, step = Ledger(sys.argv[1]), 0
while True:
    ledger.append({"step": step, "values": list(range(2000))})
    step += 1
    if step == 1:
        print("ready", flush=True)
"""


@pytest.mark.parametrize("delay", [0.002, 0.011, 0.03])
def test_kill_9_during_appends(program, tmp_path, delay):
    process = program(APPENDER, tmp_path / "a")
    assert process.stdout.readline() == "ready\n"
    time.sleep(delay)
    process.kill()
    process.wait()
    ledger = Ledger(tmp_path / "a")
    before = ledger.rows()
    assert [row["step"] for row in before] == list(range(len(before)))
    ledger.append({"step": "after"})
    assert ledger.rows() == [*before, {"step": "after"}]
