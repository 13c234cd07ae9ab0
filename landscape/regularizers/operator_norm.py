"""A layer as a linear operator: its kernel as one matrix, as a circular convolution, and as it is computed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from landscape.errors import ModelError, first_line
from landscape.parameters import preserved, unwrapped
from landscape.precision import unrounded

Operator = Literal["reshaped", "convolution"]
OPERATORS: tuple[Operator, ...] = ("reshaped", "convolution")

Transposed = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d | Transposed
Layer = nn.Linear | Convolution
Size = tuple[int, ...]


def weight_layers(model: nn.Module) -> dict[str, Layer]:
    """Return the linear and convolutional layers of a model by the names of their weights, each weight once.

    Biases are no operators, and weights of normalization layers no matrices: neither is here. Nor are the weights that
    other layers keep under names of their own: recurrent layers (``weight_ih_l0``), what nn.MultiheadAttention reads
    with (``in_proj_weight``; its ``out_proj`` is a linear layer), nn.Bilinear and nn.Embedding.

    Args:
        model: Any module; what ``torch.compile`` and DataParallel wrapped is looked into.

    Raises:
        ModelError: It is no module, or has no such layer: the message names those that it has.

    Example:
        >>> list(weight_layers(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 1))))
        ['0.weight', '3.weight']
    """
    found: dict[tuple[int, ...], tuple[str, Layer]] = {}
    for name, module in unwrapped(model).named_modules():
        if isinstance(module, Layer):
            key = tuple(map(id, weight_parameters(module))) or (id(module),)
            found.setdefault(key, (f"{name}.weight" if name else "weight", module))
    if not found:
        raise ModelError(
            f"{type(model).__name__} has no spectral norms.",
            expected="at least one nn.Linear, nn.Conv1d to nn.Conv3d, or nn.ConvTranspose1d to nn.ConvTranspose3d",
            got=_parts(model),
            fix="Leave the spectral norms out for this model.",
        )
    return dict(found.values())


def weight_parameters(layer: nn.Module) -> list[nn.Parameter]:
    """Return the parameter that is a layer's weight, or those from which a parametrization computes it.

    The weight itself is not read: that of ``spectral_norm`` changes its buffers.

    Args:
        layer: Linear or a convolution.

    Example:
        >>> [tuple(each.shape) for each in weight_parameters(nn.utils.parametrizations.weight_norm(nn.Linear(2, 3)))]
        [(3, 1), (3, 2)]
    """
    own = layer._parameters.get("weight")
    return [each for name, each in layer.named_parameters() if name != "bias"] if own is None else [own]


def any_device(layers: Mapping[str, Layer]) -> str:
    """Return the kind of device that the weights are on."""
    return weight_parameters(next(iter(layers.values())))[0].device.type


def _parts(model: nn.Module) -> str:
    """The kinds of a model's modules that have parameters of their own, as text."""
    kinds = {type(each).__name__ for each in model.modules() if any(True for _ in each.parameters(recurse=False))}
    return f"only parameters of {', '.join(sorted(kinds))}" if kinds else "no parameters"


