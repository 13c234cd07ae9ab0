"""The tour, headless: on the embedded data, on real images, and refused before its first cell where a name is wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from landscape.errors import NotebookError
from landscape.notebooks import run_notebook

TOUR = Path(__file__).parents[1] / "notebooks" / "00_tour.ipynb"
QUICK = {"epochs": 2, "seconds": 0.5, "batch_size": 50}


def run(tmp_path, **parameters):
    values = {**QUICK, "root": str(tmp_path / "runs"), **parameters}
    return run_notebook(TOUR, tmp_path / "out.ipynb", parameters=values, html=tmp_path / "out.html", progress=False)


@pytest.mark.notebook
def test_on_the_embedded_data(tmp_path):
    result = run(tmp_path, limit=200, model="mlp")
    assert result.stderr == ()
    table = result.tagged_text("summary")
    for label in ("SGD", "SAM", "ASAM", "AMP", "LPF-SGD", "test error (%)", "Hessian trace"):
        assert label in table
    page = (tmp_path / "out.html").read_text()
    assert "Which optimizer found the flattest minimum?" in page
    checked = [cell for cell in result.notebook.cells if "check" in cell.metadata.get("tags", [])]
    assert len(checked) >= 5
    assert all(cell.execution_count for cell in checked)


@pytest.mark.notebook
def test_on_real_photographs(tmp_path, data_root):
    folder = f"folder:{data_root}/cifar10-images"
    result = run(tmp_path, dataset=folder, model="mlp", limit=100, label_noise=0.0, std=0.01)
    assert "LPF-SGD" in result.tagged_text("summary")


@pytest.mark.notebook
def test_on_traffic_signs_by_papermill_itself(tmp_path, data_root):
    """The command that users of papermill type, with torchvision's own GTSRB class behind it."""
    words = ["-p", "dataset", "gtsrb", "-p", "data_root", str(data_root), "-p", "model", "mlp", "-p", "limit", "86"]
    words += ["-p", "root", str(tmp_path / "runs"), "-p", "epochs", "1", "-p", "seconds", "0.5", "-p", "mode", "static"]
    command = [sys.executable, "-m", "papermill", str(TOUR), str(tmp_path / "out.ipynb"), *words, "--no-progress-bar"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    cells = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
    assert any("LPF-SGD" in str(cell.get("outputs", "")) for cell in cells)


@pytest.mark.notebook
@pytest.mark.slow
def test_a_residual_network_on_real_photographs(tmp_path, data_root):
    run(tmp_path, dataset=f"folder:{data_root}/cifar10-images", model="resnet20", limit=256, epochs=1, label_noise=0.0)


def test_the_words_hold_for_any_parameters():
    """What depends on the run (a scale, labels learned by heart) is said as a condition."""
    text = " ".join(cell.source for cell in nbformat.read(TOUR, as_version=4).cells if cell.cell_type == "markdown")
    for sentence in re.split(r"(?<=[.:)])\s", text):
        if "by heart" in sentence or "logarithmic" in sentence:
            assert re.search(r"\b(with wrong labels|where|whether|can)\b", sentence, re.IGNORECASE), sentence


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"rhoo": 0.1}, "rho"), ({"epochs": "many"}, "epochs"), ({"label_noise": "true"}, "label_noise")],
)
def test_wrong_parameters_are_refused_before_any_cell(tmp_path, parameters, message):
    with pytest.raises(NotebookError, match=message):
        run_notebook(TOUR, tmp_path / "out.ipynb", parameters=parameters, progress=False)
    assert not (tmp_path / "out.ipynb").exists()
