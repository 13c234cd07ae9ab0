"""FAB: to the border with another class, and along it toward the point that is nearest to the example."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from landscape.balls import Norm, broadcast, size
from landscape.robustness.deepfool import most_likely
from landscape.robustness.pixels import PixelModel, losses_of, wrong
from landscape.robustness.visit import Visit

TARGETS = 9  # as in AutoAttack
_BEYOND, _SHARE, _BACK, _SEARCHES = 1.05, 0.1, 0.9, 3  # eta, alpha_max, beta and the final search of the paper


def fab(
    model: PixelModel,
    clean: Tensor,
    labels: Tensor,
    rows: Tensor,
    change: Tensor,
    *,
    norm: Norm,
    steps: int,
    targets: Tensor,
    epsilon: float = math.inf,
    beyond: bool = False,
) -> Iterator[Visit]:
    """Look for the nearest point that the model takes for another class, toward one class.

    Definition: with ``f_t - f_y`` taken as linear at ``x_i``, P the nearest image where it is 0,
    ``d_i = P(x_i) - x_i``, ``d = P(x) - x`` and ``a = min(|d_i| / (|d_i| + |d|), 0.1)``, the step is
    ``x_{i+1} = (1 - a) (x_i + 1.05 d_i) + a (x + 1.05 d)``, clamped to images. From a misclassified point it goes on at
    ``x + 0.9 (x_{i+1} - x)``. A step that is too long for the precision, as almost no gradient makes it, is left out.

    Args:
        model: What is attacked.
        clean: (B, ...) pixels, x.
        labels: (B,) y.
        rows: (b,) which of them are attacked.
        change: (b, ...) where to start.
        norm: "l2" or "linf".
        steps: How many.
        targets: (b,) the classes t.
        epsilon: Points farther away are not yielded. Default infinity: all are.
        beyond: Whether examples that are misclassified within epsilon are followed further.

    Yields:
        Every point that it comes by within epsilon.

    References:
        F. Croce, M. Hein, Minimally Distorted Adversarial Examples with a Fast Adaptive Boundary Attack, ICML 2020,
        arXiv 1907.02044, algorithm 1; toward one class: arXiv 2003.01690, section 5.
    """
    for _ in range(steps):
        x, y = clean[rows], labels[rows]
        gradient, logits = model.gradient(x + change, y, "margin", targets)
        gap = losses_of(logits, y, "margin", targets)
        box = (model.low, model.high)
        near = to_plane(x + change, gradient, gap, box, norm)
        far = to_plane(x, gradient, gap - (gradient * change).flatten(1).sum(1), box, norm)
        moved = model.inside(x + _mixed(change, near, far, norm)) - x
        change = torch.where(broadcast(size(moved, norm).isfinite(), x), moved, change)
        with torch.no_grad():
            logits = model(x + change)
        missed, within = wrong(logits, y), size(change, norm) <= epsilon
        yield Visit(rows[within], change[within], logits[within], missed[within])
        change = torch.where(broadcast(missed, x), _BACK * change, change)
        if not beyond:
            left = ~(missed & within)
            if not bool(left.any()):
                return
            rows, change, targets = rows[left], change[left], targets[left]


def _mixed(change: Tensor, near: Tensor, far: Tensor, norm: Norm) -> Tensor:
    """The next change: one step on, and mixed with the step from the example itself."""
    both = size(near, norm) + size(far, norm)
    share = broadcast((size(near, norm) / both.clamp(min=torch.finfo(near.dtype).tiny)).clamp(max=_SHARE), near)
    return (1.0 - share) * (change + _BEYOND * near) + share * _BEYOND * far


def smallest_change(
    model: PixelModel, clean: Tensor, labels: Tensor, norm: Norm, *, steps: int
) -> tuple[Tensor, Tensor]:
    """Look for the smallest change that breaks each example, by FAB toward the likeliest other classes.

    In the end the nearest mistake of each example is moved toward it three times, to where the margin, taken as linear
    between a point on either side of the border, is 0, and by the root of the rounding beyond it: on it there would be
    no mistake.

    Args:
        model: What is attacked.
        clean: (B, ...) pixels.
        labels: (B,).
        norm: "l2" or "linf".
        steps: Steps toward each class.

    Returns:
        (B,) the sizes of the changes found, NaN where none was found; and (B, ...) the changes, 0 there.
    """
    found = torch.full((len(clean),), torch.nan, dtype=clean.dtype, device=clean.device)
    changes = torch.zeros_like(clean)
    rows = torch.arange(len(clean), device=clean.device)
    for goal in most_likely(model, clean, labels, TARGETS).unbind(1):
        start = torch.zeros_like(clean)
        for visit in fab(model, clean, labels, rows, start, norm=norm, steps=steps, targets=goal, beyond=True):
            sizes = size(visit.change, norm)
            better = visit.missed & ~(sizes >= found[visit.rows])  # which NaN is not
            found[visit.rows[better]], changes[visit.rows[better]] = sizes[better], visit.change[better]
    return _searched(model, clean, labels, norm, found, changes)


def _searched(
    model: PixelModel, clean: Tensor, labels: Tensor, norm: Norm, found: Tensor, changes: Tensor
) -> tuple[Tensor, Tensor]:
    """Move each mistake toward its example, to the border between both."""

    def margin(share: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        change = model.inside(clean + broadcast(share, clean) * changes) - clean
        with torch.no_grad():
            logits = model(clean + change)
        return change, losses_of(logits, labels, "margin"), wrong(logits, labels)

    low, high = torch.zeros_like(found), torch.ones_like(found)
    inner, outer, best = margin(low)[1], margin(high)[1], changes
    little = math.sqrt(torch.finfo(clean.dtype).eps)
    for _ in range(_SEARCHES):
        share = (low + (high - low) * inner / (inner - outer)).nan_to_num(1.0)
        share = (share * (1.0 + little)).clamp(0.0, 1.0)
        change, value, missed = margin(share)
        better = missed & ~found.isnan() & (size(change, norm) < found)
        best = torch.where(broadcast(better, best), change, best)
        found = torch.where(better, size(change, norm), found)
        low, inner = torch.where(missed, low, share), torch.where(missed, inner, value)
        high, outer = torch.where(missed, share, high), torch.where(missed, value, outer)
    return found, best


def to_plane(x: Tensor, normal: Tensor, value: Tensor, box: tuple[float | None, float | None], norm: Norm) -> Tensor:
    """Return the smallest change after which a linear function is 0, within a box.

    Definition: ``argmin ||d||`` with ``value + <normal, d> = 0`` and ``low <= x + d <= high``. All coordinates move
    together, by the same amount for L-infinity and in proportion to the normal for L2, until they come to a side; how
    far, is read off the sorted ways there. Where the box ends before the plane, everything comes to a side.

    Args:
        x: (B, ...) within the box.
        normal: (B, ...) the function's gradient.
        value: (B,) the function at x.
        box: (low, high); None where there is no limit.
        norm: "l2" or "linf".

    Returns:
        (B, ...); 0 where the gradient is 0, or too small to divide by, or anything is not finite.

    Example:
        >>> x, normal = torch.tensor([[0.5, 0.75]]), torch.tensor([[1.0, 2.0]])
        >>> to_plane(x, normal, torch.tensor([-1.25]), (None, None), "l2").tolist()
        [[0.25, 0.5]]
        >>> to_plane(x, normal, torch.tensor([-0.75]), (0.0, 1.0), "l2").tolist()  # 0.15 and 0.3, but y ends at 1
        [[0.25, 0.25]]

    References:
        M. Hein, M. Andriushchenko, Formal Guarantees on the Robustness of a Classifier against Adversarial
        Manipulation, NeurIPS 2017, section 4 (the box).
    """
    flat, wanted = normal.flatten(1), value.abs()
    largest = flat.abs().amax(1)
    tiny = torch.finfo(x.dtype).tiny
    usable = (largest >= tiny) & wanted.isfinite() & flat.isfinite().all(1)
    scale = torch.where(usable, largest, torch.ones_like(largest))  # squares of small numbers are 0
    way = torch.where(usable, -value.sign() / scale, torch.zeros_like(value)).unsqueeze(1) * flat.nan_to_num(0, 0, 0)
    wanted = torch.where(usable, wanted / scale, torch.zeros_like(wanted)).unsqueeze(1)
    along = way if norm == "l2" else way.sign()
    rates = way * along  # how much the function changes, for each unit of the common way
    if box[0] is None or box[1] is None:
        common = wanted / rates.sum(1, keepdim=True).clamp(min=tiny)
        return (common * along).reshape(x.shape)
    points = x.flatten(1)
    room = torch.where(way > 0, box[1] - points, points - box[0]).clamp(min=0.0)
    ends = torch.where(way == 0, torch.zeros_like(room), room / along.abs().clamp(min=tiny))
    common = _common_way(ends, rates, wanted)
    moved = torch.minimum(common, ends) * along
    return torch.where(common >= ends, room * way.sign(), moved).reshape(x.shape)


def _common_way(ends: Tensor, rates: Tensor, wanted: Tensor) -> Tensor:
    """How far all move, each to its end at most, until ``sum_j rate_j min(way, end_j)`` is what is wanted, (B, 1)."""
    ends, order = ends.sort(dim=1)
    rates = rates.gather(1, order)
    at_end = rates * ends
    ended = at_end.cumsum(1)
    going = rates.flip(1).cumsum(1).flip(1)  # this one and those that end later
    reached = ended + ends * (going - rates)
    last = (reached < wanted).sum(1, keepdim=True)
    last = last.clamp(max=ends.shape[1] - 1)  # where all end before, the way is beyond their ends
    before = ended.gather(1, last) - at_end.gather(1, last)
    return (wanted - before).clamp(min=0.0) / going.gather(1, last).clamp(min=torch.finfo(ends.dtype).tiny)
