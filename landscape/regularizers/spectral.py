"""Spectral norms of a model's layers, and a penalty on them."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn

from landscape.config import require, require_name
from landscape.errors import MismatchError, shown
from landscape.optim.backup import frozen_statistics
from landscape.parameters import preserved, unwrapped
from landscape.regularizers import checks
from landscape.regularizers.base import Forward, Penalty
from landscape.regularizers.operator_norm import (
    OPERATORS,
    Layer,
    Operator,
    Size,
    any_device,
    circular_size,
    frequencies,
    input_sizes,
    reshaped,
    squared_norms,
    weight_layers,
)
from landscape.regularizers.power_iteration import PowerIteration

Method = Literal["power", "svd"]


def spectral_norms(
    model: nn.Module,
    *,
    operator: Literal["reshaped", "circular", "convolution"] = "reshaped",
    inputs: Tensor | None = None,
    iterations: int = 200,
) -> dict[str, Tensor]:
    """Compute the spectral norm, the largest singular value, of each linear and convolutional layer.

    Convolutions are those of one to three dimensions, and transposed ones. Other layers have none here: recurrent
    layers, the ``in_proj_weight`` of nn.MultiheadAttention, nn.Bilinear and nn.Embedding are passed over.

    Three operators are in use for a convolution, whose norms differ:

    - "reshaped": the kernel as a matrix (out, in * kh * kw), from inputs to outputs also where the convolution is
      transposed. Exact. It is the one of the published experiments, and depends on the kernel alone.
    - "circular": the circular convolution with stride 1 on the padded input. Exact: the largest norm of its matrices by
      frequency. It bounds the norm of the layer's own convolution from above where that pads with zeros or circularly.
      For a transposed convolution it is that of the convolution that it is the transpose of.
    - "convolution": what the layer computes, with its stride, padding, dilation and groups: by power iterations, from
      below.

    With kernels of kh x kw taps and one group, ``reshaped <= circular <= sqrt(kh * kw) * reshaped``.

    Args:
        model: It is not changed.
        operator: Which one of a convolution; linear layers are matrices.
        inputs: (B, ...) as the model reads them, for the sizes of what the convolutions read; needed for "circular"
            and "convolution".
        iterations: Power iterations for "convolution". Default 200: 1e-4 of the value where the second singular value
            is 2 % below.

    Returns:
        0-d tensors by the names of the weights, those in half precision in single; NaN where a weight is.

    Raises:
        ModelError: The model has no such layer, or cannot read the inputs.
        ConfigError: The operator is unknown, or inputs are missing.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1, bias=False))
        >>> with torch.no_grad(): _ = model[0].weight.fill_(1.0)
        >>> spectral_norms(model)["0.weight"].item()  # the root of 9 squares
        3.0
        >>> spectral_norms(model, operator="circular", inputs=torch.zeros(1, 1, 8, 8))["0.weight"].item()  # of ones
        9.0

    References:
        H. Sedghi, V. Gupta, P. Long, The Singular Values of Convolutional Layers, ICLR 2019, arXiv 1805.10408.
    """
    require_name("operator", operator, (*OPERATORS, "circular"))
    checks.count("iterations", iterations)
    given = operator == "reshaped" or isinstance(inputs, Tensor)
    require(given, "inputs", f"a batch, for operator={operator!r}", inputs, "Give inputs as the model reads them.")
    layers = weight_layers(model)
    sizes = {} if operator == "reshaped" or inputs is None else input_sizes(model, inputs)
    with preserved(unwrapped(model)), torch.no_grad(), torch.autocast(any_device(layers), enabled=False):
        if operator != "convolution":
            matrices = [operator_matrices(layer, sizes.get(name)) for name, layer in layers.items()]
            return dict(zip(layers, (each.sqrt() for each in squared_norms(matrices)), strict=True))
        found = {}
        for name, layer in layers.items():
            search = PowerIteration(layer, sizes.get(name), name)
            search.advance(iterations)
            found[name] = search.value()
    return found


def operator_matrices(layer: Layer, size: Size | None) -> Tensor:
    """Return the matrices whose singular values are those of a layer, with their graph.

    Args:
        layer: Linear or a convolution.
        size: Of what a convolution reads, for those of the circular convolution; None for the reshaped kernel.

    Returns:
        (out, in), (out, in * kh * kw) or complex (groups, frequencies ..., out / groups, in / groups).
    """
    if size is None or isinstance(layer, nn.Linear):
        return reshaped(layer)
    return frequencies(layer, circular_size(layer, size))


class SpectralPenalty(Penalty):
    """A penalty on the spectral norms of all linear and convolutional layers.

    Definition: ``weight * sum_W (u' W v)^2``, with u and v the singular vectors that belong to the largest singular
    value, taken as fixed: the penalty is then ``weight * sum_W ||W||^2``, and its gradient ``2 weight ||W|| u v'``.
    The last linear layer is one of them, transposed convolutions too. Biases and normalization layers are left out, and
    so are the weights of recurrent layers, of nn.MultiheadAttention (``in_proj_weight``), nn.Bilinear and nn.Embedding.

    With ``method="power"`` u and v come from a few power iterations a step, which go on from those of the step before;
    they advance once a step, so all passes of a step see the same. Nothing waits for the device. With ``method="svd"``
    they are exact in every call, which costs a decomposition of every layer.

    Args:
        weight: At least 0. Default 0.01, that of the published experiments.
        method: "power" or "svd".
        iterations: Power iterations a step, at least 1. Default 2, as published.
        operator: "reshaped" (default, as published): the kernel as a matrix (out, in * kh * kw), from inputs to outputs
            also where the convolution is transposed (its weight is stored as (in, out, kh, kw)). "convolution": what
            the layer computes ("power"), or the circular convolution on the padded input that bounds it ("svd"); the
            sizes of what the layers read are found in the first call. See :func:`spectral_norms`.
        seed: Names the random first vectors.

    Raises:
        ConfigError: A setting is out of range.
        ModelError: On the first call: the model is no module, or has no such layer.

    Example:
        >>> model = nn.Linear(2, 2, bias=False)
        >>> with torch.no_grad(): _ = model.weight.copy_(torch.tensor([[3.0, 0.0], [0.0, 1.0]]))
        >>> penalty = SpectralPenalty(weight=0.1, method="svd")
        >>> value = penalty(model, torch.zeros(1, 2), torch.zeros(1, dtype=torch.long))
        >>> value.backward()
        >>> round(value.item(), 4), model.weight.grad.mul(10).round().tolist()
        (0.9, [[6.0, 0.0], [0.0, 0.0]])

    References:
        A. Bietti et al., A Kernel Perspective for Regularizing Deep Neural Networks, ICML 2019, section 3.
        Y. Yoshida, T. Miyato, Spectral Norm Regularization for Improving the Generalizability of Deep Learning, 2017.
    """

    def __init__(
        self,
        *,
        weight: float = 0.01,
        method: Method = "power",
        iterations: int = 2,
        operator: Operator = "reshaped",
        seed: int = 0,
    ) -> None:
        super().__init__()
        require_name("method", method, ("power", "svd"))
        require_name("operator", operator, OPERATORS)
        self.weight, self.seed = checks.amount("weight", weight), checks.whole("seed", seed)
        self.iterations, self.method, self.operator = checks.count("iterations", iterations), method, operator
        self._sizes: dict[str, Size] = {}
        self._sized_for: tuple[list[int], tuple[int, ...]] | None = None
        self._searches: dict[str, PowerIteration] = {}
        self._of: list[tuple[Any, ...]] = []
        self._advanced: int | None = None
        self._loaded: dict[str, Tensor] = {}

    def __call__(
        self, model: Forward, inputs: Tensor, targets: Tensor, *, outputs: Tensor | None = None, step: int | None = None
    ) -> Tensor:
        """Compute the penalty; inputs are read only for their shape, the first time.

        Args:
            model: The module itself, which has the layers.
            inputs: (B, ...) as the model reads them.
            targets: Not read.
            outputs: Not read.
            step: Steps done before; the power iterations go on when it changes.

        Returns:
            0-d tensor with a graph to the weights; in single precision where these are in half.

        Raises:
            ModelError: The model is no module, or has no such layer.
            MismatchError: The vectors that were loaded belong to another model.
        """
        module: Any = model
        layers = weight_layers(module)
        if self.operator == "convolution":
            self._look(module, layers, inputs)
        now = self.number(step)
        computed = any("weight" not in layer._parameters for layer in layers.values())  # spectral_norm's has buffers
        kept = frozen_statistics(module, "all") if computed else nullcontext()
        with kept, torch.autocast(inputs.device.type, enabled=False), torch.inference_mode(False), torch.enable_grad():
            if self.method == "svd":
                squares = squared_norms([operator_matrices(layer, self._sizes.get(n)) for n, layer in layers.items()])
            else:
                squares = [search.value().square() for search in self._searched(layers, now)]
            return self.weight * torch.stack(squares).sum()

    def _look(self, module: nn.Module, layers: dict[str, Any], inputs: Tensor) -> None:
        """Find the sizes of what the layers read; anew where layers or inputs are others."""
        sized_for = ([id(layer) for layer in layers.values()], tuple(inputs.shape[1:]))
        if sized_for != self._sized_for:
            self._sizes = input_sizes(module, inputs)
            self._sized_for, self._of = sized_for, []

    def _searched(self, layers: dict[str, Any], now: int) -> list[PowerIteration]:
        """The searches, advanced once a step."""
        with torch.no_grad():
            ids = [(id(layer), layer.weight.device, layer.weight.dtype) for layer in layers.values()]
            if ids != self._of:
                moved = [each[0] for each in ids] == [each[0] for each in self._of]  # to another device or precision
                known = self._loaded or (self._vectors() if moved else {})
                fresh = {
                    name: PowerIteration(layer, self._sizes.get(name), name, self.seed)
                    for name, layer in layers.items()
                }
                _put(fresh, known)
                self._advanced = self._advanced if known else None
                self._searches, self._of, self._loaded = fresh, ids, {}
            if now != self._advanced:
                for search in self._searches.values():
                    search.advance(self.iterations)
                self._advanced = now
        return list(self._searches.values())

    def _vectors(self) -> dict[str, Tensor]:
        return _vectors_of(self._searches)

    def state_dict(self) -> dict[str, Any]:
        """Return copies of the singular vectors, and the number of the step they are of; nothing before the first."""
        vectors = self._vectors() or self._loaded
        if not vectors or self._advanced is None:
            return {}
        return {"step": torch.tensor(self._advanced), **{name: each.detach().clone() for name, each in vectors.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from the singular vectors of another one, bit for bit.

        Args:
            state: Of :meth:`state_dict`.

        Raises:
            MismatchError: It is of something else.
        """
        if not state:
            return
        if not all(isinstance(each, Tensor) for each in (state.get("step"), *state.values())):
            what = "This is no state of a SpectralPenalty."
            raise MismatchError(what, expected="step, and tensors by name", got=shown(state))
        self._advanced = int(state["step"])
        self._next = self._advanced + 1
        self._loaded = {name: tensor.detach().clone() for name, tensor in state.items() if name != "step"}
        self._searches, self._of = {}, []


def _vectors_of(searches: dict[str, PowerIteration]) -> dict[str, Tensor]:
    found = {}
    for name, search in searches.items():
        found |= {f"{name}.u": search.u, f"{name}.v": search.v}
    return found


def _put(searches: dict[str, PowerIteration], vectors: dict[str, Tensor]) -> None:
    """Let searches go on from some vectors."""
    if not vectors:
        return
    mine = _vectors_of(searches)
    shapes, others = ({n: tuple(t.shape) for n, t in each.items()} for each in (mine, vectors))
    if shapes != others:
        name = next(name for name in sorted({*shapes, *others}) if shapes.get(name) != others.get(name))
        raise MismatchError(
            "These singular vectors belong to another model.",
            expected=f"{name} of shape {shapes.get(name, 'none')}",
            got=f"shape {others.get(name, 'none')}",
            fix="Load the state of a penalty on this model, or start with a new one.",
        )
    for name, tensor in mine.items():
        tensor.copy_(vectors[name])
