"""The start of the ``landscape`` command, which needs nothing: where a package is broken it says what to do."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; where its packages cannot be imported, ``landscape doctor`` runs all the same.

    Args:
        arguments: The words after ``landscape``; the process's own by default.

    Returns:
        As :func:`landscape.cli.main`; 2 where a package is missing or broken.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words == ["--version"]:
        from landscape import __version__

        print(f"landscape {__version__}")
        return 0
    try:
        from landscape.cli import main as command
    except (ImportError, OSError, AttributeError) as error:  # a package half installed raises any of them
        if words == ["doctor"]:
            from landscape.doctor import diagnose, format_diagnosis

            print(format_diagnosis(diagnose()))
            return 1
        print(f"error: a package cannot be imported ({type(error).__name__}: {error}).", file=sys.stderr)
        print("`landscape doctor` says which, and what to do.", file=sys.stderr)
        return 2
    if arguments is None and words[:1] in (["train"], ["study"]):
        _keep_freed_memory()
    try:
        code = command(words)
        sys.stdout.flush()
    except BrokenPipeError:  # `landscape --help | head`: whoever read has left, and nothing more can be said
        os._exit(141)
    return code


def _keep_freed_memory() -> None:
    from landscape.allocator import keep_freed_memory

    keep_freed_memory()


if __name__ == "__main__":
    sys.exit(main())
