"""Training: the same bits every time, however often it was stopped; honest numbers; clear failures."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from landscape.errors import (
    ConfigError,
    CorruptFileError,
    DataError,
    LockedError,
    MismatchError,
    ModelError,
    NonFiniteError,
    StorageError,
)
from landscape.storage import FolderLock
from landscape.training import Run, RunConfig, train

TINY = {"dataset": "digits", "limit": 100, "test_limit": 50, "model": "mlp", "model_options": {"hidden": [8]}}
METHODS = {
    "sgd": {},
    "adam": {"lr": 1e-3},
    "sam": {"rho": 0.1},
    "asam": {"rho": 1.0},
    "amp": {"epsilon": 0.1, "inner_iter": 2},
    "lpfsgd": {"std": 0.05, "M": 4, "inc": 15.0},
    "gsam": {"rho": 0.1, "optimizer_options": {"alpha": 0.3}},
    "gnp": {"rho": 0.1, "when": "late:0.5"},
    "fsam": {"rho": 0.1, "base": "adamw", "lr": 1e-3},
    "vasso": {"rho": 0.1, "when": "bernoulli:0.5"},
    "looksam": {"rho": 0.1, "optimizer_options": {"k": 3}},
    "smoothout": {"optimizer_options": {"a": 0.1, "adapt": "tensor"}},
    "nso": {"std": 0.05},
    "entropysgd": {"lr": 0.5, "optimizer_options": {"L": 3}},
}


def tiny(**changes) -> RunConfig:
    return RunConfig(**{**TINY, "epochs": 3, "batch_size": 32, **changes})


def run(config, root, **options) -> Run:
    return train(config, root=root, progress=False, **options)


def stop_after(steps: int):
    calls = [0]

    def stop() -> bool:
        calls[0] += 1
        return calls[0] == steps

    return stop


def state(run: Run):
    return run.weights_checksum(), [
        {k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in run.metrics()
    ]


RUNS = [(method, "float32") for method in METHODS] + [(method, "bfloat16") for method in ("sgd", "sam", "lpfsgd")]


@pytest.mark.parametrize(("method", "precision"), RUNS)
def test_resume_is_bit_identical_wherever_it_was_cut(tmp_path, method, precision):
    config = tiny(optimizer=method, precision=precision, crop_padding=1, cutout=2, **METHODS[method])
    whole = run(config, tmp_path / "whole")
    for steps in (1, 4, 2):  # in the middle of an epoch, at its end, and again
        with pytest.raises(KeyboardInterrupt):
            run(config, tmp_path / "cut", stop=stop_after(steps))
    assert Run.load(tmp_path / "cut" / config.folder_name).status == "interrupted"
    resumed = run(config, tmp_path / "cut")
    assert state(resumed) == state(whole)
    assert resumed.status == "finished"


@pytest.mark.parametrize(
    ("optimizer", "lost"), [("lpfsgd", "state"), ("lpfsgd", "perturbation_step"), ("fsam", "method")]
)
def test_a_lost_part_of_the_state_would_be_seen(tmp_path, optimizer, lost, monkeypatch):
    config = tiny(optimizer=optimizer, std=0.05) if optimizer == "lpfsgd" else tiny(optimizer=optimizer, rho=0.5)
    whole = run(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "cut", stop=stop_after(5))
    from landscape.optim.linked import LinkedOptimizer

    original = LinkedOptimizer.load_state_dict

    def forgetful(self, saved):
        if lost == "perturbation_step":
            saved = {**saved, "param_groups": [{**group, lost: 0} for group in saved["param_groups"]]}
        else:
            saved = {**saved, lost: {}}
        original(self, saved)

    monkeypatch.setattr(LinkedOptimizer, "load_state_dict", forgetful)
    assert run(config, tmp_path / "cut").weights_checksum() != whole.weights_checksum()


def test_seeds_decide_and_optimizers_share_their_start(tmp_path):
    first = run(tiny(), tmp_path / "a")
    assert run(tiny(), tmp_path / "b").weights_checksum() == first.weights_checksum()
    assert run(tiny(seed=1), tmp_path / "a").weights_checksum() != first.weights_checksum()
    other = run(tiny(optimizer="sam", rho=0.1), tmp_path / "a")
    for a, b in zip(first.model(0).parameters(), other.model(0).parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_callers_generators_and_threads_come_back(tmp_path):
    torch.manual_seed(123)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    handler = signal.getsignal(signal.SIGINT)
    run(tiny(epochs=1), tmp_path)
    with pytest.raises(NonFiniteError):
        run(tiny(epochs=1, lr=1e30), tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    assert signal.getsignal(signal.SIGINT) is handler


def test_metrics_are_those_of_the_model(tmp_path):
    found = run(tiny(), tmp_path)
    row = found.metrics()[-1]
    test = found.dataset("test")
    logits = found.model()(test.normalized())
    assert row["test_nll"] == pytest.approx(F.cross_entropy(logits.double(), test.targets).item(), rel=1e-6)
    assert row["test_error"] == pytest.approx((logits.argmax(1) != test.targets).double().mean().item(), abs=1e-12)
    assert [r["epoch"] for r in found.metrics()] == [1, 2, 3]
    assert [r["step"] for r in found.metrics()] == [4, 8, 12]
    evaluation = found.objective("test").evaluate()
    assert evaluation.loss == pytest.approx(row["test_nll"], rel=1e-6)
    assert evaluation.accuracy == pytest.approx(1 - row["test_error"], abs=1e-12)


def test_the_training_loss_is_that_of_the_clean_weights(tmp_path):
    """One step of one batch: its logged loss is the initial model's, for the methods that begin at clean weights."""
    for method in ("sgd", "sam", "amp"):
        options = {} if method == "sgd" else {"rho": 5.0} if method == "sam" else {"epsilon": 5.0}
        found = run(tiny(optimizer=method, epochs=1, batch_size=100, **options), tmp_path)
        data = found.dataset("train")
        expected = F.cross_entropy(found.model(0)(data.normalized()), data.targets).item()
        assert found.metrics()[0]["train_loss"] == pytest.approx(expected, rel=1e-5)


