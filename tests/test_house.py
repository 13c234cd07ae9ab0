"""What is written twice agrees: dependencies, exact versions, targets; what is tracked is clean; notebooks are bare."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
TARGETS = ("demo", "gallery", "pictures", "test", "test-all", "lab", "lint", "bench", "gpu", "clean", "help")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def by_name(requirements: list[str]) -> dict[str, tuple[str, str]]:
    """Canonical name to (extras, bounds)."""
    parsed = map(Requirement, requirements)
    return {canonicalize_name(r.name): (",".join(sorted(r.extras)), str(r.specifier)) for r in parsed}


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"==[^*,]+", str(pin.specifier)) and not pin.marker for pin in pins), "exact versions only"
    assert len({canonicalize_name(pin.name) for pin in pins}) == len(pins), "a package is named twice"
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}


# ------------------------------------------------------------------------------------------------- dependencies


def test_conda_users_get_the_same():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["name"] == "landscape"
    assert environment["channels"] == ["conda-forge"]
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert pip[:2] == ["-c constraints.txt", "-e .[dev]"]
    assert by_name(pip[2:]) == by_name(project()["dependencies"] + project()["optional-dependencies"]["dev"])
    assert environment["dependencies"][:2] == ["python" + project()["requires-python"], "pip"]


def test_exact_versions_lie_within_the_bounds():
    pins = constraints()
    extras = [requirement for group in project()["optional-dependencies"].values() for requirement in group]
    for requirement in map(Requirement, project()["dependencies"] + extras):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement
    assert Requirement("jsonschema<4.25").specifier.contains(pins["jsonschema"])


def test_what_is_pinned_is_not_the_package_itself_nor_from_elsewhere():
    text = (ROOT / "constraints.txt").read_text()
    assert "landscape" not in constraints()
    assert " @ " not in text
    assert "+" not in text


# --------------------------------------------------------------------------------------------------- the Makefile


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    if not shutil.which("make"):
        pytest.skip("needs make")
    clean = {name: value for name, value in os.environ.items() if name not in ("PY", "MAKEFLAGS", "MAKELEVEL", "CI")}
    return subprocess.run(
        ["make", "-C", str(ROOT), "--no-print-directory", *arguments],
        capture_output=True, text=True, env=clean | environment, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip


def test_help_is_the_default_and_lists_every_target():
    listed = make()
    assert listed.returncode == 0
    assert listed.stdout == make("help").stdout
    names = re.findall(r"^  make (\S+) +\S", listed.stdout, flags=re.MULTILINE)
    assert sorted(names) == sorted(TARGETS)


def test_every_target_of_the_makefile_is_phony_and_known():
    text = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, flags=re.MULTILINE)
    assert sorted(phony.split()) == sorted(TARGETS)


@pytest.mark.parametrize("target", [t for t in TARGETS if t not in ("help", "clean")])
def test_an_existing_environment_skips_the_set_up(target):
    planned = make("--dry-run", target, PY="a-python")
    assert planned.returncode == 0
    assert "a-python" in planned.stdout
    assert "pip" not in planned.stdout
    assert "venv" not in planned.stdout


@pytest.mark.parametrize(
    ("target", "extra"), [("demo", "-e ."), ("lab", "-e ."), ("test", ".[dev]"), ("lint", ".[dev]")]
)
def test_the_set_up_is_planned_with_exact_versions(target, extra, tmp_path):
    planned = make("--dry-run", target, f"VENV={tmp_path / 'venv'}")
    assert planned.returncode == 0
    (install,) = [line for line in planned.stdout.splitlines() if "pip install" in line]
    assert "-c constraints.txt" in install
    assert extra in install


def test_no_python_is_a_clear_message(tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "awk", "rm", "make"):
        if found := shutil.which(name):
            (tools / name).symlink_to(found)
    (tools / "python3").write_text("#!/bin/sh\nexit 1\n")  # an older Python
    (tools / "python3").chmod(0o755)
    made = make(f"VENV={tmp_path / 'venv'}", "test", PATH=str(tools))
    assert made.returncode != 0
    assert "Python 3.11 or newer is needed" in made.stderr
    assert not (tmp_path / "venv").exists()


def test_ci_runs_what_a_developer_types():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    text = script.read_text()
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in text
    assert text.rstrip().endswith("make lint\nmake test")
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0


# ------------------------------------------------------------------------------------------------- what is tracked


def tracked() -> list[Path]:
    """The files that git tracks or would track."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs git")
    if done.returncode:
        pytest.skip("needs a git work tree")
    return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]


