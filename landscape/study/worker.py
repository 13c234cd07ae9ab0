"""The process behind one job of :func:`landscape.study.train_all`: ``python -m landscape.study.worker ROOT [DATA]``."""

from __future__ import annotations

import sys
from pathlib import Path

from landscape.allocator import keep_freed_memory
from landscape.study.executor import serve

if __name__ == "__main__":
    keep_freed_memory()
    serve(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
