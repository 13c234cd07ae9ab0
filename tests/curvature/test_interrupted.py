"""Ctrl-C keeps what there is: it is right, says that it is a part, and comes back from its file."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import landscape.curvature
from landscape.curvature import Eigenpairs, Estimate, Hessian, SpectralDensity
from landscape.curvature.density import spectral_density
from landscape.curvature.diagonal import diagonal_estimate
from landscape.curvature.eigenpairs import top_eigenpairs
from landscape.curvature.frobenius import frobenius_estimate
from landscape.curvature.results import DiagonalEstimate
from landscape.curvature.trace import trace_estimate
from landscape.curvature.unfinished import InterruptedWarning, held_back
from landscape.objective import Objective

VALUES = [30.0, 10.0, *np.linspace(-2, 3, 38).tolist()]
TOP = {"tol": 1e-8, "which": "LA", "max_matvecs": None, "seed": 0}
COMMON = {"seed": 0, "progress": False}


class Stopping:
    """An operator at whose n-th product Ctrl-C comes."""

    def __init__(self, operator: Any, product: int) -> None:
        self.operator, self.left = operator, product
        self.size, self.dtype, self.device = operator.size, operator.dtype, operator.device
        self.provenance = operator.provenance

    def __matmul__(self, vector: torch.Tensor) -> torch.Tensor:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return self.operator @ vector


class StoppingHessian(Hessian):
    """A Hessian that is interrupted at its 13th product."""

    products = 0

    def __matmul__(self, vector: torch.Tensor) -> torch.Tensor:
        self.products += 1
        if self.products == 13:
            raise KeyboardInterrupt
        return super().__matmul__(vector)


def test_every_question_keeps_what_there_is_and_points_at_its_caller(objective: Objective, tmp_path: Path) -> None:
    questions: dict[str, Callable[[Hessian], Any]] = {
        "12 of 30 probes: the trace": lambda h: h.trace(probes=30, progress=False),
        "12 of 30 probes: the diagonal": lambda h: h.diagonal(probes=30, progress=False),
        "12 of 30 probes: the Frobenius norm": lambda h: h.frobenius_norm(probes=30, progress=False),
        "2 of 3 probes: the density": lambda h: h.density(probes=3, steps=5, progress=False),
        "12 of at most 200 products: . of 2 eigenpairs": lambda h: h.top(2, tol=1e-12),
    }
    for said, ask in questions.items():
        with pytest.warns(InterruptedWarning, match=f"Interrupted after {said}") as caught:
            found = ask(StoppingHessian(objective))
        assert not found.complete and caught[0].filename == __file__
        found.save(tmp_path / "part.npz")
        assert not type(found).load(tmp_path / "part.npz").complete
        whole = ask(Hessian(objective))
        assert whole.complete
        whole.save(tmp_path / "whole.npz")
        assert type(whole).load(tmp_path / "whole.npz").complete


@pytest.mark.parametrize("method", ["hutchinson", "hutch++", "xtrace"])
def test_an_interrupted_trace_is_that_of_fewer_probes(matrix_with, method: str) -> None:
    operator = matrix_with(VALUES)
    for product in range(1, 31):
        ask = {"probes": 30, "method": method, **COMMON}
        done = product - 1
        least = {"hutchinson": 2, "hutch++": 4, "xtrace": 4}[method]  # two vectors for the range take four products
        if done < least:
            with pytest.raises(KeyboardInterrupt):
                trace_estimate(Stopping(operator, product), **ask)
            continue
        with pytest.warns(InterruptedWarning, match=f"after {done} of 30 probes"):
            found = trace_estimate(Stopping(operator, product), **ask)
        assert found.matvecs == done and not found.complete
        if method == "hutchinson":
            expected = trace_estimate(operator, **{**ask, "probes": done})
        elif method == "xtrace":
            expected = trace_estimate(operator, **{**ask, "probes": done})  # an odd product is of no use
        else:
            continue
        assert (found.value, found.stderr) == pytest.approx((expected.value, expected.stderr), rel=1e-9)
        assert found.samples == expected.samples


def test_an_interrupted_hutch_plus_plus(matrix_with) -> None:
    """While it is at the range it is Hutchinson's estimate from the same signs, then one with a shorter remainder."""
    operator = matrix_with(VALUES)
    ask = {"probes": 30, "method": "hutch++", **COMMON}
    for product in range(5, 31):
        with pytest.warns(InterruptedWarning):
            found = trace_estimate(Stopping(operator, product), **ask)
        outside = product - 1 - 20
        assert found.samples == (outside if outside >= 2 else min(10, (product - 1) // 2))
        low, high = found.interval(0.99999)
        assert low < float(operator.matrix.trace()) < high
        if outside >= 2:
            assert found.stderr < 10  # without the two large eigenvalues
    whole = trace_estimate(operator, **ask)
    assert found.value == pytest.approx(whole.value, abs=whole.stderr) and found.samples == 9


@pytest.mark.parametrize("method", ["hutch++", "xtrace"])
def test_interrupted_between_stages(matrix_with, method: str) -> None:
    """Terms of the first stage are brought to the basis of now, also where the next stage is not whole."""
    operator = matrix_with([30.0, 10.0, *np.linspace(-2, 3, 98).tolist()])
    for product in range(50, 100, 7):
        with pytest.warns(InterruptedWarning, match=f"after {product - 1} of 2000 probes"):
            found = trace_estimate(Stopping(operator, product), probes=2000, method=method, rel_error=1e-6, **COMMON)
        low, high = found.interval(0.99999)
        assert low < float(operator.matrix.trace()) < high and found.stderr < 10
        assert found.samples is not None and found.samples >= 16


def test_an_interrupted_diagonal_and_norm_are_those_of_fewer_probes(matrix_with) -> None:
    operator = matrix_with(VALUES)
    diagonal = {"method": "bekas", "rel_error": None, **COMMON}
    norm = {"method": "hutchinson", "rel_error": None, **COMMON}
    for product in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            diagonal_estimate(Stopping(operator, product), probes=30, **diagonal)
        with pytest.raises(KeyboardInterrupt):
            frobenius_estimate(Stopping(operator, product), probes=30, **norm)
    for product in (3, 12):
        with pytest.warns(InterruptedWarning):
            found = diagonal_estimate(Stopping(operator, product), probes=30, **diagonal)
        expected = diagonal_estimate(operator, probes=product - 1, **diagonal)
        assert torch.equal(found.values, expected.values) and torch.equal(found.stderr, expected.stderr)
        assert (found.matvecs, found.samples, found.complete) == (product - 1, product - 1, False)
        with pytest.warns(InterruptedWarning):
            length = frobenius_estimate(Stopping(operator, product), probes=30, **norm)
        fewer = frobenius_estimate(operator, probes=product - 1, **norm)
        assert (length.value, length.stderr, length.matvecs) == (fewer.value, fewer.stderr, fewer.matvecs)


@pytest.mark.parametrize("ask", [trace_estimate, diagonal_estimate, frobenius_estimate])
def test_a_part_of_what_is_exact_is_no_answer(matrix_with, ask: Callable[..., Any]) -> None:
    options = {"probes": 5, "method": "exact", "rel_error": None, **COMMON}
    with pytest.raises(KeyboardInterrupt):
        ask(Stopping(matrix_with(VALUES), 30), **options)


def test_an_interrupted_density_is_that_of_fewer_probes(matrix_with) -> None:
    operator = matrix_with(VALUES)
    ask = {"steps": 6, "grid": np.linspace(-3, 31, 50), "sigma": 0.5, **COMMON}
    with pytest.raises(KeyboardInterrupt):
        spectral_density(Stopping(operator, 6), probes=4, **ask)
    for product, done in ((7, 1), (12, 1), (13, 2), (24, 3)):
        with pytest.warns(InterruptedWarning, match=f"after {done} of 4 probes: the density"):
            found = spectral_density(Stopping(operator, product), probes=4, **ask)
        expected = spectral_density(operator, probes=done, **ask)
        for name in ("density", "band", "nodes", "weights"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        assert found.provenance["probes"] == done and not found.complete
        assert np.isnan(found.band).all() == (done == 1)


@pytest.mark.parametrize("k", [1, 3])
def test_interrupted_eigenpairs_are_the_best_so_far(matrix_with, k: int) -> None:
    """Their residuals are true, and what is not converged is marked; atol: rounding of products with 30."""
    operator = matrix_with(VALUES)
    whole = top_eigenpairs(operator, k, **TOP)
    for product in range(1, whole.matvecs + 1):
        if product <= k:
            with pytest.raises(KeyboardInterrupt):
                top_eigenpairs(Stopping(operator, product), k, **TOP)
            continue
        with pytest.warns(InterruptedWarning, match=f"after {product - 1} of at most 200 products"):
            found = top_eigenpairs(Stopping(operator, product), k, **TOP)
        true = operator.matrix @ found.vectors - found.vectors * torch.tensor(found.values)
        np.testing.assert_allclose(true.norm(dim=0).numpy(), found.residuals, rtol=1e-3, atol=1e-11)
        assert (found.converged == (found.residuals <= 1e-8 * np.abs(found.values))).all()
        assert found.matvecs == product - 1 and not found.complete
    assert found.converged.all() == (k > 1)  # at the end of the second search, which one pair needs not
    np.testing.assert_allclose(found.values, whole.values, rtol=1e-9)


def test_pairs_of_start_vectors_are_not_trusted_before_the_check(matrix_with) -> None:
    operator = matrix_with(VALUES)
    wrong = torch.linalg.eigh(operator.matrix)[1][:, -4:-2].flip(1)  # the third and fourth
    with pytest.warns(InterruptedWarning, match="0 of 2 eigenpairs had converged"):
        found = top_eigenpairs(Stopping(operator, 5), 2, **TOP, start=wrong)
    assert not found.converged.any() and (found.residuals < 1e-9).all()


def interrupt_at(line: int) -> Callable[..., Any]:
    """A tracer that raises at the n-th line that runs within the package's curvature, but where Ctrl-C is held back."""
    folder, handler, count = str(Path(landscape.curvature.__file__).parent), signal.getsignal(signal.SIGINT), 0

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.startswith(folder):
            return None
        if event == "line":
            count += 1
            if count >= line > 0 and signal.getsignal(signal.SIGINT) is handler:
                count = -1_000_000_000
                raise KeyboardInterrupt
        return trace

    return trace


def asked(name: str, operator: Any, probes: int) -> Any:
    if name == "top":
        return top_eigenpairs(operator, 2, **{**TOP, "tol": 1e-12})
    if name == "diagonal":
        return diagonal_estimate(operator, probes=probes, method="bekas", rel_error=None, **COMMON)
    return trace_estimate(operator, probes=probes, method=name, **COMMON)


def is_right(name: str, found: Any, operator: Any) -> bool:
    if name == "top":
        true = operator.matrix @ found.vectors - found.vectors * torch.tensor(found.values)
        return np.allclose(true.norm(dim=0).numpy(), found.residuals, atol=1e-10)
    if name == "diagonal":
        expected = asked(name, operator, found.samples)
        return torch.equal(found.values, expected.values) and torch.equal(found.stderr, expected.stderr)
    if name == "hutch++":
        low, high = found.interval(0.9999)
        return low < float(operator.matrix.trace()) < high
    expected = asked(name, operator, found.samples * (2 if name == "xtrace" else 1))
    return bool(np.allclose([found.value, found.stderr], [expected.value, expected.stderr], rtol=1e-9))


@pytest.mark.parametrize("name", ["hutchinson", "hutch++", "xtrace", "diagonal", "top"])
def test_ctrl_c_at_any_line(matrix_with, monkeypatch, name: str) -> None:
    """Every third line, or thirteenth: no answer, or one that is right for what was done by then."""
    monkeypatch.setattr("landscape.curvature.search._ROOM", 8)  # so that the search restarts
    monkeypatch.setattr("landscape.curvature.search._SPARE", 4)
    operator, before, parts = matrix_with([9.0, 5.0, *np.linspace(-1, 1, 12).tolist()]), sys.gettrace(), 0
    for line in range(1, 100_000, 13 if name == "top" else 3):
        try:
            with warnings.catch_warnings(record=True):
                warnings.simplefilter("always", InterruptedWarning)
                sys.settrace(interrupt_at(line))
                found = asked(name, operator, 8)
        except KeyboardInterrupt:
            continue
        finally:
            sys.settrace(before)
        assert is_right(name, found, operator), f"interrupted at line {line} of the run"
        if found.complete:
            break
        parts += 1
    assert parts > 10


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C as Python has it, also where the process was started in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_held_back_ends_its_block_first(interruptible: None) -> None:
    done, handler = [], signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), held_back():
        os.kill(os.getpid(), signal.SIGINT)
        done.append(1)
        with held_back():
            done.append(2)
        done.append(3)
    assert done == [1, 2, 3] and signal.getsignal(signal.SIGINT) is handler
    with pytest.raises(ValueError, match="mine"), held_back():
        raise ValueError("mine")
    assert signal.getsignal(signal.SIGINT) is handler


def test_held_back_does_nothing_in_other_threads() -> None:
    """Signals come to the main thread, and only it may say what they do."""
    seen = []

    def work() -> None:
        with held_back():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]


def test_files_from_before_still_load(tmp_path: Path) -> None:
    """Those that say nothing of samples and completeness."""
    old = {
        Estimate(2.0, 0.5, 10, samples=10): ("samples", "complete"),
        Eigenpairs(
            values=[1.0], vectors=torch.ones(1, 1), residuals=[0.0], matvecs=1, converged=[True], complete=False
        ): ("complete",),
        SpectralDensity(
            grid=[0.0], density=[1.0], band=[np.nan], nodes=[[0.0]], weights=[[1.0]], sigma=1.0, provenance={},
            complete=False,
        ): ("complete",),
    }  # fmt: skip
    from landscape.surface.archive import save_result

    for result, newer in old.items():
        arrays, text = result._packed()
        save_result(
            tmp_path / "old.npz", type(result).__name__, {k: v for k, v in arrays.items() if k not in newer}, text
        )
        again = type(result).load(tmp_path / "old.npz")
        assert again.complete and again.__dict__.get("samples") is None


def test_new_fields_come_back(tmp_path: Path) -> None:
    for samples in (None, 7):
        estimate = Estimate(2.0, 0.5, 10, samples=samples, complete=False)
        estimate.save(tmp_path / "e.npz")
        assert Estimate.load(tmp_path / "e.npz") == estimate
    part = DiagonalEstimate(values=torch.ones(2), stderr=torch.ones(2), matvecs=3, samples=3, complete=False)
    assert "interrupted" in repr(part)