def test_a_finished_run_is_returned_and_a_new_one_keeps_the_old(tmp_path):
    config = tiny(epochs=1)
    first = run(config, tmp_path)
    stamp = (first.path / "status.json").stat().st_mtime_ns
    assert run(config, tmp_path).path == first.path
    assert (first.path / "status.json").stat().st_mtime_ns == stamp
    again = run(config, tmp_path, resume="never")
    assert again.weights_checksum() == first.weights_checksum()
    assert (tmp_path / f"{config.folder_name}.before-1" / "config.json").is_file()
    with pytest.raises(StorageError, match="no run"):
        run(tiny(seed=9), tmp_path, resume="must")
    with pytest.raises(ConfigError, match="resume is out of range"):
        run(config, tmp_path, resume="maybe")


def test_checkpoints_kept_are_the_first_the_last_two_and_the_asked_for(tmp_path):
    found = run(tiny(epochs=6, keep_every=2), tmp_path)
    assert [step for step, _ in found.checkpoints()] == [0, 8, 16, 20, 24]
    with pytest.raises(StorageError, match="no checkpoint of step 5"):
        found.model(5)


def test_a_damaged_newest_checkpoint_costs_one_epoch_only(tmp_path):
    config = tiny()
    whole = run(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path / "cut", stop=stop_after(10))
    _, path = Run.load(tmp_path / "cut" / config.folder_name).checkpoints()[-1]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.warns(UserWarning, match="step_00000010"):
        resumed = run(config, tmp_path / "cut")
    assert state(resumed) == state(whole)


@pytest.mark.parametrize("damage", ["deleted", "truncated"])
def test_a_finished_run_without_its_last_weights_is_not_finished(tmp_path, damage):
    config = tiny()
    whole = state(run(config, tmp_path))
    found = Run.load(tmp_path / config.folder_name)
    _, path = found.checkpoints()[-1]
    path.unlink() if damage == "deleted" else path.write_bytes(path.read_bytes()[:200])
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with pytest.raises(CorruptFileError, match=r"of step 12, is damaged or missing"):
            found.model()
        found.model(8)  # named, it is what was asked for
        again = run(config, tmp_path)
    assert any("training goes on from step 8" in str(warning.message) for warning in seen)
    assert state(again) == whole
    assert again.model() is not None