# Put together from pieces, so that this file holds none of them.
_HOSTS = (
    "py" + r"pi\.org",
    "python" + r"hosted\.",
    "registry" + r"\.npm",
    "conda" + r"\.ana",
    "download" + r"\.pytorch",
)
FORBIDDEN = {
    "a package registry's host": "|".join(_HOSTS),
    "an absolute path of one machine": r"(?<![\w.~-])/(?:work|root|home|Users|mnt)/[\w.-]+|/tmp/(?:data|brief)\b",
}


def offences(text: str) -> list[str]:
    return [f"{what}: {match[0]}" for what, pattern in FORBIDDEN.items() for match in re.finditer(pattern, text)]


def test_no_tracked_file_names_a_registry_or_a_path_of_one_machine():
    found = {}
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        if bad := offences(text):
            found[path.relative_to(ROOT).as_posix()] = bad
    assert found == {}


@pytest.mark.parametrize(
    "text",
    ["https://py" + "pi.org/simple", "cd /" + "work/main", "'/" + "root/x'", "=/" + "home/me", "/tmp/" + "data/gtsrb"],
)
def test_offences_sees(text):
    assert offences(text)


@pytest.mark.parametrize(
    "text", ["../shared/data", "work/main", "a/home/b", "/tmp/landscape-data", "https://x.org/home/y"]
)
def test_offences_lets_pass(text):
    assert offences(text) == []


def test_nothing_large_or_made_is_tracked():
    for path in tracked():
        assert path.stat().st_size < 500_000, path
        assert path.suffix not in (".npz", ".safetensors", ".pt", ".pkl", ".pyc"), path
        assert path.suffix != ".png" or (path.parent.name == "docs" and path.stat().st_size < 200_000), path


# ------------------------------------------------------------------------------------------------------ notebooks


def notebook_faults(notebook: dict) -> list[str]:
    """What a notebook in git must not hold, and what it must."""
    faults, metadata = [], notebook["metadata"]
    if metadata.get("kernelspec", {}).get("name") != "python3":
        faults.append("the kernel is not python3")
    faults += [f"metadata of {key}" for key in ("widgets", "papermill") if key in metadata]
    tagged = [c for c in notebook["cells"] if "parameters" in c.get("metadata", {}).get("tags", [])]
    if len(tagged) != 1:
        faults.append(f"{len(tagged)} cells are tagged parameters")
    for number, cell in enumerate(notebook["cells"]):
        if {"papermill", "execution"} & cell.get("metadata", {}).keys():
            faults.append(f"cell {number}: metadata of a run")
        if cell["cell_type"] != "code":
            continue
        if cell.get("outputs"):
            faults.append(f"cell {number}: outputs")
        if cell.get("execution_count") is not None:
            faults.append(f"cell {number}: an execution count")
        if (lines := len("".join(cell["source"]).splitlines())) > 25:
            faults.append(f"cell {number}: {lines} lines")
    return faults


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_bare(path):
    assert notebook_faults(json.loads(path.read_text())) == []


def bare() -> dict:
    parameters = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": ["seed = 0"], "outputs": []}
    return {"metadata": {"kernelspec": {"name": "python3"}}, "cells": [parameters, {"cell_type": "markdown"}]}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda n: n["metadata"]["kernelspec"].update(name="mine"), "the kernel is not python3"),
        (lambda n: n["metadata"].update(widgets={}), "metadata of widgets"),
        (lambda n: n["metadata"].update(papermill={}), "metadata of papermill"),
        (lambda n: n["cells"][0]["metadata"].update(tags=[]), "0 cells are tagged parameters"),
        (lambda n: n["cells"].append(n["cells"][0]), "2 cells are tagged parameters"),
        (lambda n: n["cells"][0]["metadata"].update(papermill={}), "cell 0: metadata of a run"),
        (lambda n: n["cells"][0].update(outputs=[{}]), "cell 0: outputs"),
        (lambda n: n["cells"][0].update(execution_count=3), "cell 0: an execution count"),
        (lambda n: n["cells"][0].update(source=["x = 1\n"] * 26), "cell 0: 26 lines"),
    ],
)
def test_notebook_faults_sees(change, fault):
    notebook = bare()
    assert notebook_faults(notebook) == []
    change(notebook)
    assert notebook_faults(notebook) == [fault]
