"""The Square attack: random squares of the largest change, kept where they help. It needs no gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from landscape.balls import Norm
from landscape.robustness.pixels import PixelModel, losses_of, wrong
from landscape.robustness.visit import Visit

_SHARE = 0.8  # of the pixels that the first squares cover, for L-infinity and for L2
_HALVED = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of 10000 queries
_TILES = 5


def square_share(query: int, queries: int) -> float:
    """Return the share of the pixels that a square covers: 0.8, halved after 0.1 %, 0.5 %, 2 % ... of the queries.

    Args:
        query: From 0.
        queries: All there will be.

    Example:
        >>> square_share(0, 5000), square_share(4999, 5000)
        (0.8, 0.0015625)
    """
    place = int(query / queries * 10000)
    return _SHARE / 2 ** sum(place > each for each in _HALVED)


def square_attack(
    model: PixelModel,
    clean: Tensor,
    labels: Tensor,
    rows: Tensor,
    *,
    epsilon: float,
    norm: Norm,
    queries: int,
    stream: torch.Generator,
    beyond: bool = False,
) -> Iterator[Visit]:
    """Search at random for a misclassified input within a ball.

    Definition: for L-infinity it begins with vertical stripes of plus or minus epsilon, and sets random squares to plus
    or minus epsilon, each channel by itself. For L2 it begins with tiles that fall off from their centers, and moves
    the change of one random square into another. What makes the margin to the other classes smaller is kept. The
    squares get smaller as the queries go on. Signals are images of height 1.

    Args:
        model: What is attacked.
        clean: (B, ...) pixels.
        labels: (B,).
        rows: (b,) which of them are attacked; for the others numbers are drawn too.
        epsilon: The radius, above 0.
        norm: "l2" or "linf".
        queries: Forward passes at most.
        stream: All draws come from it. What one example gets does not depend on which others are broken.
        beyond: Whether examples that are misclassified somewhere are followed further.

    Yields:
        Every point that it tries.

    References:
        M. Andriushchenko, F. Croce, N. Flammarion, M. Hein, Square Attack: a Query-efficient Black-box Adversarial
        Attack via Random Search, ECCV 2020, arXiv 1912.00049.
    """
    every = clean.reshape(_as_images(clean))
    best = torch.full((len(clean),), -torch.inf, dtype=clean.dtype, device=clean.device)
    change = torch.zeros_like(every)
    for query in range(queries):
        if not query:
            first = _stripes if norm == "linf" else _tiles
            tried = first(every, epsilon, stream)[rows]
        else:
            squares = _squares if norm == "linf" else _moved
            tried = squares(every, change, epsilon, square_share(query, queries), stream)[rows]
        x, y = clean[rows], labels[rows]
        tried = model.inside(every[rows] + tried) - every[rows]
        with torch.no_grad():
            logits = model(x + tried.reshape(x.shape))
        missed, value = wrong(logits, y), losses_of(logits, y, "margin")
        yield Visit(rows, tried.reshape(x.shape), logits, missed)
        better = value > best[rows]
        change[rows[better]], best[rows[better]] = tried[better], value[better]
        rows = rows if beyond else rows[~missed]
        if not len(rows):
            return


def _as_images(inputs: Tensor) -> tuple[int, ...]:
    shape = tuple(inputs.shape)
    if len(shape) == 4:
        return shape
    return (shape[0], shape[1], 1, shape[2]) if len(shape) == 3 else (shape[0], 1, 1, math.prod(shape[1:]))


def _signs(shape: tuple[int, ...], like: Tensor, stream: torch.Generator) -> Tensor:
    return 2.0 * torch.randint(2, shape, generator=stream, device=like.device).to(like.dtype) - 1.0


def _stripes(images: Tensor, epsilon: float, stream: torch.Generator) -> Tensor:
    count, channels, _, width = images.shape
    return epsilon * _signs((count, channels, 1, width), images, stream).expand_as(images)


def _places(images: Tensor, sides: tuple[int, int], stream: torch.Generator) -> tuple[Tensor, Tensor]:
    """A random square in each image: how far each row and column is within it, (B, H) and (B, W); negative outside."""
    found = []
    for length, side in zip(images.shape[-2:], sides, strict=True):
        first = torch.randint(length - side + 1, (len(images), 1), generator=stream, device=images.device)
        away = torch.arange(length, device=images.device)[None, :] - first
        found.append(torch.where((away >= 0) & (away < side), away, -1))
    return found[0], found[1]


def _side(share: float, height: int, width: int, *, least: int) -> int:
    """Of a square that covers a share of the pixels; of signals, a share of their length."""
    return max(round(share * width if height == 1 else math.sqrt(share * height * width)), least)


def _window(down: Tensor, across: Tensor) -> Tensor:
    return ((down >= 0)[:, :, None] & (across >= 0)[:, None, :]).unsqueeze(1)  # (B, 1, H, W)


def _squares(images: Tensor, change: Tensor, epsilon: float, share: float, stream: torch.Generator) -> Tensor:
    """Set one square of each image to plus or minus epsilon."""
    height, width = images.shape[-2:]
    side = _side(share, height, width, least=1)
    inside = _window(*_places(images, (min(side, height), min(side, width)), stream))
    sign = _signs((*images.shape[:2], 1, 1), images, stream)
    return torch.where(inside, epsilon * sign, change)


def falling(height: int, width: int) -> Tensor:
    """Return the pattern of the L2 attack: two halves of opposite sign, each falling off from its center, of norm 1.

    Args:
        height: In pixels.
        width: In pixels.

    Example:
        >>> (falling(2, 1) * 2**0.5).flatten().round(decimals=6).tolist()
        [1.0, -1.0]
    """
    if height == 1 and width > 1:
        return falling(width, 1).T
    top = height // 2
    halves = torch.cat((_peak(top, width), -_peak(height - top, width)))
    return halves / torch.linalg.vector_norm(halves)


def _peak(height: int, width: int) -> Tensor:
    found = torch.zeros(height, width, dtype=torch.float64)
    for ring in range(max(height // 2, width // 2) + 1):
        first, left = height // 2 - ring, width // 2 - ring
        rows = slice(max(first, 0), max(first + 2 * ring + 1, 0))
        found[rows, max(left, 0) : max(left + 2 * ring + 1, 0)] += 1.0 / (ring + 1) ** 2
    return found / torch.linalg.vector_norm(found).clamp(min=torch.finfo(found.dtype).tiny)


def _tiles(images: Tensor, epsilon: float, stream: torch.Generator) -> Tensor:
    """A change of norm epsilon of 5 x 5 tiles with random signs; of single pixels where the image is too small."""
    count, channels, height, width = images.shape
    sides = [max(length // _TILES, 1) for length in (height, width)]
    tiles = [min(length, _TILES) for length in (height, width)]
    signs = _signs((count, channels, *tiles), images, stream)
    pattern = falling(*sides).to(images).repeat(*tiles)
    full = signs.repeat_interleave(sides[0], 2).repeat_interleave(sides[1], 3) * pattern
    change = torch.zeros_like(images)
    top, left = ((n - s * t) // 2 for n, s, t in zip((height, width), sides, tiles, strict=True))
    change[:, :, top : top + full.shape[2], left : left + full.shape[3]] = full
    return change * (epsilon / torch.linalg.vector_norm(change, dim=(1, 2, 3), keepdim=True))


def _moved(images: Tensor, change: Tensor, epsilon: float, share: float, stream: torch.Generator) -> Tensor:
    """Move the change of one square of each image into another."""
    height, width = images.shape[-2:]
    side = _side(share, height, width, least=3)
    sides = tuple(min(side + 1 - side % 2, length) for length in (height, width))
    down, across = _places(images, (sides[0], sides[1]), stream)
    into, out_of = _window(down, across), _window(*_places(images, (sides[0], sides[1]), stream))
    pattern = falling(sides[0], sides[1]).to(images)
    turned = falling(sides[1], sides[0]).to(images).T
    either = torch.rand((len(images), 1, 1, 1), generator=stream, device=images.device) < 0.5
    index = down.clamp(min=0)[:, :, None], across.clamp(min=0)[:, None, :]
    fresh = torch.where(either, pattern[index].unsqueeze(1), turned[index].unsqueeze(1))
    fresh = fresh * _signs((*images.shape[:2], 1, 1), images, stream)

    def norm(part: Tensor) -> Tensor:
        return torch.linalg.vector_norm(part, dim=(2, 3), keepdim=True)

    tiny = torch.finfo(images.dtype).tiny
    zero = torch.zeros_like(change)
    own = torch.where(into, change, zero)
    mixed = torch.where(into, fresh + own / norm(own).clamp(min=tiny), zero)
    whole = torch.linalg.vector_norm(change, dim=(1, 2, 3), keepdim=True).square()
    spare = (epsilon**2 - whole).clamp(min=0.0) / images.shape[1]
    room = (spare + norm(torch.where(into | out_of, change, zero)).square()).sqrt()
    tried = torch.where(into, mixed / norm(mixed).clamp(min=tiny) * room, torch.where(out_of, zero, change))
    length = torch.linalg.vector_norm(tried, dim=(1, 2, 3), keepdim=True)
    return tried * (epsilon / length.clamp(min=tiny))
