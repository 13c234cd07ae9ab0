"""Precision, memory format, compilation: what was chosen is done, said in the log, and leaves the process as it was."""

from __future__ import annotations

import math
import sys

import pytest
import torch

from landscape.training import RunConfig, train
from landscape.training.precision import fused_base, matrix_precision, memory_format

TINY = {"dataset": "digits", "limit": 64, "test_limit": 50, "model": "mlp", "model_options": {"hidden": [8]}}


def run(root, stop=None, **changes):
    options = {**TINY, "epochs": 2, "batch_size": 32, **changes}
    return train(RunConfig(**options), root=root, progress=False, stop=stop)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "sam", "lpfsgd"])
def test_float16_trains_like_float32(tmp_path, optimizer):
    options = {"M": 2} if optimizer == "lpfsgd" else {}
    half = run(tmp_path, optimizer=optimizer, precision="float16", lr=0.01, **options)
    full = run(tmp_path, optimizer=optimizer, lr=0.01, **options)
    for a, b in zip(half.metrics(), full.metrics(), strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-2)  # float16 has 11 bits
        assert a["test_nll"] == pytest.approx(b["test_nll"], rel=1e-2)
    assert half.weights_checksum() != full.weights_checksum()
    assert all(p.dtype == torch.float32 for p in half.model().parameters())
    assert half.checkpoint().loop["scaler"]["scale"] > 0
    assert "float16 autocast over float32 weights, with a gradient scaler" in half.log_text()


def test_an_overflow_skips_the_step(tmp_path, monkeypatch):
    module = sys.modules["landscape.training.passes"]
    monkeypatch.setattr(
        module, "gradient_scaler", lambda precision, device: torch.amp.GradScaler("cpu", init_scale=2.0**40)
    )
    found = run(tmp_path, precision="float16", epochs=1)
    assert found.checkpoint().loop["scaler"]["scale"] == 2.0**38
    for a, b in zip(found.model(0).parameters(), found.model().parameters(), strict=True):
        assert torch.equal(a, b)


def test_tf32_is_on_where_asked_for_and_off_elsewhere(tmp_path, monkeypatch):
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)
    before = [backend.fp32_precision for backend in backends]
    for precision in ("tf32", "float32"):
        with pytest.raises(ZeroDivisionError), matrix_precision(precision):
            assert torch.backends.cuda.matmul.allow_tf32 == (precision == "tf32")
            assert torch.backends.cudnn.allow_tf32 == (precision == "tf32")
            raise ZeroDivisionError
        assert [backend.fp32_precision for backend in backends] == before
    rounded, plain = run(tmp_path, precision="tf32", device="cpu"), run(tmp_path, device="cpu")
    assert rounded.weights_checksum() == plain.weights_checksum()
    assert "TF32 is CUDA's alone" in rounded.log_text()


def test_channels_last_is_another_order_of_the_same_numbers(tmp_path):
    options = {"model": "smallcnn", "model_options": {}, "epochs": 1, "precision": "float64"}
    last, first = (run(tmp_path, channels_last=which, **options) for which in (True, False))
    for name, tensor in last.checkpoint().model.items():
        torch.testing.assert_close(tensor, first.checkpoint().model[name], rtol=1e-9, atol=1e-11)
    assert any(
        tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()
        for tensor in last.checkpoint().model.values()
    )
    assert (
        "; channels last (channels_last True); base optimizer not fused (fused auto); not compiled" in last.log_text()
    )
    assert "; channels first (channels_last False)" in first.log_text()
    assert memory_format(RunConfig(), (3, 8, 8)) == torch.channels_last
    for which in (True, "auto"):
        assert memory_format(RunConfig(channels_last=which), (1, 40)) == torch.contiguous_format


def test_what_cannot_be_compiled_is_trained_all_the_same(tmp_path, monkeypatch):
    plain = run(tmp_path / "plain", compile=False)

    def broken(model):
        def forward(inputs):
            raise RuntimeError("no compiler\nand more")

        return forward

    monkeypatch.setattr(torch, "compile", broken)
    found = run(tmp_path, compile=True)
    assert "not compiled, as torch.compile failed (RuntimeError: no compiler)" in found.log_text()
    assert found.weights_checksum() == plain.weights_checksum()


