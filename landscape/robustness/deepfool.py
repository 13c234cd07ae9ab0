"""DeepFool: the nearest border of the classes, taken as flat, again and again."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape.balls import Norm, broadcast, size, steepest
from landscape.robustness.pixels import PixelModel, wrong


def deepfool(
    model: PixelModel, clean: Tensor, labels: Tensor, norm: Norm, *, steps: int, overshoot: float, candidates: int
) -> tuple[Tensor, Tensor]:
    """Look for the smallest change that breaks each example.

    Definition: with ``f'_k = f_k - f_y`` and its gradient ``w'_k``, the nearest border is that of the class k with the
    least ``|f'_k| / ||w'_k||_q`` (q = 2 for L2, 1 for L-infinity). The step goes there; steps are added up, and
    ``x + (1 + overshoot) * sum`` is tried. On a linear model one step finds the smallest change.

    Args:
        model: What is attacked.
        clean: (B, ...) pixels.
        labels: (B,).
        norm: "l2" or "linf".
        steps: Steps at most.
        overshoot: How far beyond the border, as a share of the way.
        candidates: How many classes are looked at: those with the largest logits.

    Returns:
        (B,) the sizes of the changes found, NaN where none was found; and (B, ...) the changes, 0 there.
    """
    found = torch.full((len(clean),), torch.nan, dtype=clean.dtype, device=clean.device)
    changes = torch.zeros_like(clean)
    rows, change = torch.arange(len(clean), device=clean.device), torch.zeros_like(clean)
    others = most_likely(model, clean, labels, candidates)
    for step in range(steps + 1):
        x, y = clean[rows], labels[rows]
        tried = model.inside(x + (1.0 + overshoot) * change) - x
        with torch.no_grad():
            missed = wrong(model(x + tried), y)
        found[rows[missed]], changes[rows[missed]] = size(tried[missed], norm), tried[missed]
        if step == steps or bool(missed.all()):
            break
        rows, x, y, change, others = (each[~missed] for each in (rows, x, y, change, others))
        change = change + _to_the_border(model, x + (1.0 + overshoot) * change, y, others, norm)
    return found, changes


def most_likely(model: PixelModel, clean: Tensor, labels: Tensor, count: int) -> Tensor:
    """Return the classes beside the label whose logits are largest, (B, count or fewer)."""
    with torch.no_grad():
        logits = model(clean).scatter(1, labels.unsqueeze(1), -torch.inf)
    return logits.topk(min(count, logits.shape[1] - 1), dim=1).indices


def _to_the_border(model: PixelModel, pixels: Tensor, labels: Tensor, others: Tensor, norm: Norm) -> Tensor:
    """The shortest step to a border, by the gradients at these points, (B, ...)."""
    pixels = model.inside(pixels).detach().requires_grad_()
    with torch.enable_grad():
        logits = model(pixels)
        own = logits.gather(1, labels.unsqueeze(1))
        gaps = logits.gather(1, others) - own  # (B, C)
        gradients = [torch.autograd.grad(gap.sum(), pixels, retain_graph=True)[0] for gap in gaps.unbind(1)]
    best = torch.full((len(labels),), torch.inf, dtype=pixels.dtype, device=pixels.device)
    step = torch.zeros_like(pixels)
    for gap, gradient in zip(gaps.detach().unbind(1), gradients, strict=True):
        length = torch.linalg.vector_norm(gradient.flatten(1), 2 if norm == "l2" else 1, dim=1)
        usable = (length > 0) & length.isfinite()
        distance = torch.where(usable, gap.abs() / torch.where(usable, length, torch.ones_like(length)), torch.inf)
        nearer = distance < best
        toward = broadcast(torch.where(nearer, distance, torch.zeros_like(distance)), pixels) * steepest(gradient, norm)
        step = torch.where(broadcast(nearer, pixels), toward, step)
        best = torch.where(nearer, distance, best)
    return step.detach()
