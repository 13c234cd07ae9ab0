"""What the doctor tries out in a process of its own; imported there by itself, without the package around it."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Sequence

MARK = "landscape-doctor "


def _report(**row: str) -> None:
    print(MARK + json.dumps(row), flush=True)


def imports(names: Sequence[str]) -> None:
    """Import modules one after the other and report each.

    Args:
        names: The modules.
    """
    for name in names:
        try:
            importlib.import_module(name)
            _report(name=name, error="")
        except BaseException as error:
            _report(name=name, error=f"{type(error).__name__}: {error}"[:300])


def devices(_: Sequence[str]) -> None:
    """Report every device, each after a real matrix product and a real convolution."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = [("cpu", f"{cores} cores, {torch.get_num_threads()} threads")]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = f"{properties.total_memory / 1e9:.0f} GB"
        capability = f"compute capability {properties.major}.{properties.minor}"
        found.append((f"cuda:{index}", f"{properties.name}, {memory}, {capability}, CUDA {torch.version.cuda}"))
    if torch.backends.mps.is_available():
        found.append(("mps", "Apple GPU"))
    for name, detail in found:
        _report(name=f"device {name}", detail=detail, error=_trouble_computing(name))


def _trouble_computing(device: str) -> str:
    """Multiply and convolve ones, whose results are known exactly; return what went wrong, or nothing."""
    import torch

    try:
        product = torch.ones(32, 64, device=device) @ torch.ones(64, 16, device=device)
        image, kernel = torch.ones(1, 3, 8, 8, device=device), torch.ones(4, 3, 3, 3, device=device)
        convolved = torch.nn.functional.conv2d(image, kernel)
        if not bool((product == 64).all()) or not bool((convolved == 27).all()):
            return "wrong results of a matrix product or a convolution of ones"
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:300]
    return ""


def kernel(_: Sequence[str]) -> None:
    """Report whether Jupyter knows a kernel called python3, and whether it runs this Python."""
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        command = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except NoSuchKernel:
        _report(error="Jupyter knows no kernel of that name", foreign="")
        return
    known = {"python", "python3", f"python{sys.version_info.major}.{sys.version_info.minor}"}
    ours = command in known or os.path.abspath(command) == os.path.abspath(sys.executable)
    _report(error="", foreign="" if ours else command)
