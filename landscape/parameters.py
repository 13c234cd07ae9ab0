"""The weights as one flat vector, as named tensors, and as filters; and a model put back as it was found."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

import torch
from torch import Tensor, nn

from landscape.errors import ConfigError, MismatchError, ModelError, shown
from landscape.seeding import preserved_rng

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Layout:
    """How the trainable weights of a model lie in one flat vector of length P.

    Order: ``model.named_parameters()``, only floating-point parameters with ``requires_grad``; a parameter that is
    used in several places counts once. Build it with :meth:`of`.

    A *filter* is one slice along the output dimension of a tensor with two or more dimensions (dimension 0; dimension 1
    for transposed convolutions): the weights that make one output channel or one output unit. A tensor with no or one
    dimension (a bias, a normalization's scale) is one filter as a whole.

    Attributes:
        names: The parameters' names.
        shapes: Their shapes.
        filter_dims: The output dimension of each, or None for tensors with fewer than two dimensions.

    Example:
        >>> layout = Layout.of(torch.nn.Linear(3, 2))
        >>> layout.names, layout.size, layout.filters
        (('weight', 'bias'), 8, 3)
        >>> [round(norm**2, 5) for norm in layout.filter_norms(torch.ones(8)).tolist()]
        [3.0, 3.0, 2.0]

    References:
        H. Li et al., Visualizing the Loss Landscape of Neural Nets, NeurIPS 2018, section 4.
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    filter_dims: tuple[int | None, ...]

    @classmethod
    def of(cls, model: nn.Module) -> Layout:
        """Read the layout of a model.

        Args:
            model: Any module with at least one trainable floating-point parameter.

        Returns:
            The layout; the model is not changed.

        Raises:
            ModelError: It is no module, has no trainable weights, or lazy parameters that have no shape yet.
        """
        require_module(model)
        names, shapes, dims = [], [], []
        for prefix, module in model.named_modules():
            for local, parameter in module.named_parameters(recurse=False):
                if isinstance(parameter, nn.parameter.UninitializedParameter):
                    raise ModelError(
                        f"Parameter {prefix}.{local} has no shape yet.", fix="Run one batch through the model first."
                    )
        owners = {
            (f"{prefix}.{local}" if prefix else local): module
            for prefix, module in model.named_modules(remove_duplicate=False)
            for local, _ in module.named_parameters(recurse=False, remove_duplicate=False)
        }
        for name, parameter in model.named_parameters():
            if not (parameter.requires_grad and parameter.is_floating_point()):
                continue
            names.append(name)
            shapes.append(tuple(parameter.shape))
            transposed = isinstance(owners.get(name), _TRANSPOSED)
            dims.append(None if parameter.ndim < 2 else 1 if transposed else 0)
        if not names:
            raise ModelError(
                f"{type(model).__name__} has no trainable weights.",
                expected="at least one floating-point parameter with requires_grad",
                fix="Call model.requires_grad_(True) on the part that should move.",
            )
        return cls(names=tuple(names), shapes=tuple(shapes), filter_dims=tuple(dims))

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """The number of weights in each tensor."""
        return tuple(math.prod(shape) for shape in self.shapes)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """Where each tensor begins in the flat vector."""
        return tuple(sum(self.sizes[:k]) for k in range(len(self.sizes)))

    @cached_property
    def size(self) -> int:
        """P, the number of weights that move."""
        return sum(self.sizes)

    @cached_property
    def is_bias_or_norm(self) -> tuple[bool, ...]:
        """For each tensor, whether it has fewer than two dimensions (biases, normalization scales and shifts)."""
        return tuple(dim is None for dim in self.filter_dims)

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of the SHA-256 of all names and shapes: equal for models of one architecture."""
        text = repr((self.names, self.shapes, self.filter_dims))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def filters(self) -> int:
        """F, the number of filters."""
        return sum(1 if d is None else s[d] for d, s in zip(self.filter_dims, self.shapes, strict=True))

    def parameters_of(self, model: nn.Module) -> list[nn.Parameter]:
        """Return the model's parameters in this layout's order.

        Args:
            model: A model of this layout.

        Returns:
            The parameters themselves.

        Raises:
            MismatchError: A name is missing or a shape differs.
        """
        found = dict(model.named_parameters(remove_duplicate=False))
        for name, shape in zip(self.names, self.shapes, strict=True):
            if name not in found or tuple(found[name].shape) != shape:
                got = tuple(found[name].shape) if name in found else "no such parameter"
                raise MismatchError(
                    f"The model does not fit: parameter {name}.",
                    expected=shape,
                    got=got,
                    fix="Use the model it came from.",
                )
        return [found[name] for name in self.names]

    def subset(self, patterns: str | Sequence[str]) -> Layout:
        """Return the layout of some of the weights only.

        Args:
            patterns: What they are called: a parameter ("head.weight"), a module ("layer1", with all that is in it), or
                a pattern with ``*``, ``?`` or ``[...]`` for parameters ("*.bias"); one or several.

        Raises:
            ConfigError: One of them fits no weight that moves.

        Example:
            >>> Layout.of(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1))).subset("1").names
            ('1.weight', '1.bias')
        """
        several = isinstance(patterns, Iterable) and not isinstance(patterns, str | Tensor)
        fits: set[str] = set()
        for p in (list(patterns) if several else [patterns]) or [""]:
            text = p if isinstance(p, str) else ""
            named = {n for n in self.names if n == text or n.startswith(f"{text}.") or fnmatchcase(n, text)}
            if not named:
                modules = dict.fromkeys(name.rpartition(".")[0] or name for name in self.names)
                raise ConfigError(
                    f"No weight that moves is called {shown(p)}.",
                    expected="a parameter, a module or a pattern, such as " + ", ".join([*modules][:8]),
                    got=shown(patterns),
                    fix="See Layout.of(model).names for all.",
                )
            fits |= named
        chosen = [index for index, name in enumerate(self.names) if name in fits]
        return Layout(
            names=tuple(self.names[index] for index in chosen),
            shapes=tuple(self.shapes[index] for index in chosen),
            filter_dims=tuple(self.filter_dims[index] for index in chosen),
        )

    @cached_property
    def layers(self) -> dict[str, tuple[str, ...]]:
        """The parameters' names by the module that they belong to, in order; a parameter of the model's own by itself.

        A module whose parameters hold no numbers is none.

        Example:
            >>> Layout.of(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1))).layers
            {'0': ('0.weight', '0.bias'), '1': ('1.weight', '1.bias')}
        """
        found: dict[str, tuple[str, ...]] = {}
        for name, size in zip(self.names, self.sizes, strict=True):
            owner = name.rpartition(".")[0] or name
            if size:
                found[owner] = (*found.get(owner, ()), name)
        return found

    def flatten(self, source: nn.Module | Mapping[str, Tensor]) -> Tensor:
        """Copy a model's weights, or named tensors, into one flat vector.

        Args:
            source: A model of this layout, or name to tensor for every name.

        Returns:
            (P,), a detached copy.

        Raises:
            MismatchError: A name is missing or a shape differs.
        """
        if isinstance(source, nn.Module):
            tensors: list[Tensor] = list(self.parameters_of(source))
        else:
            missing = [
                n
                for n, s in zip(self.names, self.shapes, strict=True)
                if not isinstance(source, Mapping) or n not in source or tuple(source[n].shape) != s
            ]
            if missing:
                raise MismatchError(
                    f"Tensor {missing[0]} is missing or has another shape.",
                    expected="a model, or name to tensor for all names",
                    got=shown(source),
                    fix="Pass all named tensors.",
                )
            tensors = [source[name] for name in self.names]
        return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])

    def named(self, vector: Tensor) -> dict[str, Tensor]:
        """View a flat vector as named tensors; gradients flow through.

        Args:
            vector: (P,).

        Returns:
            Name to tensor, views of ``vector`` in the parameters' shapes.

        Raises:
            MismatchError: The vector is no tensor of shape (P,), or complex.
        """
        self.check(vector)
        pieces = vector.split(list(self.sizes))
        return {n: piece.view(s) for n, s, piece in zip(self.names, self.shapes, pieces, strict=True)}

    def check(self, vector: Tensor) -> None:
        """Raise a MismatchError unless ``vector`` is a tensor of shape (P,), of real numbers that have values."""
        if not isinstance(vector, Tensor):
            raise MismatchError(
                "A weight vector is no tensor.",
                expected=f"a tensor of shape ({self.size},)",
                got=shown(vector),
                fix="Use objective.weights(), or torch.as_tensor(array).",
            )
        if tuple(vector.shape) != (self.size,) or vector.is_complex() or vector.is_meta:
            raise MismatchError(
                "A vector does not fit the model's weights.",
                expected=f"shape ({self.size},), of real numbers",
                got=f"shape {tuple(vector.shape)}, {vector.dtype}, on {vector.device}",
                fix="Build it from the same model.",
            )

    def filter_index(self, device: torch.device | str = "cpu") -> Tensor:
        """Number the filters and say which one each weight belongs to.

        Args:
            device: Where the result lies.

        Returns:
            (P,) int64, values in [0, F), in the layout's order.
        """
        pieces, start = [], 0
        for shape, dim in zip(self.shapes, self.filter_dims, strict=True):
            count = 1 if dim is None else shape[dim]
            index = torch.arange(start, start + count, device=device)
            index = index.view([-1 if k == dim else 1 for k in range(len(shape))])  # () for a single number
            pieces.append(index.expand(shape).reshape(-1))
            start += count
        return torch.cat(pieces)

    def filter_norms(self, vector: Tensor) -> Tensor:
        """Return the Euclidean norm of each filter of a flat vector.

        Args:
            vector: (P,).

        Returns:
            (F,), in the order of :meth:`filter_index`.

        Raises:
            MismatchError: The vector is not of shape (P,).
        """
        norms = []
        for tensor, dim in zip(self.named(vector).values(), self.filter_dims, strict=True):
            rows = tensor.reshape(1, -1) if dim is None else tensor.movedim(dim, 0).flatten(1)
            norms.append(torch.linalg.vector_norm(rows, dim=1))
        return torch.cat(norms)


def require_module(
    model: object,
    what: str = "This is no model.",
    *,
    fix: str = "Pass the model itself; of an objective, objective.model.",
) -> None:
    """Raise a ModelError unless something is a module.

    Args:
        model: Anything.
        what: One sentence about what is wrong where it is none.
        fix: What to do then; of a module's class, to build one.
    """
    if not isinstance(model, nn.Module):
        if isinstance(model, type) and issubclass(model, nn.Module):
            fix = f"Build the model first: {model.__name__}(...)."
        raise ModelError(what, expected="a torch.nn.Module", got=shown(model), fix=fix)


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside ``torch.compile`` and DataParallel, whose weights are the same tensors.

    Args:
        model: Any module.

    Raises:
        ModelError: It is none, or its weights have no values: they are on the meta device.

    Example:
        >>> inner = torch.nn.Linear(1, 1)
        >>> unwrapped(torch.nn.DataParallel(inner)) is inner
        True
    """
    require_module(model)
    while True:
        parallel = nn.DataParallel, nn.parallel.DistributedDataParallel
        inner = model.module if isinstance(model, parallel) else getattr(model, "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            break
        model = inner
    if any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers())):
        raise ModelError(
            f"{type(model).__name__} is on the meta device, so its weights have no values.",
            fix="Call model.to_empty(device='cpu') and load its weights.",
        )
    return model


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Run a block and put a model back bit for bit, also after an exception or Ctrl-C.

    What comes back: weights, buffers, gradients, the mode of every module, ``requires_grad``, the global generators
    of Python, NumPy and torch, and torch's thread count. Tensors keep their storage.

    Args:
        model: Any module.

    Raises:
        ModelError: It is none.

    Example:
        >>> model = torch.nn.Linear(1, 1)
        >>> before = model.weight.detach().clone()
        >>> with preserved(model):
        ...     _ = model.eval().weight.data.zero_()
        >>> bool(torch.equal(before, model.weight)), model.training
        (True, True)
    """
    require_module(model)
    tensors = [*model.named_parameters(remove_duplicate=True), *model.named_buffers(remove_duplicate=True)]
    saved = [(t, t.data, t.detach().clone(), t.requires_grad) for _, t in tensors]
    grads = [(p, p.grad, None if p.grad is None else p.grad.detach().clone()) for p in model.parameters()]
    buffers = [(m, dict(m._buffers)) for m in model.modules()]
    modes = [(m, m.training) for m in model.modules()]
    threads = torch.get_num_threads()
    try:
        with preserved_rng():
            yield
    finally:
        for module, own in buffers:
            module._buffers.clear()
            module._buffers.update(own)
        for tensor, storage, value, requires_grad in saved:
            tensor.data = storage
            tensor.data.copy_(value)
            tensor.requires_grad_(requires_grad)
        for parameter, grad, value in grads:
            parameter.grad = grad
            if grad is not None and value is not None:
                grad.data.copy_(value)
        for module, mode in modes:
            module.training = mode
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
