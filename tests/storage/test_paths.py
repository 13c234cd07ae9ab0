"""Whatever a config, a notebook or an archive says, the path stays below its root."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from landscape.errors import MismatchError
from landscape.storage import safe_join

pieces = st.sampled_from(["..", ".", "/", "\\", "\0", ":", "a", "C:", "~", "con", "\n", "\ud800", " ", "-"])
parts = st.one_of(st.text(st.characters(exclude_categories=[]), max_size=12), st.lists(pieces, max_size=6).map("".join))


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A folder with a link that stays inside, one that leads outside, and a loop."""
    root = tmp_path_factory.mktemp("root")
    (root / "folder").mkdir()
    (root / "inside").symlink_to(root / "folder")
    (root / "outside").symlink_to(root.parent)
    (root / "loop").symlink_to(root / "loop")
    return root


@given(names=st.lists(parts, max_size=3))
@settings(max_examples=200)
@example(names=["outside"])
@example(names=["folder", "..", ".."])
@example(names=["\ud800"])
@example(names=["n" * 5000])
def test_a_path_stays_below_its_root_or_is_refused(root, names):
    try:
        path = safe_join(root, *names)
    except MismatchError:
        return
    assert path.is_relative_to(root.resolve())
    assert path.resolve().is_relative_to(root.resolve())


@pytest.mark.parametrize(
    "part",
    ["", "/etc/passwd", "..", "a/../../b", "a/..", "a\0b", "..\\b", "C:/x", "c:x", "con", "NUL.txt", "a/aux", "a\nb"],
)
def test_refused_with_what_to_do(root, part):
    with pytest.raises(MismatchError, match="could lead outside") as caught:
        safe_join(root, part)
    assert "What to do" in str(caught.value)
    with pytest.raises(MismatchError):
        safe_join(root, "a", part)


@pytest.mark.parametrize("part", ["outside", "outside/x", "loop", "loop/x"])
def test_links_that_lead_outside_are_refused(root, part):
    with pytest.raises(MismatchError, match="link"):
        safe_join(root, part)


@pytest.mark.parametrize(
    "part", ["a", "a/b.json", "inside/x", ".hidden", "a..b", "...", "console", "step_00000000.safetensors", "ü", "a b"]
)
def test_plain_names_are_joined(root, part):
    assert safe_join(root, part) == root.resolve() / part


def test_a_root_that_is_a_link_and_a_root_that_is_not_there(root, tmp_path):
    assert safe_join(root / "inside", "x") == root.resolve() / "folder" / "x"
    assert safe_join(tmp_path / "not yet", "x") == tmp_path.resolve() / "not yet" / "x"
    assert safe_join(root) == root.resolve()
