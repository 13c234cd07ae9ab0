"""A module called with other tensors in the place of its parameters."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


class Substitution:
    """Calls a module with tensors in the place of parameters, wherever it holds these; then they are back.

    ``torch.func.functional_call`` goes by names. A module that is registered under two of them (as ``self.first`` and
    in ``self.layers``) is given its tensor twice, and what is put back at the end is that tensor: the module keeps it.
    Here each place is one place.

    Args:
        module: Which is called. It may hold some of the parameters only.
        parameters: Name to parameter.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(1, 1, bias=False))
        >>> model.again = model[0]
        >>> call = Substitution(model, dict(model.named_parameters()))
        >>> one, weight = torch.ones(1, 1), model[0].weight
        >>> call({"0.weight": 2 * one}, one).item(), model[0].weight is weight
        (4.0, True)
    """

    def __init__(self, module: nn.Module, parameters: Mapping[str, nn.Parameter]) -> None:
        self.module = module
        names = {id(parameter): name for name, parameter in parameters.items()}
        self._held: list[dict[str, Any]] = []
        self._own: list[dict[str, nn.Parameter]] = []
        self._names: list[dict[str, str]] = []
        for owner in module.modules():
            own = {local: p for local, p in owner._parameters.items() if p is not None and id(p) in names}
            if own:
                self._held.append(owner._parameters)
                self._own.append(own)
                self._names.append({local: names[id(parameter)] for local, parameter in own.items()})

    def __call__(self, tensors: Mapping[str, Tensor], inputs: Any) -> Any:
        """Return the module's outputs.

        Args:
            tensors: Name to tensor, for all the names.
            inputs: The module's one argument.
        """
        try:
            for held, local_names in zip(self._held, self._names, strict=True):
                held.update({local: tensors[name] for local, name in local_names.items()})
            return self.module(inputs)
        finally:
            deque(map(dict.update, self._held, self._own), maxlen=0)  # in one go: Ctrl-C finds no half of it