def test_an_interrupted_run_without_its_last_weights_warns(tmp_path):
    config = tiny()
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path, stop=stop_after(6))
    found = Run.load(tmp_path / config.folder_name)
    found.checkpoints()[-1][1].unlink()
    with pytest.warns(UserWarning, match="of step 6, is damaged or missing; that of step 4 is used"):
        found.model()


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    mine, other = run(tiny(), tmp_path), run(tiny(seed=5, epochs=4), tmp_path)
    _, path = other.checkpoints()[-1]
    copied = mine.path / "checkpoints" / path.name
    copied.write_bytes(path.read_bytes())
    for use in (mine.model, lambda: mine.model(16), lambda: run(tiny(), tmp_path)):
        with pytest.raises(MismatchError, match="step_00000016.*belongs to another run"):
            use()
    copied.rename(copied.with_name("step_00000013.safetensors"))
    with pytest.raises(CorruptFileError, match="another step's name"):
        mine.model(13)


def test_a_run_does_not_go_on_with_other_data(tmp_path, monkeypatch):
    module = sys.modules["landscape.training.train"]
    config = tiny()
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path, stop=stop_after(6))
    folder = tmp_path / config.folder_name
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "lock"}
    original = module.load_run_dataset

    def changed(config, split, **options):
        found = original(config, split, **options)
        return found if split == "test" else dataclasses.replace(found, targets=found.targets.roll(1))

    monkeypatch.setattr(module, "load_run_dataset", changed)
    with pytest.raises(MismatchError, match="train data of digits has changed since the run .* began"):
        run(config, tmp_path)
    assert {path: path.read_bytes() for path in before} == before
    run(config, tmp_path, resume="never")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("status.json", "[]"),
        ("status.json", "{}"),
        ("status.json", '{"state": "finished", "config_hash": 5}'),
        ("environment.json", "[]"),
        ("environment.json", '{"data": {}}'),
        ("environment.json", '{"data": {"classes": 0, "input_shape": []}, "data_sha256": {}}'),
        ("metrics.jsonl", ""),
        ("metrics.jsonl", None),
        ("metrics.jsonl", '{"epoch": 1}\n'),
    ],
)
def test_a_run_whose_files_were_edited(tmp_path, name, text):
    found = run(tiny(epochs=1), tmp_path)
    (found.path / name).unlink() if text is None else (found.path / name).write_text(text)
    with pytest.raises(CorruptFileError, match=name):
        again = Run.load(found.path)
        again.model()
        again.metrics()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_last_test_is_not_lost(tmp_path, monkeypatch, number):
    loop = sys.modules["landscape.training.loop"]
    original = loop.evaluate_classifier

    def interrupted(*arguments, **options):
        os.kill(os.getpid(), number)
        return original(*arguments, **options)

    config = tiny(epochs=1)
    monkeypatch.setattr(loop, "evaluate_classifier", interrupted)
    with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit):
        run(config, tmp_path)
    monkeypatch.undo()
    assert Run.load(tmp_path / config.folder_name).status == "interrupted"
    assert state(run(config, tmp_path)) == state(run(config, tmp_path / "whole"))


@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
def test_the_callers_default_dtype_makes_no_difference(tmp_path, precision):
    config = tiny(epochs=1, precision=precision)
    expected = state(run(config, tmp_path / "a"))
    torch.set_default_dtype(torch.float64)
    try:
        found = run(config, tmp_path / "b")
        assert torch.get_default_dtype() == torch.float64
        weight = next(found.model().parameters())
    finally:
        torch.set_default_dtype(torch.float32)
    assert weight.dtype == (torch.float64 if precision == "float64" else torch.float32)
    assert state(found) == expected


