"""The command for notebooks: checked before the first cell, some at a time, a failure told and its notebook kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from landscape.cli import main
from landscape.errors import ConfigError, NotebookError
from landscape.notebooks import batch
from landscape.notebooks.batch import Outcome, run_notebooks
from landscape.notebooks.catalog import entry_of, first_paragraph, plain_text
from landscape.notebooks.run import find_notebook, list_notebooks
from landscape.storage.files import process_alive
from tests.notebooks.small import code, write

ROOT = Path(__file__).parents[2]


@pytest.fixture
def nothing_runs(monkeypatch):
    import papermill

    calls = []
    monkeypatch.setattr(papermill, "execute_notebook", lambda *args, **kwargs: calls.append(args))
    return calls


def call(capsys, *words: object) -> tuple[int, str, str]:
    number = main(["notebook", *map(str, words)])
    said = capsys.readouterr()
    return number, said.out, said.err


# ----------------------------------------------------------------------------------------- before the first cell


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rho", "-1", "'rho' is out of range. Expected: at least 0. Got: -1.0"),
        ("rho", "big", "'rho' has another type. Expected: float, such as 0.05"),
        ("word", "c", "Unknown word 'c'. Expected: one of a, b"),
        ("profile", "full", "Unknown profile 'full'. Expected: one of paper, quick, standard"),
        ("rhoo", "1", "Unknown notebook parameter 'rhoo'. Expected: one of mode, profile, rho, word"),
        ("a b", "1", "Unknown notebook parameter 'a b'. Expected: one of mode, profile, rho, word"),
        ("import", "1", "Unknown notebook parameter 'import'"),
    ],
)
def test_bad_parameters_fail_before_the_first_cell(tmp_path, capsys, nothing_runs, name, value, message):
    path = write(tmp_path / "a.ipynb", "print(rho)")
    number, _, err = call(capsys, "run", path, "-p", name, value, "--out", tmp_path / "out")
    assert number == 2 and message in err and "Traceback" not in err
    assert not nothing_runs and not (tmp_path / "out").exists()


def test_the_bundled_notebooks_refuse_what_they_cannot_run_with(tmp_path, capsys, nothing_runs):
    for path in list_notebooks():
        names = [parameter.name for parameter in entry_of(path).parameters]
        bad = {"rho": "-1", "dataset": "nope", "seed": "-1", "no_such_name": "1", "not a name": "1"}
        for name, value in bad.items():
            if name in names or name.startswith("no"):
                number, _, err = call(capsys, "run", path.stem, "-p", name, value, "--out", tmp_path / "out")
                assert number == 2 and "Expected: " in err, (path.stem, name)
    assert not nothing_runs and not (tmp_path / "out").exists()


def test_all_are_checked_before_the_first_runs(tmp_path, nothing_runs):
    first = write(tmp_path / "a.ipynb", "1")
    second = write(tmp_path / "b.ipynb", "1", parameters='word: str = "a"  # [a | b]')
    with pytest.raises(NotebookError, match="Unknown notebook parameter 'rho'"):
        run_notebooks([first, second], tmp_path / "out", parameters={"rho": 1})
    with pytest.raises(NotebookError, match="would write one file"):
        run_notebooks([first, first], tmp_path / "out")
    with pytest.raises(ConfigError, match="jobs is out of range"):
        run_notebooks([first], tmp_path / "out", jobs=0)
    assert not nothing_runs


def test_what_the_command_is_told_has_to_fit(tmp_path, capsys, nothing_runs):
    first, second = write(tmp_path / "a.ipynb", "1"), write(tmp_path / "b.ipynb", "1")
    for words, message in (
        (("run",), "nothing to run"),
        (("run", first, second, "--html", tmp_path / "x.html"), "for one notebook"),
        (("gallery", first, "--output", tmp_path / "x.ipynb"), "for one notebook"),
        (("run", "no_such"), "Unknown notebook 'no_such'"),
        (("nonsense",), "Unknown notebook 'nonsense'"),
    ):
        number, _, err = call(capsys, *words)
        assert number == 2 and message in err, words
    assert not nothing_runs


# ------------------------------------------------------------------------------------------------------ listing


def test_the_list_shows_questions_parameters_defaults_and_help(tmp_path, capsys):
    path = write(tmp_path / "a.ipynb", title="How *flat* is `it`?")
    number, out, _ = call(capsys, "list", path)
    assert number == 0 and out.splitlines()[0] == "a: How flat is it?"
    rho, word, profile, _ = [line.split(None, 3) for line in out.splitlines()[1:]]
    assert rho == ["rho", "float", "0.05", "the radius (at least 0)"]
    assert word == ["word", "str", "'a'", "what is printed (one of a, b)"]
    assert profile == ["profile", "str", "'quick'", "the size"]
    number, out, _ = call(capsys, "list")
    assert number == 0 and all(entry_of(path).question in out for path in list_notebooks())
    number, out, _ = call(capsys)
    assert number == 0 and len(out.splitlines()) == len(list_notebooks()) + 1


def test_a_number_is_name_enough():
    for path in list_notebooks():
        number = path.stem.split("_")[0]
        for name in (number, str(int(number)), path.stem, path.stem.partition("_")[2], path.name):
            assert find_notebook(name) == path
    with pytest.raises(NotebookError, match="Unknown notebook '777'"):
        find_notebook("777")


def test_the_first_paragraph_is_words():
    assert first_paragraph("\n\n## Heading\n\n- a list\n\n![x](y.png)\n\nSo *it*\nis.\n\nMore.") == "So *it* is."
    assert first_paragraph("# Only a heading") == ""
    assert plain_text("**a** _b_ `c_d` *e* [f](g)") == "a b c_d e f"


# ------------------------------------------------------------------------------------------------------ running


@pytest.mark.notebook
def test_one_notebook_to_a_folder(tmp_path, capsys):
    path = write(tmp_path / "a.ipynb", code("print(word * 3, rho)", "summary"))
    out = tmp_path / "made" / "out"
    number, said, err = call(capsys, "run", path, "-p", "word", "b", "-p", "rho", "1", "--out", out)
    assert number == 0 and err == ""
    assert "bbb 1.0" in said and str(out / "a.ipynb") in said
    assert sorted(p.name for p in out.iterdir()) == ["a.html", "a.ipynb"]
    assert "bbb 1.0" in (out / "a.html").read_text()


@pytest.mark.notebook
def test_the_short_form_runs_one_to_places_of_its_own(tmp_path, capsys):
    path = write(tmp_path / "a.ipynb", code("print(word * 3)", "summary"))
    places = ("--output", tmp_path / "x" / "run.ipynb", "--html", tmp_path / "x" / "page.html")
    number, said, _ = call(capsys, path, *places)
    assert number == 0 and "aaa" in said and str(tmp_path / "x" / "page.html") in said
    assert sorted(p.name for p in (tmp_path / "x").iterdir()) == ["page.html", "run.ipynb"]


@pytest.mark.notebook
def test_several_at_a_time_and_one_that_fails(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    threads = "import os, sys\nprint(os.environ['OMP_NUM_THREADS'])\nprint('careful', file=sys.stderr)"
    good = write(tmp_path / "01_good.ipynb", threads)
    bad = write(tmp_path / "02_bad.ipynb", "print('first')", "1 / 0", "print('never')")
    out = tmp_path / "out"
    number, said, err = call(capsys, "run", good, bad, "--jobs", 2, "--out", out)
    assert number == 2
    lines = {line.split()[0]: line.split()[1] for line in said.splitlines() if line.startswith("0")}
    assert lines == {"01_good": "done", "02_bad": "FAILED"}
    assert "ZeroDivisionError" in err and "02_bad" in err and "Traceback" not in err
    assert "cells of 01_good wrote to stderr: careful" in err
    assert (
        '"first\\n"' in (out / "02_bad.ipynb").read_text() and "ZeroDivisionError" in (out / "02_bad.html").read_text()
    )
    each = max(1, (os.cpu_count() or 1) // 2)
    assert f'"{each}\\n"' in (out / "01_good.ipynb").read_text()
    assert "OMP_NUM_THREADS" not in os.environ


def test_a_process_that_dies_is_a_failure_and_not_the_end(tmp_path):
    outcome = batch._outcome((Path("a.ipynb"), tmp_path, {}, None), tmp_path)
    assert outcome == Outcome(
        name="a", notebook=tmp_path / "a.ipynb", html=tmp_path / "a.html", seconds=0.0,
        error="a.ipynb: the process that ran it died (out of memory, or killed).",
    )  # fmt: skip


@pytest.mark.notebook
@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("jobs", [1, 2])
def test_after_ctrl_c_or_sigterm_nothing_runs_on_and_what_ran_is_kept(tmp_path, number, code, jobs):
    waits = f"import os, pathlib, time\nprint('first')\npid = str(os.getpid())\nplace = pathlib.Path({str(tmp_path)!r})"
    waits += "\nplace.joinpath(f'{word}-{pid}').write_text(pid)"
    paths = [
        write(tmp_path / f"0{n}_a.ipynb", f"word = '{n}'", waits, "time.sleep(300)", "print('never')") for n in range(3)
    ]
    command = [sys.executable, "-m", "landscape", "notebook", "run", *map(str, paths), "--jobs", str(jobs)]
    command += ["--out", str(tmp_path / "out")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    until = time.monotonic() + 120
    while len(kernels := list(tmp_path.glob("[0-9]-*"))) < jobs and time.monotonic() < until:
        time.sleep(0.2)
    assert len(kernels) == jobs
    time.sleep(1)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    own = err.partition("[IPKernelApp]")[0]  # what a kernel says of itself when it is ended, where it is heard
    assert process.returncode == code and "Traceback" not in own
    kept = ["00_a.ipynb", "01_a.ipynb"][:jobs]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.ipynb")) == kept
    text = (tmp_path / "out" / "00_a.ipynb").read_text()
    assert '"first\\n"' in text and '"never\\n"' not in text
    until = time.monotonic() + 20
    while any(process_alive(int(path.read_text())) for path in kernels) and time.monotonic() < until:
        time.sleep(0.2)
    assert not any(process_alive(int(path.read_text())) for path in kernels)


@pytest.mark.notebook
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [("rho", "-1", "at least 0"), pytest.param("rhoo", "1", "notebook parameter 'rhoo'", marks=pytest.mark.slow)],
)
def test_papermill_itself_checks_in_the_first_cell(tmp_path, name, value, message):
    """Whoever types papermill's own command is told the same, by the notebook."""
    begin = "from landscape.notebooks.given import check_given\n\ncheck_given({'rho': rho, 'word': word})"
    path = write(tmp_path / "a.ipynb", begin, "print('never')")
    command = [sys.executable, "-m", "papermill", str(path), str(tmp_path / "out.ipynb"), "--no-progress-bar"]
    done = subprocess.run([*command, "-p", name, value], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and message in done.stderr
    assert '"never\\n"' not in (tmp_path / "out.ipynb").read_text()
