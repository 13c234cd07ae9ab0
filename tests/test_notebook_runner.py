"""Notebooks run headless: parameters are checked first, and a run counts only if every cell ran."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest

from landscape.errors import NotebookError
from landscape.notebooks import find_notebook, list_notebooks, notebook_parameters, run_notebook
from landscape.notebooks.parameters import check_parameters, parse_parameters

PARAMETERS = """\
'Settings.'
mode: str = "auto"  # auto, live or static
rho: float = 0.05  # SAM's radius
epochs = 3
limit: int | None = None  # how many examples
fast = True
methods: tuple[str, ...] = ("sgd", "sam")
sizes = [1, 2]
"""


def write(path: Path, *cells: str, parameters: str | None = PARAMETERS) -> Path:
    """Write a notebook of code cells, the first one tagged."""
    code = nbformat.v4.new_code_cell
    made = [nbformat.v4.new_markdown_cell("# Title")]
    if parameters is not None:
        made.append(code(parameters, metadata={"tags": ["parameters"]}))
    made += [code(source) for source in cells]
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=made, metadata={"kernelspec": spec}), path)
    return path


@pytest.fixture
def kernels_started(monkeypatch):
    """Count calls of papermill, running none."""
    import papermill

    calls = []
    monkeypatch.setattr(papermill, "execute_notebook", lambda *args, **kwargs: calls.append(kwargs))
    return calls


def test_parameters_are_read_with_defaults_and_help(tmp_path):
    found = {p.name: p for p in notebook_parameters(write(tmp_path / "a.ipynb"))}
    assert list(found) == ["mode", "rho", "epochs", "limit", "fast", "methods", "sizes"]
    assert found["rho"].default == 0.05 and found["rho"].help == "SAM's radius"
    assert found["limit"].kinds == ("None", "int")


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("rho", "1e-3", 0.001),
        ("rho", 1, 1.0),
        ("epochs", "7", 7),
        ("epochs", "1e3", 1000),
        ("fast", "false", False),
        ("fast", "YES", True),
        ("limit", "2000", 2000),
        ("limit", "none", None),
        ("limit", None, None),
        ("mode", "1", "1"),
        ("methods", "sgd,amp", ("sgd", "amp")),
        ("methods", "('amp',)", ("amp",)),
        ("methods", ["amp"], ("amp",)),
        ("sizes", "3, 4", [3, 4]),
    ],
)
def test_values_take_the_type_of_the_default(name, given, expected):
    value = check_parameters({name: given}, parse_parameters(PARAMETERS))[name]
    assert value == expected and type(value) is type(expected)


@pytest.mark.parametrize(
    ("name", "given"),
    [("epochs", "1.5"), ("epochs", 1.5), ("epochs", True), ("fast", "maybe"), ("fast", 1), ("rho", "big"), ("mode", 3)],
)
def test_values_of_another_type_are_refused(name, given):
    with pytest.raises(NotebookError, match=f"'{name}' has another type"):
        check_parameters({name: given}, parse_parameters(PARAMETERS))


def test_an_unknown_parameter_is_refused_before_anything_runs(tmp_path, kernels_started):
    with pytest.raises(NotebookError, match="Unknown notebook parameter 'epoch'.*Did you mean 'epochs'"):
        run_notebook(write(tmp_path / "a.ipynb"), tmp_path / "out.ipynb", parameters={"epoch": 1})
    assert not kernels_started and not (tmp_path / "out.ipynb").exists()


def test_bad_notebooks_are_refused_before_anything_runs(tmp_path, kernels_started):
    for name, parameters, message in (
        ("none", None, "one cell tagged 'parameters'.*0 such cells"),
        ("call", "a = f()", "something else than settings.*a = f()"),
        ("syntax", "a = = 1", "not valid Python"),
    ):
        path = write(tmp_path / f"{name}.ipynb", parameters=parameters)
        with pytest.raises(NotebookError, match=message):
            run_notebook(path, tmp_path / "out.ipynb")
    (tmp_path / "text.ipynb").write_text("hello")
    with pytest.raises(NotebookError, match="not a notebook"):
        run_notebook(tmp_path / "text.ipynb", tmp_path / "out.ipynb")
    with pytest.raises(NotebookError, match="There is no notebook"):
        run_notebook(tmp_path / "missing.ipynb", tmp_path / "out.ipynb")
    good = write(tmp_path / "good.ipynb")
    with pytest.raises(NotebookError, match="would replace the notebook"):
        run_notebook(good, good)
    assert not kernels_started


def test_notebooks_are_found_by_name():
    for path in list_notebooks():
        assert find_notebook(path.stem) == path
    with pytest.raises(NotebookError, match="Unknown notebook 'no_such_thing'"):
        find_notebook("no_such_thing")


@pytest.mark.notebook
def test_a_run_sets_parameters_runs_static_and_leaves_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("JPY_SESSION_NAME", "someone")
    environment = dict(os.environ)
    path = write(
        tmp_path / "a.ipynb",
        "import os, sys\nprint(rho, limit, fast)\n"
        "print(os.environ['LANDSCAPE_MODE'], os.environ.get('JPY_SESSION_NAME'))",
        "print('careful', file=sys.stderr)",
    )
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[2].metadata["tags"] = ["summary"]
    nbformat.write(notebook, path)
    before = path.read_bytes()
    result = run_notebook(
        path,
        tmp_path / "out.ipynb",
        parameters={"rho": "1e-3", "limit": 7, "fast": "false"},
        html=tmp_path / "a.html",
        progress=False,
    )
    assert result.tagged_text("summary") == "0.001 7 False\nstatic None\n"
    assert result.parameters == {"rho": 0.001, "limit": 7, "fast": False}
    assert result.stderr == ("careful\n",)
    assert dict(os.environ) == environment
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.html", "a.ipynb", "out.ipynb"]
    facts = nbformat.read(tmp_path / "out.ipynb", as_version=4).metadata
    assert "widgets" not in facts and facts["papermill"]["output_path"] == str(tmp_path / "out.ipynb")


@pytest.mark.notebook
def test_what_a_cell_estimates_of_the_time_is_said_while_it_runs(tmp_path, capsys):
    path = write(tmp_path / "a.ipynb", "print('About 1.3 h on this machine: 6 surfaces')", "print('About this')")
    run_notebook(path, tmp_path / "out.ipynb")
    assert "About 1.3 h on this machine: 6 surfaces\n" in capsys.readouterr().out
    run_notebook(path, tmp_path / "out.ipynb", progress=False)
    assert capsys.readouterr().out == ""


@pytest.mark.notebook
def test_a_failing_cell_is_named_and_what_ran_is_kept(tmp_path):
    path = write(tmp_path / "a.ipynb", "print('first')", "a = 1\nb = a / 0\nc = 2", "print('never')")
    with pytest.raises(NotebookError, match="ZeroDivisionError: division by zero") as caught:
        run_notebook(path, tmp_path / "out.ipynb", progress=False)
    assert ">   2 | b = a / 0" in str(caught.value) and "In [3]" in str(caught.value)
    assert str(tmp_path / "out.ipynb") in str(caught.value)
    text = (tmp_path / "out.ipynb").read_text()
    assert '"first\\n"' in text and '"never\\n"' not in text


@pytest.mark.notebook
def test_leaving_early_is_an_error_though_papermill_takes_it_for_success(tmp_path):
    path = write(tmp_path / "a.ipynb", "import sys\nsys.exit(0)", "print('never')")
    with pytest.raises(NotebookError, match=r"SystemExit|sys\.exit"):
        run_notebook(path, tmp_path / "out.ipynb", progress=False)
    assert (tmp_path / "out.ipynb").exists()


@pytest.mark.notebook
@pytest.mark.slow
def test_a_slow_cell_an_unknown_kernel_and_a_dead_kernel_are_named(tmp_path):
    path = write(tmp_path / "a.ipynb", "import time; time.sleep(60)")
    with pytest.raises(NotebookError, match="longer than 2 s"):
        run_notebook(path, tmp_path / "out.ipynb", progress=False, timeout=2)
    with pytest.raises(NotebookError, match="no kernel 'no-such'"):
        run_notebook(path, tmp_path / "out.ipynb", progress=False, kernel="no-such")
    path = write(tmp_path / "b.ipynb", "import os; os._exit(1)")
    with pytest.raises(NotebookError, match="kernel died"):
        run_notebook(path, tmp_path / "out.ipynb", progress=False)


def test_nothing_is_written_over_the_notebook_or_the_output(tmp_path, kernels_started):
    path = write(tmp_path / "a.ipynb")
    before = path.read_bytes()
    link = tmp_path / "link.ipynb"
    link.symlink_to(path)
    for output, html, message in (
        (tmp_path / "o.ipynb", path, "The page would replace the notebook"),
        (tmp_path / "o.ipynb", link, "The page would replace the notebook"),
        (tmp_path / "o.ipynb", tmp_path / "." / "o.ipynb", "The page would replace the output"),
        (link, None, "The output would replace the notebook"),
    ):
        with pytest.raises(NotebookError, match=message):
            run_notebook(path, output, html=html)
    assert not kernels_started and path.read_bytes() == before and not (tmp_path / "o.ipynb").exists()


@pytest.mark.parametrize(
    ("name", "given"), [("methods", "(1)"), ("sizes", "(1)"), ("table", "{[]: 1}"), ("sizes", "[" * 9999)]
)
def test_values_that_look_like_literals_and_are_none(name, given):
    known = parse_parameters('methods: tuple[str, ...] = ("sgd",)\nsizes = [1, 2]\ntable = {"a": 1}')
    with pytest.raises(NotebookError, match="has another type"):
        check_parameters({name: given}, known)
