"""The command: what it prints, where it writes, and one clear error with exit code 2 for wrong input."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import landscape
from landscape.__main__ import main as start
from landscape.cli import _plain_warnings, main
from landscape.cli_analysis import _print_layers
from landscape.curvature import Eigenpairs, Estimate, Hessian, InterruptedWarning, SpectralDensity
from landscape.errors import StorageError
from landscape.parameters import Layout
from landscape.training import Run, RunConfig

SMALL = [
    "--limit",
    "100",
    "--test-limit",
    "50",
    "--model",
    "mlp",
    "--model-option",
    "hidden=[8]",
    "--epochs",
    "2",
    "--quiet",
]


def call(capsys, *words: str) -> tuple[int, str, str]:
    code = main(words)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> str:
    root = tmp_path_factory.mktemp("runs")
    assert main(["train", "--optimizer", "sam", "--rho", "0.1", *SMALL, "--root", str(root)]) == 0
    (folder,) = root.iterdir()
    return str(folder)


def test_train_says_where_and_how_it_ended(capsys, tmp_path):
    words = ["train", "--optimizer", "amp", "--epsilon", "0.1", *SMALL, "--root", str(tmp_path)]
    code, out, _ = call(capsys, *words)
    assert code == 0
    (folder,) = tmp_path.iterdir()
    run = Run.load(folder)
    assert (run.config.epsilon, run.config.model_options) == (0.1, {"hidden": [8]})
    assert f"weights sha256 {run.weights_checksum()}" in out
    assert f"test error     {100 * run.metrics()[-1]['test_error']:.2f} %" in out


def test_the_numbers_say_what_they_are(capsys, tmp_path):
    code, out, err = call(capsys, "train", *SMALL, "--root", str(tmp_path))
    assert (code, err) == (0, "")
    (folder,) = tmp_path.iterdir()
    last = Run.load(folder).metrics()[-1]
    assert f"test ECE       {100 * last['test_ece']:.2f} %" in out
    assert "nats (mean over the last epoch's steps, not of the final weights)" in out


def test_mirrored_digits_are_warned_of_in_one_line(capsys, tmp_path):
    code, _, err = call(capsys, "train", *SMALL, "--flip", "True", "--root", str(tmp_path))
    assert code == 0
    assert err == "warning: a mirrored image of digits is another class or none; --flip does harm here\n"


def test_version(capsys):
    assert start(["--version"]) == 0
    assert capsys.readouterr().out == f"landscape {landscape.__version__}\n"


def test_settings_from_a_file_are_overridden_by_flags(capsys, tmp_path):
    settings = {
        "optimizer": "asam",
        "rho": 2.0,
        "epochs": 1,
        "limit": 60,
        "model": "mlp",
        "model_options": {"hidden": [4]},
    }
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    words = [
        "train",
        "--config",
        str(tmp_path / "settings.json"),
        "--rho",
        "3",
        "--quiet",
        "--root",
        str(tmp_path / "r"),
    ]
    code, _, err = call(capsys, *words)
    assert code == 0, err
    (folder,) = (tmp_path / "r").iterdir()
    assert Run.load(folder).config == RunConfig.from_dict({**settings, "rho": 3.0})


def test_surface_and_curvature_of_a_run(capsys, trained, tmp_path):
    page = tmp_path / "page.html"
    code, out, err = call(capsys, "surface", trained, "--points", "5", "--limit", "50", "--quiet", "--html", str(page))
    assert code == 0, err
    assert "Loss surface of digits, mlp, sam: train split, limit 50 examples" in page.read_text()
    loss = Run.load(trained).objective("train", limit=50).evaluate().loss
    assert f"center loss    {loss:.6f} nats" in out
    words = ["--top", "2", "--probes", "10", "--density-probes", "2", "--steps", "8", "--quiet"]
    code, out, err = call(capsys, "curvature", trained, *words)
    assert code == 0, err
    said = {line.split()[0]: line.split()[-1] for line in out.splitlines()}
    folder = Path(said["saved"])
    pairs, trace = Eigenpairs.load(folder / "eigenpairs.npz"), Estimate.load(folder / "trace.npz")
    assert SpectralDensity.load(said["density"]).nodes.shape == (2, 8)
    objective = Run.load(trained).objective("train")
    vector = pairs.vectors[:, 0]
    # the residual is what was computed with another order of sums in float32
    assert (objective.hvp(vector) - pairs.values[0] * vector).norm() == pytest.approx(pairs.residuals[0], abs=1e-4)
    assert f"eigenvalue 1   {pairs.values[0]:.6g} loss/weight^2 (absolute residual {pairs.residuals[0]:.1e}" in out
    assert f"trace          {trace} loss/weight^2 (± one standard error, 10 probes)" in out
    assert Path(said["picture"]) == folder / "density.html"
    picture = Path(said["picture"]).read_text()
    assert "Hessian spectrum of digits, mlp, sam: train split, all 100 examples" in picture
    assert json.loads((folder / "provenance.json").read_text())["settings"]["probes"] == 10
    code, out, err = call(capsys, "curvature", trained, *words, "--density-probes", "0")
    assert (code, "picture" in out) == (0, False)


@pytest.mark.parametrize(("probes", "page"), [("0", "layers.html"), ("2", "density.html")])
def test_layers_are_drawn(capsys, trained, probes, page):
    words = ["--top", "1", "--probes", "4", "--density-probes", probes, "--steps", "8", "--limit", "50", "--quiet"]
    code, out, err = call(capsys, "curvature", trained, *words, "--layers")
    assert code == 0, err
    (picture,) = [Path(line.split()[-1]) for line in out.splitlines() if line.startswith("picture")]
    assert picture.name == page
    text = picture.read_text()
    assert "Where in the network is the curvature?" in text and "trace per weight" in text
    assert ("Hessian spectrum of" in text) == (probes != "0")


def test_layers_are_printed_with_what_they_are(capsys):
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Sequential(torch.nn.BatchNorm2d(2)))
    model.scale = torch.nn.Parameter(torch.ones(1))
    one = np.ones(1)
    pairs = Eigenpairs(values=2 * one, vectors=torch.ones(1, 1), residuals=0 * one, matvecs=1, converged=one > 0)
    names = Layout.of(model).layers
    _print_layers({"top": dict.fromkeys(names, pairs), "trace": dict.fromkeys(names, Estimate(3.0, 0.5, 4))}, model)
    lines = [line.partition("eigenvalue 2")[0] for line in capsys.readouterr().out.splitlines()]
    assert sorted(lines) == [
        "layer 0 (Conv2d)         ",
        "layer 1.0 (BatchNorm2d)  ",
        "layer scale (Parameter)  ",
    ]


@pytest.mark.parametrize(("points", "better"), [("10", "11"), ("0", "21"), ("-3", "21")])
def test_a_surface_without_a_center_is_refused(capsys, trained, points, better):
    code, out, err = call(capsys, "surface", trained, "--points", points, "--quiet")
    assert (code, out) == (2, "")
    assert "--points is out of range. Expected: an odd number" in err
    assert f"Use --points {better}." in err


@pytest.mark.parametrize(
    ("flag", "value", "fix"),
    [
        ("--top", "0", "Use --top 1 or more."),
        ("--top", "1000000", "at most 610, the number of weights"),
        ("--probes", "0", "Use --probes 1 or more."),
        ("--density-probes", "-1", "--density-probes is out of range. Expected: at least 0"),
        ("--steps", "0", "Use --steps 1 or more."),
    ],
)
def test_curvature_names_the_flag_that_is_wrong(capsys, trained, flag, value, fix):
    code, out, err = call(capsys, "curvature", trained, flag, value, "--quiet")
    assert (code, out) == (2, "")
    assert f"error: {flag} is out of range." in err
    assert fix in err


def test_data_and_help(capsys):
    code, out, _ = call(capsys, "data")
    assert code == 0
    for name in ("digits", "mnist1d", "cifar10", "gtsrb", "folder:PATH"):
        assert name in out
    code, out, _ = call(capsys, "data", "check", "digits")
    assert code == 0
    assert "1000 examples of 1x8x8, 10 classes" in out
    code, out, _ = call(capsys, "--help")
    assert code == 0
    for command in ("train", "surface", "curvature", "sharpness", "robustness", "notebook", "data", "doctor"):
        assert command in out


@pytest.fixture
def signs(tmp_path) -> Path:
    """Two traffic signs of each of two classes, in the layout of the published set."""
    for split in ("Training/00000", "Training/00001", "Final_Test/Images"):
        folder = tmp_path / "data" / "gtsrb" / "GTSRB" / split
        folder.mkdir(parents=True)
        for number in range(2):
            pixels = np.full((8, 8, 3), 100 * number, np.uint8)
            Image.fromarray(pixels).save(folder / f"{number:05}.ppm")
    lines = ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
    lines += [f"{number:05}.ppm;8;8;0;0;7;7;{number}" for number in range(2)]
    (tmp_path / "data" / "gtsrb" / "GT-final_test.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "data"


def test_a_set_that_is_not_whole_is_told_and_trained_on_with_a_warning(capsys, signs, tmp_path, recwarn):
    code, out, _ = call(capsys, "data", "check", "gtsrb", "--root", str(signs))
    assert code == 1
    assert "incomplete: 4 of 26640 training images" in out
    assert "incomplete: 2 of 12630 test images" in out
    words = ["--dataset", "gtsrb", "--data-root", str(signs), "--model", "mlp", "--epochs", "1", "--batch-size", "2"]
    code, out, err = call(capsys, "train", *words, "--quiet", "--root", str(tmp_path / "runs"))
    assert code == 0
    assert "warning: gtsrb is incomplete: 4 of 26640 training images\n" in err
    assert not recwarn.list
    code, _, err = call(capsys, "train", "--dataset", "gtsrb", "--data-root", str(tmp_path), "--quiet")
    assert code == 2 and "warning" not in err  # nothing there is an error of its own


def test_doctor_looks_at_this_machine(capsys):
    code, out, _ = call(capsys, "doctor")
    assert code == 0
    assert "torch" in out


CASES = (
    "unknown dataset",
    "unknown model",
    "unknown optimizer",
    "unknown flag",
    "unknown model option",
    "negative rho",
    "rho for SGD",
    "a folder without images",
    "no such folder",
    "an unreadable image",
    "data that is not there",
    "more than there is",
    "a config that is no JSON",
)


def wrong_inputs(tmp_path):
    empty, broken = tmp_path / "empty", tmp_path / "broken"
    (empty / "train" / "a").mkdir(parents=True)
    for split in ("train", "test"):
        for name in ("a", "b"):
            (broken / split / name).mkdir(parents=True)
            Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(broken / split / name / "0.png")
    (broken / "train" / "a" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n but no more")
    return {
        "unknown dataset": (["--dataset", "digit"], "digits"),
        "unknown model": (["--model", "smalcnn"], "smallcnn"),
        "unknown optimizer": (["--optimizer", "samm"], "'sam'"),
        "unknown flag": (["--optimiser", "sam"], "--optimizer"),
        "unknown model option": (["--model-option", "hiden=[3]"], "hidden"),
        "negative rho": (["--optimizer", "sam", "--rho", "-1"], "rho"),
        "rho for SGD": (["--rho", "0.1"], "rho"),
        "a folder without images": (["--dataset", f"folder:{empty}"], "image"),
        "no such folder": (["--dataset", f"folder:{tmp_path / 'nowhere'}"], "nowhere"),
        "an unreadable image": (["--dataset", f"folder:{broken}", "--limit", "3"], "1.png"),
        "data that is not there": (["--dataset", "cifar10", "--data-root", str(tmp_path)], "landscape data download"),
        "more than there is": (["--limit", "100000"], "100000"),
        "a config that is no JSON": (["--config", str(broken / "train" / "a" / "1.png")], "1.png"),
    }


@pytest.mark.parametrize("case", CASES)
def test_wrong_input_gives_one_error_and_no_file(capsys, tmp_path, monkeypatch, case):
    words, expected = wrong_inputs(tmp_path / "input")[case]
    monkeypatch.chdir(tmp_path)
    code, _, err = call(capsys, "train", "--model", "mlp", *words, "--quiet")
    assert code == 2
    assert expected in err
    assert "Traceback" not in err
    runs = tmp_path / "runs"
    assert not runs.exists() or list(runs.iterdir()) == []


def test_a_missing_run_and_a_damaged_checkpoint(capsys, tmp_path, trained):
    code, _, err = call(capsys, "surface", str(tmp_path))
    assert code == 2
    assert "holds no run" in err
    code, _, err = call(capsys, "notebook", "no_such_notebook")
    assert code == 2
    assert "no_such_notebook" in err
    assert "00_tour" in err
    code, _, err = call(capsys, "data", "download")
    assert code == 2
    assert "needs a name" in err


def test_all_checkpoints_damaged(capsys, tmp_path):
    words = ["train", *SMALL, "--root", str(tmp_path)]
    assert main(words) == 0
    (folder,) = tmp_path.iterdir()
    for path in (folder / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:50])
    capsys.readouterr()
    with pytest.warns(UserWarning, match="cannot be read"):
        code, _, err = call(capsys, "curvature", str(folder))
    assert code == 2
    assert "No checkpoint" in err
    assert not os.path.exists(folder / "curvature")


@pytest.mark.parametrize("raised", ["ImportError('libcudart.so.13: cannot open')", "OSError('no such library')"])
def test_where_torch_is_broken_the_command_says_so_and_doctor_runs(tmp_path, raised):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(f"raise {raised}\n")
    start = [sys.executable, "-m", "landscape"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    train = subprocess.run([*start, "train"], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert (train.returncode, train.stdout) == (2, "")
    assert "error: a package cannot be imported" in train.stderr and "landscape doctor" in train.stderr
    assert "Traceback" not in train.stderr
    doctor = subprocess.run([*start, "doctor"], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert doctor.returncode == 1, doctor.stderr
    assert any("torch" in line and "error" in line for line in doctor.stdout.splitlines())


def test_curvature_prints_before_it_saves(capsys, trained, monkeypatch):
    def full(self, path):
        raise StorageError("The disk is full.")

    monkeypatch.setattr(Eigenpairs, "save", full)
    words = ["curvature", trained, "--probes", "2", "--density-probes", "0", "--top", "1", "--quiet"]
    code, out, err = call(capsys, *words)
    assert code == 2 and "The disk is full" in err
    assert "eigenvalue 1" in out and "trace" in out and "saved" not in out


@pytest.mark.parametrize(
    ("product", "whole", "part"),
    [
        (4, [], "eigenpairs"),
        (30, ["eigenpairs"], "trace"),
        (72, ["eigenpairs", "trace"], "layers"),
        (180, ["eigenpairs", "trace", "layers"], "density"),
    ],
)
def test_an_interrupted_curvature_saves_what_there_was(capsys, trained, tmp_path, monkeypatch, product, whole, part):
    folder = tmp_path / "run"
    shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("curvature"))
    real, left = Hessian.__matmul__, product

    def stopping(self, vector):
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt
        return real(self, vector)

    monkeypatch.setattr(Hessian, "__matmul__", stopping)
    words = ["--top", "1", "--probes", "40", "--density-probes", "4", "--steps", "10", "--layers", "--limit", "20"]
    with pytest.warns(InterruptedWarning):
        code, out, _ = call(capsys, "curvature", str(folder), *words, "--quiet")
    assert code == 130 and "it was interrupted" in out and left == 0  # no product came after Ctrl-C
    (saved,) = (folder / "curvature").iterdir()
    kinds = {"eigenpairs": Eigenpairs, "trace": Estimate, "density": SpectralDensity}
    names = {path.stem for path in saved.iterdir()} - {"provenance"}
    assert names == {*whole, part}
    for name in names:
        if name == "layers":
            layers = json.loads((saved / "layers.json").read_text())
            assert all(layer["complete"] for layer in layers.values()) == (name in whole)
        else:
            assert kinds[name].load(saved / f"{name}.npz").complete == (name in whole)
    assert json.loads((saved / "provenance.json").read_text())["complete"] is False
    left = 10_000
    code, out, err = call(capsys, "curvature", str(folder), *words, "--quiet")
    assert code == 0, err
    assert json.loads((saved / "provenance.json").read_text())["complete"] is True
    before = {path: path.read_bytes() for path in saved.iterdir()}
    left = product
    with pytest.warns(InterruptedWarning):
        code, out, _ = call(capsys, "curvature", str(folder), *words, "--quiet")
    assert code == 130 and "holds the same, complete" in out
    assert {path: path.read_bytes() for path in saved.iterdir()} == before


def test_a_reader_that_leaves_is_no_error():
    command = f"{sys.executable} -m landscape --help | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("141\n", "")


@pytest.mark.parametrize(("extent", "code"), [("1e300", 2), ("1e37", 0)])
def test_a_plane_beyond_all_numbers(capsys, trained, tmp_path, extent, code):
    words = ["--extent", extent, "--points", "3", "--limit", "20", "--html", str(tmp_path / "a.html"), "--quiet"]
    found, _, err = call(capsys, "surface", trained, *words)
    assert found == code, err
    assert "beyond what torch.float32 can hold" in err or not code


def test_warnings_are_sentences_without_code():
    from landscape.training.checkpoint import StorageWarning

    before = warnings.formatwarning
    with _plain_warnings():
        assert warnings.formatwarning(StorageWarning("One is lost."), StorageWarning, "a.py", 3) == (
            "warning: One is lost.\n"
        )
        assert "a.py:3: UserWarning: other" in warnings.formatwarning(UserWarning("other"), UserWarning, "a.py", 3)
    assert warnings.formatwarning is before


@pytest.mark.parametrize("plane", ["trajectory", "eigen"])
def test_planes_of_other_kinds_and_other_programs_files(capsys, trained, tmp_path, plane):
    table = tmp_path / "surface.csv"
    words = ["surface", str(trained), "--plane", plane, "--points", "3", "--limit", "40", "--quiet"]
    code, out, err = call(capsys, *words, "--export", str(table))
    assert code == 0, err
    assert f"exported       {table}" in out and len(table.read_text().splitlines()) == 10


@pytest.mark.parametrize("name", ["surface.png", "file/../..", "file/surface.csv"])
def test_what_cannot_be_exported_is_told_first(capsys, trained, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    before = sorted(Path(trained).rglob("*"))
    code, _, err = call(capsys, "surface", str(trained), "--points", "3", "--seed", "77", "--export", name)
    assert code == 2 and err.startswith("error: ")
    assert before == sorted(Path(trained).rglob("*"))


def test_losses_that_are_not_finite_are_counted(capsys, trained, tmp_path):
    words = ["surface", trained, "--points", "3", "--extent", "1e30", "--limit", "30", "--quiet"]
    code, out, _ = call(capsys, *words, "--html", str(tmp_path / "a.html"), "--export", str(tmp_path / "a.csv"))
    assert code == 0
    losses = [float(row.split(",")[2]) for row in (tmp_path / "a.csv").read_text().splitlines()[1:]]
    finite = [loss for loss in losses if math.isfinite(loss)]
    assert 0 < len(finite) < 9
    assert f"highest loss   {max(finite):.6f} nats; not finite at {9 - len(finite)} of 9 points\n" in out


@pytest.mark.parametrize(("limit", "fix"), [("-5", "all 100"), ("0", "all 100"), ("101", "all 100")])
@pytest.mark.parametrize("command", ["surface", "curvature", "sharpness"])
def test_a_limit_that_cannot_be_gets_advice_that_helps(capsys, trained, command, limit, fix):
    code, out, err = call(capsys, command, trained, "--limit", limit, "--quiet")
    assert (code, out) == (2, "")
    assert f"Expected: a whole number from 1 to 100. Got: {limit}. What to do: Leave it out for {fix} examples." in err


@pytest.mark.parametrize(
    "words", [["surface", "--html"], ["curvature", "--html"], ["sharpness", "--json"], ["robustness", "--html"]]
)
def test_where_the_result_cannot_be_written_is_told_before_the_work(capsys, trained, tmp_path, words):
    before = sorted(Path(trained).rglob("*"))
    code, out, err = call(capsys, words[0], trained, words[1], str(tmp_path), "--quiet")
    assert (code, out) == (2, "")
    assert f"Could not write {tmp_path}. Got: a folder." in err
    assert sorted(Path(trained).rglob("*")) == before
