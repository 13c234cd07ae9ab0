"""``landscape sharpness``: what it prints is what it saves, and both are what the library computes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from landscape.cli import main
from landscape.sharpness import MEASURES, measure
from landscape.training import Run, RunConfig, train


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> str:
    config = RunConfig(limit=100, test_limit=50, model="mlp", model_options={"hidden": [8]}, epochs=2, batch_size=50)
    return str(train(config, root=tmp_path_factory.mktemp("runs"), progress=False).path)


def call(capsys, *words: str) -> tuple[int, str, str]:
    code = main(["sharpness", *words, "--quiet"])
    out, err = capsys.readouterr()
    return code, out, err


def saved(out: str) -> dict:
    return json.loads(Path(out.splitlines()[-1].removeprefix("saved").strip()).read_text())


def test_named_measures(capsys, trained):
    code, out, err = call(capsys, trained, "--measure", "lambda_max", "--measure", "pac_bayes", "--limit", "50")
    assert code == 0, err
    run = Run.load(trained)
    objective = run.objective("train", 50)
    start = objective.layout.flatten(run.model(0))
    found = saved(out)["measures"]
    for name in ("lambda_max", "pac_bayes"):
        value = measure(objective, name, initial_weights=start, progress=False)[name]
        assert found[name]["value"] == pytest.approx(value.value) and found[name]["unit"] == MEASURES[name].unit
        assert any(line.split()[0] == name and str(value) in line for line in out.splitlines())
    assert list(found) == ["lambda_max", "pac_bayes"] and saved(out)["settings"]["limit"] == 50


def test_the_balanced_network_and_what_was_published(capsys, trained):
    values = {}
    for flags in ((), ("--balanced",), ("--as-published",)):
        code, out, err = call(capsys, trained, "--measure", "fisher_rao", "--limit", "50", *flags)
        assert code == 0, err
        values[flags] = saved(out)["measures"]["fisher_rao"]["value"]
    assert len(set(values.values())) == 3


def test_where_the_values_go(capsys, trained, tmp_path):
    code, _, err = call(capsys, trained, "--measure", "lpf", "--limit", "20", "--json", str(tmp_path / "here.json"))
    assert code == 0, err
    assert json.loads((tmp_path / "here.json").read_text())["measures"]["lpf"]["stderr"] > 0


def test_an_unknown_measure_is_told_before_any_work(capsys, trained):
    code, out, err = call(capsys, trained, "--measure", "lambda_maximum")
    assert (code, out) == (2, "")
    assert "lambda_max" in err


def test_the_picture_lies_beside_the_values_or_where_it_is_wanted(capsys, trained, tmp_path):
    words = (trained, "--measure", "lambda_max", "--measure", "lpf", "--limit", "20")
    code, out, err = call(capsys, *words, "--json", str(tmp_path / "here.json"))
    assert code == 0, err
    assert f"picture        {tmp_path / 'here.html'}" in out.splitlines()
    page = (tmp_path / "here.html").read_text()
    assert "Sharpness of digits, mlp, sgd: train split, limit 20 examples" in page and "lambda_max" in page
    code, out, err = call(capsys, *words, "--html", str(tmp_path / "there.html"))
    assert code == 0, err
    assert (tmp_path / "there.html").exists()
    code, out, err = call(capsys, *words, "--json", str(tmp_path / "odd.html"))  # is not written over
    assert code == 0, err
    assert json.loads((tmp_path / "odd.html").read_text()) and (tmp_path / "odd.html.html").exists()


def test_an_interrupt_saves_the_measures_done(capsys, trained, tmp_path, monkeypatch):
    path, entry = tmp_path / "here.json", MEASURES["sam_sharpness"]
    words = [trained, "--measure", "lpf", "--measure", "sam_sharpness", "--limit", "20", "--json", str(path)]

    def stopped(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setitem(MEASURES, "sam_sharpness", dataclasses.replace(entry, compute=stopped))
    code, _, err = call(capsys, *words[:1], *words[3:])
    assert code == 130 and "interrupted" in err and not path.exists()
    code, out, _ = call(capsys, *words)
    assert code == 130 and "it was interrupted" in out
    part = json.loads(path.read_text())
    assert list(part["measures"]) == ["lpf"] and part["complete"] is False
    monkeypatch.setitem(MEASURES, "sam_sharpness", entry)
    path.unlink()
    assert call(capsys, *words)[0] == 0
    whole = path.read_text()
    assert json.loads(whole)["complete"] is True
    monkeypatch.setitem(MEASURES, "sam_sharpness", dataclasses.replace(entry, compute=stopped))
    code, out, _ = call(capsys, *words)
    assert code == 130 and "nothing is saved" in out and path.read_text() == whole


def test_the_balanced_network_is_measured_on_the_run_s_data(capsys, trained):
    code, out, err = call(capsys, trained, "--measure", "lambda_max", "--limit", "50", "--balanced")
    assert code == 0, err
    found, expected = saved(out), Run.load(trained).objective("train", 50).provenance()
    same = ("data", "data_sha256", "normalization", "batch_size", "examples", "loss")
    assert {key: found[key] for key in same} == {key: expected[key] for key in same}
