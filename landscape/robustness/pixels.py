"""A classifier as a function of pixels: the normalization inside, the weights fixed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from landscape.datasets import Dataset
from landscape.errors import ConfigError, LandscapeError, ModelError, first_line, shown
from landscape.objective import Objective
from landscape.parameters import unwrapped
from landscape.replica import copied

_TIE = 1e-12  # logits that are all one have no scale
LOSSES = ("cross_entropy", "margin", "dlr")


class PixelModel:
    """What a model answers to images whose pixels run from 0 to 1.

    Definition: ``logits(x) = model((x - mean) / std)``, in evaluation mode, with a private copy of the model; so a
    radius is one in the units of the picture, whatever the normalization. Floating-point inputs (signals, points) stand
    for themselves and have no limits.

    Args:
        model: The classifier; it is not changed.
        data: Says how inputs are normalized, and whether they are images.

    Attributes:
        objective: The same model and data as a loss.
        low: 0 for images; None where inputs have no limits.
        high: 1 for images; None where inputs have no limits.

    Raises:
        ModelError: The model cannot be copied, or does not classify these inputs.
    """

    def __init__(self, model: nn.Module, data: Dataset) -> None:
        try:
            objective = Objective(_with_weights_that_move(model, data), data)
        except LandscapeError:
            raise
        except (RuntimeError, ValueError, TypeError) as error:  # of the cross-entropy of what the model gives
            raise _no_classifier(model, data, first_line(error)) from error
        self.objective, self._data, self._dtype = objective, data, objective.dtype
        self._replica = objective.replica()[1]
        self.device = objective.device
        self.low, self.high = (0.0, 1.0) if data.inputs.dtype == torch.uint8 else (None, None)
        with torch.no_grad():
            logits = self(self.pixels(slice(0, 1)))
        if logits.ndim != 2 or logits.shape[1] < data.classes:
            raise _no_classifier(model, data, tuple(logits.shape))

    def pixels(self, chosen: slice) -> Tensor:
        """Return some of the data's inputs, (B, ...), in units of [0, 1] where they are images."""
        inputs = self._data.inputs[chosen].to(self.device)
        images = inputs.dtype == torch.uint8
        return inputs.to(self._dtype) / 255.0 if images else inputs.to(self._dtype)

    def labels(self, chosen: slice) -> Tensor:
        """Return their labels, (B,)."""
        return self._data.targets[chosen].to(self.device)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return the logits, (B, K), of inputs (B, ...)."""
        logits = self._replica(self._data.normalize(pixels, self._dtype))
        if not isinstance(logits, Tensor):
            raise ModelError(
                "The model's outputs are no tensor of logits.", got=type(logits).__name__,
                fix="Wrap it so that it returns logits of shape (B, K).",
            )  # fmt: skip
        return logits

    def inside(self, pixels: Tensor) -> Tensor:
        """Return the nearest inputs that are images."""
        return pixels if self.low is None else pixels.clamp(self.low, self.high)

    def gradient(
        self, pixels: Tensor, labels: Tensor, loss: str, targets: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the gradient of each example's loss by its own input, and the logits, both detached.

        Args:
            pixels: (B, ...).
            labels: (B,).
            loss: One of LOSSES; see :func:`losses_of`.
            targets: (B,) the classes to reach; None for any.

        Returns:
            (B, ...) and (B, K).

        Raises:
            ModelError: The outputs do not depend on the inputs in a way that can be differentiated.
        """
        pixels = pixels.detach().requires_grad_()
        with torch.enable_grad():
            logits = self(pixels)
            try:
                (gradient,) = torch.autograd.grad(losses_of(logits, labels, loss, targets).sum(), pixels)
            except RuntimeError as error:
                raise ModelError(
                    "The model's outputs cannot be differentiated by its inputs.",
                    got=first_line(error),
                    fix="Take .detach() and torch.no_grad() out of forward, or use an attack without gradients.",
                ) from error
        return gradient, logits.detach()


