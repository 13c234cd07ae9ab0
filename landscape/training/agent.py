"""torchrun as the child of the process that asked for a run: it ends with that one, and writes down how its own end."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys

from torch.distributed import run as torchrun
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from landscape.storage.files import process_alive
from landscape.training.failures import write_endings, write_error
from landscape.training.orphans import end_with


def main(request: str) -> int:
    """Run torchrun until its processes have ended.

    Its report of a failure is long and names no cause; the process that started this one says it in a sentence, from
    what is written down. With ``LOGLEVEL`` in the environment torchrun's own lines are shown too.

    Args:
        request: JSON, as :mod:`landscape.training.launch` makes it.

    Returns:
        0, or 1 where a process failed, or 143 after SIGTERM.
    """
    asked = json.loads(request)
    end_with(asked["parent"])
    if "LOGLEVEL" not in os.environ:
        logging.disable(logging.CRITICAL)
    words = json.dumps({**asked, "parent": os.getpid()})
    processes = asked["config"]["nproc"]
    try:
        torchrun.main(["--standalone", f"--nproc-per-node={processes}", "-m", "landscape.training.rank", words])
    except ChildFailedError as error:
        write_endings(asked["words"], error.failures)
        return 1
    except SignalException:
        return 143
    except Exception as error:  # no process could be started
        write_error(asked["words"], "torchrun", error)
        return 1
    finally:
        if not process_alive(asked["parent"]):  # nobody else is left to do it
            shutil.rmtree(asked["words"], ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
