"""The global random state, rewound so that several passes draw the same numbers."""

from __future__ import annotations

from collections.abc import Iterable

import torch


class GlobalRandomness:
    """torch's global generators, of the CPU and of some devices, as they are now; :meth:`rewind` goes back to it."""

    def __init__(self, devices: Iterable[torch.device]) -> None:
        devices = set(devices)
        self._cpu = torch.get_rng_state() if devices else None
        self._cuda = {device: torch.cuda.get_rng_state(device) for device in devices if device.type == "cuda"}

    def rewind(self) -> None:
        """Set the generators back; nothing where no devices were given."""
        if self._cpu is not None:
            torch.set_rng_state(self._cpu)
        for device, state in self._cuda.items():
            torch.cuda.set_rng_state(state, device)
