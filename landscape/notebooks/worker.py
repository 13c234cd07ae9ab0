"""The process behind one notebook of several: ``python -m landscape.notebooks.worker PLACE``."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from landscape.notebooks.batch import serve
from landscape.training.interrupts import sigterm_as_interrupt

if __name__ == "__main__":
    with suppress(KeyboardInterrupt), sigterm_as_interrupt():
        serve(Path(sys.argv[1]))