def test_a_compiled_forward_is_used_and_its_trial_changes_nothing(tmp_path, monkeypatch):
    options = {"model_options": {"hidden": [8], "batch_norm": True}}
    plain = run(tmp_path / "plain", **options)
    calls = []

    def compile_for_test(model):
        def forward(inputs):
            calls.append(len(inputs))
            return model(inputs)

        return forward

    monkeypatch.setattr(torch, "compile", compile_for_test)
    found = run(tmp_path, compile=True, **options)
    assert "; compiled" in found.log_text()
    assert calls == [32] * 5  # the trial and four steps
    assert found.weights_checksum() == plain.weights_checksum()


@pytest.mark.slow
def test_torch_compile_itself(tmp_path):
    compiled, plain = run(tmp_path, compile=True), run(tmp_path)
    assert "; compiled" in compiled.log_text()
    assert compiled.metrics()[-1]["train_loss"] == pytest.approx(plain.metrics()[-1]["train_loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("optimizer", "options", "warned"),
    [
        ("sam", {"rho": 1e-4}, True),
        ("sam", {"rho": 2.0}, False),
        ("amp", {"epsilon": 1e-4, "inner_iter": 3}, True),
        ("lpfsgd", {"std": 1e-6}, True),
        ("gnp", {"rho": 1e-4, "when": "late:0.5"}, True),
    ],
)
def test_a_swallowed_perturbation_is_warned_of_once(tmp_path, optimizer, options, warned):
    asked = iter([False, True])  # the run is stopped after two steps, and goes on

    def stop():
        return next(asked)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop=stop, optimizer=optimizer, precision="bfloat16", **options)
    found = run(tmp_path, optimizer=optimizer, precision="bfloat16", **options)
    lines = [line for line in found.log_text().splitlines() if "of the perturbed weights" in line]
    assert len(lines) == 1
    assert ("warning: bfloat16 swallows the perturbation" in lines[0]) == warned


def test_full_precision_has_nothing_to_warn_of(tmp_path):
    for options in ({"optimizer": "sam", "rho": 1e-6}, {"precision": "bfloat16"}):
        assert "perturb" not in run(tmp_path, **options).log_text()


@pytest.mark.parametrize(
    ("optimizer", "when"),
    [(name, None) for name in ("sam", "looksam", "vasso", "fsam", "amp", "lpfsgd", "smoothout", "entropysgd")]
    + [("sam", "late:0.5")],  # gradients of an earlier step are present at the look
)
def test_looking_at_the_perturbation_changes_no_bit(tmp_path, monkeypatch, optimizer, when):
    options = {
        "optimizer": optimizer,
        "when": when,
        "precision": "bfloat16",
        "model_options": {"hidden": [8], "batch_norm": True},
    }
    looked = run(tmp_path / "a", **options)
    monkeypatch.setattr(sys.modules["landscape.training.passes"], "fidelity_note", lambda *given: "nothing")
    assert run(tmp_path / "b", **options).weights_checksum() == looked.weights_checksum()
    assert math.isfinite(looked.metrics()[-1]["train_loss"])


@pytest.mark.parametrize("base", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("optimizer", ["sgd", "sam", "amp", "lpfsgd", "entropysgd"])
def test_a_fused_base_takes_the_same_steps(tmp_path, optimizer, base):
    name, options = (base, {}) if optimizer == "sgd" else (optimizer, {"base": base})
    options |= {"optimizer": name, "lr": 0.01, "precision": "float64"}
    fused, plain = (run(tmp_path, fused=which, **options) for which in (True, False))
    for key, tensor in fused.checkpoint().model.items():
        torch.testing.assert_close(tensor, plain.checkpoint().model[key], rtol=1e-9, atol=1e-11)
    assert "base optimizer fused (fused True)" in fused.log_text()
    assert fused.checkpoint().optimizer["param_groups"][0]["fused"] is True


def test_a_fused_base_with_a_scaler_skips_and_steps(tmp_path):
    fused, plain = (run(tmp_path, fused=which, precision="float16", lr=0.01) for which in (True, False))
    for key, tensor in fused.checkpoint().model.items():
        torch.testing.assert_close(tensor, plain.checkpoint().model[key], rtol=1e-4, atol=1e-6)


def test_fused_is_chosen_on_cuda_alone():
    auto = RunConfig()
    assert fused_base(auto, torch.device("cuda")) and not fused_base(auto, torch.device("cpu"))
    assert fused_base(auto.replace(fused=True), torch.device("cpu"))
    assert not fused_base(auto.replace(fused=False), torch.device("cuda"))