def input_sizes(model: nn.Module, inputs: Tensor) -> dict[str, Size]:
    """Find the height and width, or the length, of what each convolution reads, by one forward pass of two examples.

    Args:
        model: Any module; it comes back bit for bit, and so do the global generators.
        inputs: (B, ...) as the model reads them; only their shape and precision matter.

    Returns:
        By the names of the weights; of a layer that is used several times the first size, of one that is not used none.

    Raises:
        ModelError: The model cannot read these inputs.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.Conv2d(2, 1, 3))
        >>> input_sizes(model, torch.zeros(1, 1, 10, 8))
        {'0.weight': (10, 8), '2.weight': (4, 3)}
    """
    inner, sizes = unwrapped(model), {}

    def note(name: str, _: nn.Module, given: tuple[Tensor, ...]) -> None:
        sizes.setdefault(name, tuple(given[0].shape[2:]))

    layers = {name: layer for name, layer in weight_layers(inner).items() if not isinstance(layer, nn.Linear)}
    handles = [layer.register_forward_pre_hook(partial(note, name)) for name, layer in layers.items()]
    try:
        with preserved(inner), torch.no_grad():
            inner.eval()(inputs[:2])
    except RuntimeError as error:
        raise ModelError(
            "The sizes of what the convolutions read cannot be found.",
            expected="inputs that the model reads",
            got=f"shape {tuple(inputs.shape)}: {first_line(error)}",
            fix="Give inputs, or input_shape, as the model reads them.",
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return sizes


def reshaped(layer: Layer) -> Tensor:
    """Return a weight as one matrix that goes from inputs to outputs, with its graph.

    Of a convolution it is (out, in / groups * kh * kw); so it is of a transposed one, whose weight is stored as
    (in, out / groups, kh, kw). A weight in half precision gives a matrix in single precision.

    Args:
        layer: Linear or a convolution.
    """
    weight = unrounded(layer.weight)
    if isinstance(layer, Transposed):
        weight = weight.unflatten(0, (layer.groups, -1)).transpose(1, 2).flatten(0, 1)
    return weight.flatten(1)


def reshaped_back(layer: Layer, matrix: Tensor) -> Tensor:
    """Return a matrix as a weight: the inverse of :func:`reshaped`.

    Args:
        layer: Linear or a convolution.
        matrix: As that function gives it.
    """
    if isinstance(layer, Transposed):
        kernel = (layer.in_channels // layer.groups, *layer.kernel_size)
        return matrix.unflatten(1, kernel).unflatten(0, (layer.groups, -1)).transpose(1, 2).flatten(0, 1)
    return matrix.reshape(layer.weight.shape)


def circular_size(layer: Convolution, size: Size) -> Size:
    """Return the period of the circular convolution whose norm bounds that of the layer.

    ``n`` where the layer pads circularly. Else ``n + 2 padding``: a convolution of a padded signal is one of a circle
    as long as the padded signal, of which the places beyond the border are left out, and every stride leaves out more.
    A transposed convolution has the norm of the convolution that it is the transpose of, which reads what it gives.

    Args:
        layer: A convolution.
        size: Of what it reads, without padding.
    """
    if isinstance(layer, Transposed):
        read = zip(size, layer.stride, layer.dilation, layer.kernel_size, layer.output_padding, strict=True)
        return tuple((n - 1) * s + d * (k - 1) + more + 1 for n, s, d, k, more in read)
    if layer.padding_mode == "circular":
        return size
    if layer.padding == "same":
        return tuple(n + d * (k - 1) for n, k, d in zip(size, layer.kernel_size, layer.dilation, strict=True))
    padding: Any = (0,) * len(size) if isinstance(layer.padding, str) else layer.padding
    return tuple(n + 2 * p for n, p in zip(size, padding, strict=True))


def frequencies(layer: Convolution, period: Size) -> Tensor:
    """Return the matrices that a circular convolution multiplies the channels with, one for each frequency.

    Definition: ``K^(w) = sum_t K_t exp(-2 pi i sum_a w_a d_a t_a / n_a)`` over the taps t of the kernel, with the
    dilation d and the period n. The singular values of these matrices are those of the circular convolution with
    stride 1. The last axis has the frequencies 0 to n // 2; those of the others are their complex conjugates. Of a
    transposed convolution they are those of the convolution that it is the transpose of, so in and out change places.

    Args:
        layer: A convolution; a weight in half precision is taken in single.
        period: Of each spatial axis.

    Returns:
        (groups, n_1, ..., n_last // 2 + 1, out / groups, in / groups), complex.

    References:
        H. Sedghi, V. Gupta, P. Long, The Singular Values of Convolutional Layers, ICLR 2019, arXiv 1805.10408.
    """
    weight = unrounded(layer.weight).unflatten(0, (layer.groups, -1))  # (G, out, in, *kernel)
    values = torch.complex(weight, torch.zeros_like(weight))
    for axis, n in enumerate(period):  # one axis of taps to one of frequencies, at the end; so all axes go round
        waves = _waves(layer, axis, n, half=axis == len(period) - 1).to(values)
        values = values.movedim(3, -1) @ waves.mT
    return values.movedim((1, 2), (-2, -1))


def taps(layer: Convolution, spectrum: Tensor, period: Size) -> Tensor:
    """Return the kernel nearest to some matrices of frequencies: the inverse of :func:`frequencies`, cut to the taps.

    Args:
        layer: A convolution.
        spectrum: As :func:`frequencies` gives them.
        period: Of each spatial axis, at least the reach of the kernel, so that no two taps fall on one place.

    Returns:
        Shaped like the weight, real.
    """
    values, last = spectrum.movedim((-2, -1), (1, 2)), len(period) - 1  # (G, out, in, *frequencies)
    for axis, n in enumerate(period):
        waves = _waves(layer, axis, n, half=axis == last).conj() / n
        if axis == last:  # a frequency and its conjugate; 0 and n / 2 are their own
            twice = torch.full((waves.shape[0], 1), 2.0, dtype=waves.dtype, device=waves.device)
            twice[0] = 1.0
            if n % 2 == 0:
                twice[-1] = 1.0
            waves = waves * twice
        values = values.movedim(3, -1) @ waves.to(values)
    return values.real.flatten(0, 1)


def _waves(layer: Convolution, axis: int, n: int, *, half: bool) -> Tensor:
    """``exp(-2 pi i w d t / n)``, (frequencies, taps)."""
    options = {"dtype": torch.float64, "device": layer.weight.device}
    turns = torch.outer(
        torch.arange(n // 2 + 1 if half else n, **options),
        layer.dilation[axis] * torch.arange(layer.kernel_size[axis], **options),
    )
    angle = -2 * math.pi * (turns % n) / n
    return torch.complex(angle.cos(), angle.sin())


def eigen_of_grams(matrices: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor, bool]]:
    """Decompose ``M M^H``, or ``M^H M`` where that is smaller: all of one size in one call, in double precision.

    The roots of the eigenvalues are the singular values, and the vectors the singular vectors of the shorter side.
    Squaring loses half of the digits of small singular values, not of large ones; in double precision that is nothing.
    Of a matrix with values that are not finite the answer is that of a matrix of zeros.

    Args:
        matrices: (..., m, n) each, real or complex, on one device.

    Yields:
        Of each matrix the eigenvalues (..., k) in ascending order, the vectors (..., k, k), k = min(m, n), and whether
        they are of the rows (m <= n).
    """
    grams, by_size = [], {}
    for place, matrix in enumerate(matrices):
        wide = matrix.shape[-2] <= matrix.shape[-1]
        exact = matrix.detach().to(torch.complex128 if matrix.is_complex() else torch.float64)
        gram = exact @ exact.mH if wide else exact.mH @ exact
        grams.append(torch.where(gram.isfinite().all(), gram, torch.zeros_like(gram)))
        by_size.setdefault((gram.shape[-1], gram.dtype), []).append(place)
    found: dict[int, tuple[Tensor, Tensor]] = {}
    for (size, _), places in by_size.items():
        stacked = torch.cat([grams[place].reshape(-1, size, size) for place in places])
        values, vectors = torch.linalg.eigh(stacked)
        counts = [math.prod(grams[place].shape[:-2]) for place in places]
        parts = zip(places, values.split(counts), vectors.split(counts), strict=True)
        found |= {p: (v.reshape(grams[p].shape[:-1]), u.reshape(grams[p].shape)) for p, v, u in parts}
    for place, matrix in enumerate(matrices):
        yield *found[place], matrix.shape[-2] <= matrix.shape[-1]


def squared_norms(matrices: Sequence[Tensor]) -> list[Tensor]:
    """Return ``||M||^2`` of each matrix, the largest of a batch, with the exact gradient ``2 s u v^H``.

    Args:
        matrices: (..., m, n) each, real or complex.

    Returns:
        0-d tensors of real numbers; NaN where a matrix is.
    """
    found = []
    for matrix, (_, vectors, wide) in zip(matrices, eigen_of_grams(matrices), strict=True):
        top = vectors[..., -1:].to(matrix.dtype)
        image = matrix.mH @ top if wide else matrix @ top
        squares = torch.view_as_real(image).square().sum(-1) if image.is_complex() else image.square()
        found.append(squares.sum((-2, -1)).amax())
    return found