def test_a_loss_that_explodes_stops_the_run_and_saves_no_nan(tmp_path):
    config = tiny(lr=1e30)
    with pytest.raises(NonFiniteError, match=r"NaN or infinite.*learning rate.*last good checkpoint"):
        run(config, tmp_path)
    found = Run.load(tmp_path / config.folder_name)
    assert found.status == "failed"
    for step, _ in found.checkpoints():
        assert all(torch.isfinite(t).all() for t in found.checkpoint(step).model.values())


def test_wrong_settings_leave_no_folder(tmp_path):
    for changes, error in (
        ({"dataset": "digit"}, (ConfigError, DataError)),
        ({"model": "smalcnn"}, (ConfigError, ModelError)),
        ({"model": "resnet18", "dataset": "mnist1d", "model_options": {}}, ModelError),
        ({"model_options": {"hiden": [8]}}, ConfigError),
        ({"device": "cuda:99"}, ConfigError),
    ):
        with pytest.raises(error):
            run(tiny(**changes), tmp_path / "runs")
    assert not (tmp_path / "runs").exists() or list((tmp_path / "runs").iterdir()) == []


def test_two_processes_cannot_train_one_run(tmp_path):
    config = tiny()
    with FolderLock(tmp_path / config.folder_name), pytest.raises(LockedError, match="Another process"):
        run(config, tmp_path)


def test_changed_settings_are_noticed(tmp_path):
    found = run(tiny(epochs=1), tmp_path)
    settings = json.loads((found.path / "config.json").read_text())
    (found.path / "config.json").write_text(json.dumps({**settings, "lr": 0.07}))
    with pytest.raises(MismatchError, match="was changed"):
        Run.load(found.path)
    with pytest.raises(StorageError, match="holds no run"):
        Run.load(tmp_path)


def test_an_objective_of_a_run_is_a_fixed_subset(tmp_path):
    found = run(tiny(epochs=1, label_noise=0.5), tmp_path)
    first, second = found.objective(limit=30), found.objective(limit=30)
    assert first.examples == 30
    assert first.evaluate() == second.evaluate()
    assert torch.equal(first.targets, second.targets)
    with pytest.raises(ConfigError, match="limit is out of range"):
        found.objective(limit=1000)


COMMAND = [
    sys.executable,
    "-m",
    "landscape",
    "train",
    "--dataset",
    "digits",
    "--model",
    "smallcnn",
    "--optimizer",
    "sam",
]