def _with_weights_that_move(model: nn.Module, data: Dataset) -> nn.Module:
    """The model, or a copy where all its weights are frozen: a loss is a function of some that are not.

    A model without any gets a weight of no numbers, where its buffers are, or the data.
    """
    if not isinstance(model, nn.Module) or any(parameter.requires_grad for parameter in model.parameters()):
        return model
    twin = copied(unwrapped(model))
    moving = [each.requires_grad_() for each in twin.parameters() if each.is_floating_point()]
    if not moving:
        like = next((each for each in twin.buffers() if each.is_floating_point()), data.inputs)
        dtype = like.dtype if like.is_floating_point() else torch.get_default_dtype()
        twin.register_parameter("no_weights", nn.Parameter(torch.zeros(0, dtype=dtype, device=like.device)))
    return twin


def _no_classifier(model: nn.Module, data: Dataset, got: object) -> ModelError:
    return ModelError(
        f"{type(model).__name__} does not classify these inputs.",
        expected=f"logits of shape (B, {data.classes})",
        got=got,
        fix="Robust accuracy is defined for classifiers: one label for an input.",
    )


def losses_of(logits: Tensor, labels: Tensor, loss: str, targets: Tensor | None = None) -> Tensor:
    """Compute what an attack climbs, for each example: (B,).

    ``cross_entropy`` is ``z = log sum_{k != y} exp f_k - f_y``. The cross-entropy is ``log(1 + exp z)``, so steepest
    steps on z are steepest steps on it; but its own gradient is 0 in floating point where a network is very sure, and
    attacks that follow it find such networks robust. ``margin`` is ``max_{k != y} f_k - f_y``, above 0 where the
    example is misclassified. ``dlr``, the difference of logits ratio, is the margin divided by ``f_(1) - f_(3)``, the
    difference of the largest logit and the third, so that it does not depend on the scale of the logits; with a target
    t it is ``(f_t - f_y) / (f_(1) - (f_(3) + f_(4)) / 2)``. With fewer than three classes, or four with a target,
    it is not divided.

    Args:
        logits: (B, K).
        labels: (B,).
        loss: "cross_entropy", "margin" or "dlr".
        targets: (B,) the only other class that counts; None for all.

    Raises:
        ConfigError: The loss is unknown.

    Example:
        >>> logits, label = torch.tensor([[3.0, 1.0, 1.0]]), torch.tensor([0])
        >>> losses_of(logits, label, "margin").item(), round(losses_of(logits, label, "cross_entropy").exp().item(), 4)
        (-2.0, 0.2707)

    References:
        N. Carlini, D. Wagner, Towards Evaluating the Robustness of Neural Networks, S&P 2017, section IV (the margin,
        and the cross-entropy's vanishing gradient). F. Croce, M. Hein, Reliable Evaluation of Adversarial Robustness
        with an Ensemble of Diverse Parameter-free Attacks, ICML 2020, section 4 (the ratio).
    """
    others = logits.scatter(1, labels.unsqueeze(1), -torch.inf)
    own = logits.gather(1, labels.unsqueeze(1)).squeeze(1)
    if targets is not None:
        others = logits.gather(1, targets.unsqueeze(1))
    if loss == "cross_entropy":
        return others.logsumexp(1) - own
    if loss == "margin":
        return others.amax(1) - own
    if loss == "dlr":
        return (others.amax(1) - own) / _scale(logits, targets is not None)
    raise ConfigError("The loss of an attack is unknown.", expected=" or ".join(LOSSES), got=shown(loss))


def _scale(logits: Tensor, targeted: bool) -> Tensor:
    """What the difference of two logits is divided by, (B,); 1 where the ratio would be the same everywhere."""
    least = 4 if targeted else 3
    if logits.shape[1] < least:
        return torch.ones_like(logits[:, 0])
    largest = logits.topk(least, dim=1).values
    low = largest[:, 2:].mean(1) if targeted else largest[:, 2]
    return (largest[:, 0] - low).clamp(min=_TIE)


def wrong(logits: Tensor, labels: Tensor) -> Tensor:
    """Return which examples are misclassified, (B,) bool; logits that are not finite classify nothing."""
    return (logits.argmax(1) != labels) | ~logits.isfinite().all(1)
