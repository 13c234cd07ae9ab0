"""One process of a run that has several: what torchrun starts, with the request as JSON in its one argument."""

from __future__ import annotations

import json
import os
import sys

import torch

from landscape.allocator import keep_freed_memory
from landscape.training.failures import write_error
from landscape.training.materials import resolve_device
from landscape.training.orphans import end_with
from landscape.training.run_config import RunConfig
from landscape.training.train import train_here
from landscape.training.world import World

_GRACE = 30.0  # seconds to save in where torchrun is no more; torchrun gives as much


def main(request: str) -> int:
    """Train this process's part, and write an error down where the starting process looks for it.

    Args:
        request: JSON, as :mod:`landscape.training.agent` makes it.

    Returns:
        0, or 2 where the error was written down.
    """
    asked = json.loads(request)
    end_with(asked["parent"], grace=_GRACE)
    try:
        config = RunConfig.from_dict(asked["config"])
        device = resolve_device(config.device)
        world = World.join(device)
        train_here(
            config,
            world=world,
            root=asked["root"],
            resume=asked["resume"],
            progress=asked["progress"] and world.leads,
            data_root=asked["data_root"],
            stop=None,
            tensorboard=asked["tensorboard"],
        )
    except Exception as error:
        write_error(asked["words"], f"rank {os.environ['RANK']}", error)
        return 2
    except KeyboardInterrupt:
        return 130
    torch.distributed.destroy_process_group()
    return 0


if __name__ == "__main__":
    keep_freed_memory()
    sys.exit(main(sys.argv[1]))
