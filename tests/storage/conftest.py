"""Programs in processes of their own, for tests that kill them, lock them out or fill their disk."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import landscape

# Only landscape.storage is needed there: a package without its __init__, which would import torch for seconds.
HEADER = f"""
import sys, types
package = types.ModuleType("landscape")
package.__path__ = [{str(Path(landscape.__file__).parent)!r}]
sys.modules["landscape"] = package
"""


@pytest.fixture
def program() -> Iterator[Callable[..., subprocess.Popen]]:
    """``program(code, *arguments)`` starts Python code that can import landscape.storage; ended after the test."""
    started: list[subprocess.Popen] = []

    def start(code: str, *arguments: object) -> subprocess.Popen:
        command = [sys.executable, "-c", HEADER + textwrap.dedent(code), *map(str, arguments)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()
