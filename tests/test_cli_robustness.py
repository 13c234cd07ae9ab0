"""``landscape robustness``: what it prints is what it saves, and both are what the library computes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from landscape.cli import main
from landscape.cli_robustness import RobustnessCommand
from landscape.errors import StorageError
from landscape.robustness import ATTACKS, RobustAccuracy, robust_accuracy
from landscape.robustness import accuracy as accuracy_module
from landscape.training import Run, RunConfig, train


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> str:
    config = RunConfig(limit=200, test_limit=60, model="mlp", model_options={"hidden": [16]}, epochs=8, batch_size=50)
    return str(train(config, root=tmp_path_factory.mktemp("runs"), progress=False).path)


def call(capsys, *words: str) -> tuple[int, str, str]:
    code = main(["robustness", *words, "--quiet"])
    out, err = capsys.readouterr()
    return code, out, err


def saved(out: str) -> list[RobustAccuracy]:
    return [RobustAccuracy.load(path) for path in re.findall(r"^saved +(\S+)$", out, flags=re.MULTILINE)]


def test_it_prints_and_saves_what_the_library_computes(capsys, trained):
    words = ("--attack", "pgd-l2", "--epsilon", "1.0", "--steps", "6", "--step-size", "0.5")
    code, out, err = call(capsys, trained, *words)
    assert code == 0, err
    run = Run.load(trained)
    options = {"epsilon": [0.0, 1.0], "steps": 6, "step_size": 0.5}
    expected = robust_accuracy(run.model(), run.dataset("test"), attack="pgd-l2", progress=False, **options)
    (found,) = saved(out)
    assert np.array_equal(found.broken, expected.broken) and found.settings == expected.settings
    shares = re.findall(r"^pgd-l2 +(unchanged|within 1) +([\d.]+) % right", out, flags=re.MULTILINE)
    assert [float(share) for _, share in shares] == [round(100 * share, 2) for share in expected.accuracy]
    page = Path(re.search(r"^picture +(\S+)$", out, flags=re.MULTILINE)[1])
    assert page.parent == Path(trained) / "robustness" and "Accuracy under attack" in page.read_text()


def test_several_attacks_and_what_they_leave_together(capsys, trained):
    words = ("--attack", "fgsm", "--attack", "bim", "--attack", "fgm", "--epsilon", "16/255", "--steps", "3")
    code, out, err = call(capsys, trained, *words, "--limit", "30")
    assert code == 0, err
    fgsm, bim, fgm = saved(out)
    assert fgsm.epsilons[1] == fgm.epsilons[1] == 16 / 255 and bim.settings["steps"] == 3 and fgsm.examples == 30
    both = 100 * (1 - (fgsm.broken | bim.broken)[1].mean())
    (told,) = re.findall(r"^all 2, linf +within 16/255 +([\d.]+) % right", out, flags=re.MULTILINE)
    assert float(told) == round(both, 2) and "all 2, l2" not in out


def test_the_help_says_what_each_attack_is_and_where_it_comes_from(capsys):
    assert main(["robustness", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, attack in ATTACKS.items():
        (line,) = [line for line in lines if line.startswith(f"{name}: ")]
        assert attack.definition in line and attack.reference in line
    assert any("--attack STR" in line for line in lines)  # as without the list
    assert any("95 % intervals, and a picture." in line for line in lines)


def test_the_published_radii_are_the_default(capsys, trained):
    code, out, _ = call(capsys, trained, "--attack", "fgm", "--attack", "noise-linf", "--limit", "10", "--starts", "2")
    assert code == 0
    one, other = saved(out)
    assert one.epsilons.tolist() == [0.0, 0.1, 0.5, 1.0, 1.5]
    assert (255 * other.epsilons).round(9).tolist() == [0, 1, 2, 5, 8] and other.settings["starts"] == 2


def test_signals_have_their_own_unit(capsys, tmp_path):
    config = RunConfig(dataset="mnist1d", model="mlp", limit=40, test_limit=20, epochs=1, batch_size=20)
    folder = str(train(config, root=tmp_path, progress=False).path)
    code, out, err = call(capsys, folder, "--attack", "fgsm", "fgm")
    assert code == 0, err
    box, ball = saved(out)
    assert not box.images and not ball.images and box.epsilons.tolist() == [0.0, 0.01, 0.02, 0.05, 0.1]
    assert re.findall(r"^fgsm +within (\S+) ", out, flags=re.MULTILINE) == ["0.01", "0.02", "0.05", "0.1"]
    page = Path(re.search(r"^picture +(\S+)$", out, flags=re.MULTILINE)[1]).read_text()
    assert page.count("in units of the inputs") == 2 and "pixels from 0 to 1" not in page


def test_other_radii_go_to_another_file(capsys, trained):
    words = ("--attack", "fgm", "--limit", "10")
    paths = [re.findall(r"^saved +(\S+)$", call(capsys, trained, *words, *radii)[1], flags=re.MULTILINE) for radii in (
        (), ("--epsilon", "0.1"), ("--epsilon", "0.1", "0.5", "1", "1.5"))]  # fmt: skip
    assert paths[0] == paths[2] != paths[1]  # the radii that were used, however they were asked for


def test_other_settings_make_another_page(capsys, trained):
    def pages(*words: str) -> list[str]:
        _, out, _ = call(capsys, trained, "--attack", "pgd-l2", "--epsilon", "1", "--limit", "10", *words)
        return re.findall(r"^picture +(\S+)$", out, flags=re.MULTILINE)

    first, again, other = pages("--steps", "1"), pages("--steps", "1"), pages("--steps", "3")
    assert first == again != other and Path(first[0]).is_file()


def test_the_network_is_attacked_where_the_run_was_trained(trained, monkeypatch):
    setting, seen = Run.load(trained).config.device, []

    class ReachedError(Exception):
        pass

    def attacked(model, data, **_):
        seen.append({parameter.device.type for parameter in model.parameters()})
        raise ReachedError

    devices = {setting: torch.device("meta")}  # a device of its own, also where there is no CUDA
    monkeypatch.setattr("landscape.training.materials.resolve_device", devices.__getitem__)
    monkeypatch.setattr("landscape.robustness.robust_accuracy", attacked)
    with pytest.raises(ReachedError):
        RobustnessCommand(run_folder=Path(trained), quiet=True).run()
    assert seen == [{"meta"}]


def test_what_an_attack_does_not_read_is_refused_where_it_is_the_only_one(capsys, trained):
    code, _, err = call(capsys, trained, "--attack", "fgm", "--steps", "3")
    assert code == 2 and "fgm does not read it" in err


@pytest.mark.parametrize("limit", ["0", "61", "-5"])
def test_a_limit_that_cannot_be(capsys, trained, limit):
    code, _, err = call(capsys, trained, "--limit", limit)
    assert code == 2 and f"Expected: a whole number from 1 to 60. Got: {limit}." in err


def test_ctrl_c_saves_nothing_and_says_so(capsys, trained, monkeypatch):
    real, calls = accuracy_module._batch, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(accuracy_module, "_batch", interrupted)
    before = sorted((Path(trained) / "robustness").glob("*.npz"))
    code, out, _ = call(capsys, trained, "--attack", "fgm", "--epsilon", "0.77", "--split", "train")
    assert code == 130 and "nothing: it was interrupted" in out
    assert sorted((Path(trained) / "robustness").glob("*.npz")) == before


def test_an_unfinished_run_is_called_so(capsys, tmp_path):
    config = RunConfig(limit=60, test_limit=20, model="mlp", model_options={"hidden": [4]}, epochs=2, batch_size=20)
    with pytest.raises(KeyboardInterrupt):
        train(config, root=tmp_path, progress=False, stop=lambda: True)
    folder = str(tmp_path / config.folder_name)
    code, out, err = call(capsys, folder, "--attack", "fgm", "--epsilon", "0.1")
    assert code == 0, err
    assert "note           the run is interrupted" in out
    page = Path(re.search(r"^picture +(\S+)$", out, flags=re.MULTILINE)[1])
    assert "sgd, interrupted: test split" in page.read_text()


def test_a_finished_one_is_not(capsys, trained):
    _, out, _ = call(capsys, trained, "--attack", "fgm", "--epsilon", "0.1", "--limit", "20")
    assert "note" not in out


def test_a_diverged_run_is_called_so(capsys, tmp_path):
    settings = {"limit": 30, "test_limit": 20, "model": "mlp", "epochs": 1, "batch_size": 30, "lr": 1e20}
    run = train(RunConfig(**settings, schedule="constant"), root=tmp_path, progress=False)
    code, out, _ = call(capsys, str(run.path), "--attack", "noise-linf", "--epsilon", "0.1")
    assert code == 0 and "note           Training diverged by step 1 (epoch 1): the network's outputs" in out


def test_what_cannot_be_saved_is_told_before_the_attack_and_lost_by_none(capsys, tmp_path, trained, monkeypatch):
    copy = tmp_path / "run"
    shutil.copytree(trained, copy, ignore=shutil.ignore_patterns("robustness"))
    (copy / "robustness").write_text("in the way")
    code, out, err = call(capsys, str(copy), "--attack", "fgm")
    assert code == 2 and out == "" and "Could not write" in err

    def full(self, path):
        raise StorageError("The disk is full.")

    monkeypatch.setattr(RobustAccuracy, "save", full)
    code, out, err = call(capsys, trained, "--attack", "fgm", "--epsilon", "0.1", "--limit", "10")
    assert code == 2 and "disk is full" in err and re.search(r"^fgm +within 0\.1 +[\d.]+ % right", out, re.MULTILINE)
