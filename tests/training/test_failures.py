"""Which of what several processes leave behind is the cause, and what the user is told."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from landscape.errors import LockedError, NonFiniteError, ProcessError
from landscape.storage import FolderLock
from landscape.training import RunConfig, train
from landscape.training.failures import cause, write_endings, write_error
from landscape.training.launch import _settle
from landscape.training.run import Run

MINE = """
import os
from torch import nn

class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.inner = nn.Sequential(nn.Flatten(), nn.Linear(64, classes))
        self.steps = 0

    def forward(self, inputs):
        self.steps += len(inputs) > 2
        if self.steps == 7 and os.environ.get("RANK") == "1":
            raise ValueError("the seventh of seven seals")
        return self.inner(inputs)

def net(num_classes, in_channels):
    return Net(num_classes)
"""


def test_an_error_of_the_model_is_named_and_torchrun_is_silent(tmp_path, monkeypatch, capfd):
    (tmp_path / "sealed.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    config = RunConfig(
        model="sealed:net", limit=40, test_limit=10, epochs=9, batch_size=8, device="cpu", nproc=2, save_every=9
    )
    with pytest.raises(ProcessError, match=r"Rank 1 .*forward \(.*sealed.py:14\).*ValueError: the seventh") as caught:
        train(config, progress=False)
    assert "again" not in str(caught.value)  # it would end in the same way
    assert "in forward" in caught.value.__notes__[0]  # the traceback
    (folder,) = (tmp_path / "runs").iterdir()
    run = Run.load(folder)
    assert (run.status, run.failure) == ("failed", str(caught.value))
    assert capfd.readouterr().err == ""


def raised(error: Exception) -> Exception:
    try:
        raise error
    except type(error) as caught:
        return caught


def endings(**codes: tuple[int, int]) -> dict[int, SimpleNamespace]:
    """Exit code and second of each rank."""
    return {int(name[4:]): SimpleNamespace(exitcode=code, timestamp=at) for name, (code, at) in codes.items()}


def test_an_error_of_ours_comes_before_what_it_caused(tmp_path):
    write_error(tmp_path, "rank 0", raised(RuntimeError("Connection closed by peer")))
    write_error(tmp_path, "rank 1", raised(NonFiniteError("The loss is NaN.", fix="Lower lr.")))
    write_endings(tmp_path, endings(rank0=(2, 100), rank1=(2, 100)))
    error, interrupted = cause(tmp_path, 2, 1)
    assert type(error) is NonFiniteError and str(error) == "The loss is NaN. What to do: Lower lr."
    assert not interrupted


@pytest.mark.parametrize(
    "code, words", [(-9, "was ended by SIGKILL"), (-11, "SIGSEGV"), (7, "exit code 7"), (-99, "signal 99")]
)
def test_a_process_that_left_no_word_comes_before_what_its_end_caused(tmp_path, code, words):
    write_error(tmp_path, "rank 0", raised(RuntimeError("Connection closed by peer")))
    write_endings(tmp_path, endings(rank0=(2, 100), rank1=(code, 100), rank2=(-15, 100)))
    error, interrupted = cause(tmp_path, 3, 1)
    assert type(error) is ProcessError and interrupted
    assert str(error).startswith("Rank 1 of the run's 3 processes") and words in str(error)


def test_a_process_that_torchrun_ended_is_not_the_cause(tmp_path):
    write_error(tmp_path, "rank 1", raised(ValueError("a\nb")))
    write_endings(tmp_path, endings(rank0=(-15, 100), rank1=(2, 100), rank2=(-9, 130)))  # after 30 s of patience
    error, interrupted = cause(tmp_path, 3, 1)
    assert "Rank 1" in str(error) and "ValueError: a b" in str(error)
    assert not interrupted


def test_the_earliest_error_of_others_is_the_cause(tmp_path):
    write_error(tmp_path, "rank 1", raised(ValueError("first")))
    write_error(tmp_path, "rank 0", raised(RuntimeError("second")))
    assert "ValueError: first" in str(cause(tmp_path, 2, 1)[0])


def test_one_process_stopped_by_a_signal_stops_all(tmp_path):
    write_endings(tmp_path, endings(rank0=(143, 100), rank1=(143, 100)))
    error, interrupted = cause(tmp_path, 2, 1)
    assert interrupted and "was ended by SIGTERM" in str(error)


def test_torchrun_itself_can_be_killed(tmp_path):
    error, interrupted = cause(tmp_path, 2, -9)
    assert interrupted and str(error).startswith("torchrun, which") and "SIGKILL" in str(error)


def test_the_end_of_a_run_is_not_written_while_another_process_trains_it(tmp_path):
    run = Run(tmp_path / "run", RunConfig())
    with FolderLock(run.path):
        run.write_status("running")
        _settle(run, LockedError("Another process is writing."), False)
    assert run.status == "running"
    _settle(run, ProcessError("Ended."), True)
    assert run.status == "interrupted"