WORDS = [*COMMAND, "--rho", "0.05", "--seed", "1", "--limit", "200", "--epochs", "12", "--quiet"]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """What the command prints when nothing stops it."""
    root = tmp_path_factory.mktemp("whole")
    return subprocess.run([*WORDS, "--root", str(root)], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopped_by_a_signal_and_started_again(tmp_path, how, uninterrupted):
    """The command itself, stopped in three ways; fewer examples and epochs than its defaults, to stay quick."""
    words = [*WORDS, "--root", str(tmp_path)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(list(tmp_path.glob("*/checkpoints/step_*"))) < 2:
        time.sleep(0.01)
    process.send_signal(how)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[how], errors
    if how == signal.SIGINT:
        assert b"interrupted" in errors
    again = subprocess.run(words, capture_output=True, text=True, check=True)
    line = [text for text in uninterrupted.splitlines() if "sha256" in text]
    assert line
    assert line[0] in again.stdout.splitlines()
    logs = [path.read_text() for path in tmp_path.glob("*/log.txt")]
    assert "resumed at step" in logs[0]


IMPOSSIBLE = {
    "too few classes": ({"model_options": {"classes": 3}}, ModelError, r"shape \(B, 10\).*shape \(B, 3\)"),
    "another shape": ({"model_options": {"input_shape": [1, 4, 4]}}, ModelError, "cannot take the data"),
    "too large": ({"model_options": {"hidden": [99999999999]}}, ModelError, "cannot be built"),
    "a batch of one": ({"model_options": {"batch_norm": True}, "batch_size": 1}, ConfigError, "single example"),
    "one example": ({"model_options": {"batch_norm": True}, "limit": 1}, ConfigError, "Raise batch_size or limit"),
    "parts of one": ({"model_options": {"batch_norm": True}, "optimizer": "lpfsgd", "M": 31}, ConfigError, "M 31"),
    "a wide margin": ({"crop_padding": 9999999}, ConfigError, "crop_padding is larger than the images"),
    "a large square": ({"cutout": 9}, ConfigError, "cutout is larger than the images.*at most 8"),
    "no images": ({"dataset": "mnist1d", "autoaugment": "svhn"}, ConfigError, "AutoAugment does not take the inputs"),
    "no such device": ({"device": "cuda:99999999999999999999"}, ConfigError, "device is not there.*landscape doctor"),
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_what_cannot_be_trained_leaves_no_folder(tmp_path, case):
    changes, error, message = IMPOSSIBLE[case]
    with pytest.raises(error, match=message):
        run(tiny(**changes), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 99999999999999999999},
        {"crop_padding": 99999999999},
        {"name": "x" * 300},
        {"lr": 10**400},
        {"lr": 1e39},
        {"weight_decay": 1e39},
        {"lr": 1e20, "optimizer": "adamw", "weight_decay": 1e20},
        {"schedule": "plateau", "gamma": 1e39},
        {"optimizer": "sam", "rho": 1e300},
        {"optimizer": "amp", "epsilon": 1e300},
        {"optimizer": "amp", "inner_lr": 1e300},
        {"optimizer": "amp", "inner_iter": 10**12},
        {"optimizer": "lpfsgd", "std": 1e300},
        {"optimizer": "lpfsgd", "inc": 1e300},
        {"optimizer": "lpfsgd", "M": 10**12},
        {"optimizer_options": {"alpha": 1e300}, "optimizer": "gsam"},
        {"optimizer_options": {"sigma": float("nan")}, "optimizer": "fsam"},
        {"optimizer_options": {"pairs": 10**12}, "optimizer": "nso"},
        {"random_perturbation": 1e300},
        {"image_size": 100000},
        {"epochs": 10**12},
        {"limit": 10**10},
        {"optimizer": "adam", "nesterov": True},
        {"optimizer": "sam", "base": "adamw", "nesterov": True},
        {"milestones": (1, 2)},
        {"image_size": 0},
        {"device": "cuda:²", "epochs": 0},
    ],
)
def test_settings_out_of_range_or_unread_are_refused(changes):
    inner = [*changes.get("optimizer_options", {})]
    with pytest.raises(ConfigError, match="|".join([next(iter(changes)), [*changes][-1], *inner])):
        tiny(**changes)


def test_numbers_of_numpy_are_the_same_settings():
    given = tiny(
        seed=np.int64(3), lr=np.float32(0.5), epochs=np.int32(2), momentum=np.float64(0.5), flip=np.bool_(True)
    )
    assert given == tiny(seed=3, lr=0.5, epochs=2, momentum=0.5, flip=True)
    assert given.hash == tiny(seed=3, lr=0.5, epochs=2, momentum=0.5, flip=True).hash
    for wrong in ({"epochs": np.float64(2)}, {"flip": np.int64(1)}, {"seed": np.bool_(True)}):
        with pytest.raises(ConfigError, match="wrong type"):
            tiny(**wrong)


def test_a_path_that_is_no_text_is_refused(tmp_path):
    with pytest.raises(StorageError, match="not valid UTF-8"):
        run(tiny(), tmp_path / os.fsdecode(b"r\xff"))
    assert list(tmp_path.iterdir()) == []


def test_images_of_several_sizes_are_resized_where_asked(tmp_path):
    for split in ("train", "test"):
        for name, side in (("a", 6), ("b", 9)):
            (tmp_path / "d" / split / name).mkdir(parents=True)
            for k in range(3):
                Image.new("RGB", (side, side), (40 * k, 0, 0)).save(tmp_path / "d" / split / name / f"{k}.png")
    config = tiny(dataset=f"folder:{tmp_path / 'd'}", limit=None, test_limit=None, epochs=1)
    with pytest.raises(DataError, match="--image-size 32"):
        run(config, tmp_path / "runs", data_root=tmp_path)
    found = run(config.replace(image_size=8), tmp_path / "runs", data_root=tmp_path)
    assert found.dataset().input_shape == (3, 8, 8)
