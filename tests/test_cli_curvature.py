"""``landscape curvature`` and ``sharpness`` with wrong flags, errors midway and damaged files: nothing is lost."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from landscape.cli import main
from landscape.curvature import Eigenpairs, Hessian, InterruptedWarning
from landscape.errors import NonFiniteError
from landscape.sharpness import MEASURES
from landscape.training import RunConfig, train

QUICK = ("--top", "1", "--probes", "5", "--density-probes", "0", "--limit", "20")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> str:
    config = RunConfig(limit=60, test_limit=30, model="mlp", model_options={"hidden": [4]}, epochs=1, batch_size=30)
    return str(train(config, root=tmp_path_factory.mktemp("runs"), progress=False).path)


@pytest.fixture
def folder(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("curvature", "sharpness")))


def call(capsys, *words: object) -> tuple[int, str, str]:
    code = main([*map(str, words), "--quiet"])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize(("method", "least"), [("xtrace", 4), ("hutch++", 3)])
def test_too_few_probes_are_seen_before_anything_is_computed(capsys, folder, method, least):
    code, out, err = call(capsys, "curvature", folder, *QUICK, "--probes", least - 1, "--method", method)
    assert (code, out) == (2, "") and f"--probes is out of range. Expected: at least {least}" in err


def test_a_picture_of_nothing_is_refused(capsys, folder, tmp_path):
    code, out, err = call(capsys, "curvature", folder, *QUICK, "--html", tmp_path / "page.html")
    assert (code, out) == (2, "") and "--html is out of range. Expected: a density or layers to draw" in err


def test_pictures_that_cannot_be_written_are_refused_before_measuring(capsys, folder, tmp_path):
    words = ("sharpness", folder, "--measure", "lpf", "--limit", "20")
    code, out, err = call(capsys, *words, "--html", tmp_path)
    assert (code, out) == (2, "") and "Could not write" in err
    same = tmp_path / "both.json"
    code, out, err = call(capsys, *words, "--json", same, "--html", same)
    assert (code, out) == (2, "") and "--html is out of range. Expected: another file than --json" in err


def test_an_error_midway_keeps_what_was_found(capsys, folder, monkeypatch):
    def broken(self, **options):
        raise NonFiniteError("A product is NaN.")

    monkeypatch.setattr(Hessian, "trace", broken)
    code, out, err = call(capsys, "curvature", folder, *QUICK)
    assert code == 2 and "A product is NaN" in err and "saved" in out
    (saved,) = (folder / "curvature").iterdir()
    assert Eigenpairs.load(saved / "eigenpairs.npz").complete
    assert json.loads((saved / "provenance.json").read_text())["complete"] is False
    monkeypatch.undo()
    assert call(capsys, "curvature", folder, *QUICK)[0] == 0
    before = {path: path.read_bytes() for path in saved.iterdir()}
    monkeypatch.setattr(Hessian, "trace", broken)
    code, out, err = call(capsys, "curvature", folder, *QUICK)
    assert code == 2 and "A product is NaN" in err
    assert {path: path.read_bytes() for path in saved.iterdir()} == before


def test_an_error_midway_keeps_the_measures_done(capsys, folder, monkeypatch, tmp_path):
    def broken(*args, **options):
        raise NonFiniteError("A loss is NaN.")

    entry = dataclasses.replace(MEASURES["sam_sharpness"], compute=broken)
    monkeypatch.setitem(MEASURES, "sam_sharpness", entry)
    monkeypatch.setattr(
        "landscape.sharpness.measures._computed", lambda bench, compute, options: compute(bench, **options)
    )
    words = ("sharpness", folder, "--limit", "20", "--measure", "lpf", "--measure", "sam_sharpness")
    code, out, err = call(capsys, *words, "--json", tmp_path / "values.json")
    assert code == 2 and "A loss is NaN" in err and "saved" in out
    part = json.loads((tmp_path / "values.json").read_text())
    assert list(part["measures"]) == ["lpf"] and part["complete"] is False


@pytest.mark.parametrize("text", ["{broken", "[]", ""])
def test_a_damaged_record_does_not_take_an_interrupted_result_along(capsys, folder, monkeypatch, text):
    assert call(capsys, "curvature", folder, *QUICK)[0] == 0
    (saved,) = (folder / "curvature").iterdir()
    (saved / "provenance.json").write_text(text)
    real, left = Hessian.__matmul__, 4

    def stopping(self, vector):
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt
        return real(self, vector)

    monkeypatch.setattr(Hessian, "__matmul__", stopping)
    with pytest.warns(InterruptedWarning):
        code, out, _ = call(capsys, "curvature", folder, *QUICK)
    assert code == 130 and "it was interrupted" in out
    assert json.loads((saved / "provenance.json").read_text())["complete"] is False
