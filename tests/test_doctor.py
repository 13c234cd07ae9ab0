"""The doctor reports what is broken, and never breaks itself."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from landscape import doctor, doctor_probes
from landscape.doctor import Check, Diagnosis, diagnose, format_diagnosis

ROOT = Path(__file__).parents[1]


def split(requirement: str) -> tuple[str, str]:
    name, _, bounds = requirement.partition(">=")
    return name.partition("[")[0], bounds.partition(",")[0]


def test_the_tables_agree_with_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {name: least for name, (_, least) in doctor.PACKAGES.items()} == dict(map(split, project["dependencies"]))
    extras = {extra: tuple(split(r)[0] for r in names) for extra, names in project["optional-dependencies"].items()}
    assert extras == doctor.EXTRAS


def test_this_environment(tmp_path):
    diagnosis = diagnose(data_root=tmp_path / "data", runs_root=tmp_path / "runs")
    found = {check.name: check for check in diagnosis.checks}
    assert [c for c in diagnosis.checks if c.status == "error"] == []
    assert diagnosis.healthy
    assert {"Python", "torch", "sklearn", "device cpu", "kernel python3"} - found.keys() == {"sklearn"}
    assert set(doctor.PACKAGES) < set(found)
    assert list(tmp_path.iterdir()) == []
    assert all(check.fix for check in diagnosis.checks if check.status != "ok")


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """Packages that can be imported, raise, exit, and take the process down with them."""
    sources = {
        "good_one": "",
        "bad_one": "raise OSError('libnone.so: cannot open shared object file')",
        "exiting": "raise SystemExit(3)",
        "deadly": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        "good_two": "print('a line that a package prints')",
        "quitter": "import os; os._exit(5)",
    }
    for name, source in sources.items():
        (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(doctor, "PACKAGES", {name: (name, "1.0") for name in (*sources, "not-there")})
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "not-there" else "1.5")


def test_broken_packages_are_reported_and_the_rest_is_still_looked_at(planted):
    checks = {check.name: check for check in doctor._check_packages()}
    assert {name: check.status for name, check in checks.items()} == {
        "good_one": "ok",
        "bad_one": "error",
        "exiting": "error",
        "deadly": "error",
        "good_two": "ok",
        "quitter": "error",
        "not-there": "error",
    }
    assert "libnone.so" in checks["bad_one"].detail
    assert "SystemExit" in checks["exiting"].detail
    assert "signal 11" in checks["deadly"].detail
    assert "code 5" in checks["quitter"].detail
    assert checks["not-there"].detail == "not installed"
    assert all(check.fix for check in checks.values() if check.status == "error")


def test_a_package_that_hangs_is_reported(monkeypatch):
    monkeypatch.setattr(doctor, "_RUN", "import time; time.sleep(60)")
    assert doctor._probe("imports", ["x"], timeout=0.5) == ([], "no answer after 0 s")


@pytest.mark.parametrize(
    ("version", "least", "older"),
    [("2.9.1", "2.10", True), ("2.10", "2.10", False), ("2.15.0+cpu", "2.10", False), ("0.0.2.post1", "0.0.2", False),
     ("2.10.0rc1", "2.10", False), ("", "1", True)],
)  # fmt: skip
def test_versions_are_compared_as_numbers(version, least, older):
    assert doctor._older(version, least) == older


def test_an_old_package_is_an_error():
    assert doctor._package("torch", "9999", {}).detail.endswith("older than 9999")


@pytest.mark.parametrize(("version", "status"), [("4.24.1", "ok"), ("4.25.0", "warning"), (None, "error")])
def test_jsonschema(monkeypatch, version, status):
    monkeypatch.setattr(doctor, "_version", lambda name: version)
    (check,) = doctor._check_jsonschema()
    assert check.status == status


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (check,) = doctor._check_folders({"runs folder": tmp_path / "file"})
    assert check.status == "error"
    assert str(tmp_path / "file") in check.detail
    monkeypatch.setattr(doctor, "_LITTLE_DISK_GB", 1e9)
    (check,) = doctor._check_folders({"runs folder": tmp_path})
    assert check.status == "warning"


def test_devices_are_tried_out(monkeypatch, capsys):
    doctor_probes.devices([])
    assert '"device cpu"' in capsys.readouterr().out
    assert doctor_probes._trouble_computing("cpu") == ""
    assert "Error" in doctor_probes._trouble_computing("cuda:99")


def test_a_device_that_computes_wrongly_is_an_error(monkeypatch):
    monkeypatch.setattr("torch.nn.functional.conv2d", lambda image, kernel: image.new_zeros(1))
    assert "wrong results" in doctor_probes._trouble_computing("cpu")
    rows = [{"name": "device cuda:0", "detail": "a GPU", "error": "RuntimeError: no kernel image"}]
    monkeypatch.setattr(doctor, "_probe", lambda *_: (rows, "crashed with signal 11"))
    device, crash = doctor._check_devices()
    assert device.status == crash.status == "error"
    assert "no kernel image" in device.detail


@pytest.mark.parametrize(
    ("rows", "trouble", "status"),
    [([], "crashed", "error"), ([{"error": "", "foreign": ""}], "", "ok"),
     ([{"error": "none", "foreign": ""}], "", "error"),
     ([{"error": "", "foreign": "/usr/bin/python3"}], "", "warning")],
)  # fmt: skip
def test_kernel(monkeypatch, rows, trouble, status):
    monkeypatch.setattr(doctor, "_probe", lambda *_: (rows, trouble))
    (check,) = doctor._check_kernel()
    assert check.status == status


def test_chromium_is_optional(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    (check,) = doctor._check_chromium()
    assert check.status == "missing"
    assert Diagnosis(checks=(check,)).healthy


def test_a_check_that_fails_in_an_unforeseen_way_is_reported(monkeypatch):
    def ill(*_):
        raise MemoryError("out of memory")

    for name in ("_check_packages", "_check_devices", "_check_kernel", "_check_folders", "_check_extras"):
        monkeypatch.setattr(doctor, name, ill)
    diagnosis = diagnose()
    assert diagnosis.count("error") == 5
    assert not diagnosis.healthy
    assert "MemoryError: out of memory" in format_diagnosis(diagnosis)


def test_the_text_lines_up():
    checks = (
        Check(name="a", status="ok", detail="1"),
        Check(name="long name", status="error", detail="broken", fix="Mend it."),
    )
    assert format_diagnosis(Diagnosis(checks=checks)).splitlines() == [
        "ok       a          1",
        "error    long name  broken",
        "                    -> Mend it.",
        "",
        "1 ok, 0 warnings, 0 missing, 1 error.",
    ]


def test_the_probes_run_without_the_package_around_them():
    code = f"import runpy, sys; runpy.run_path({doctor_probes.__file__!r}); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
