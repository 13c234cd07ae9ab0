"""Which examples a limited set holds: seeded, class-balanced, nested."""

from __future__ import annotations

import numpy as np
import torch

from landscape.config import is_whole
from landscape.errors import ConfigError, DataError, shown
from landscape.seeding import generator


def choose_examples(
    labels: np.ndarray, limit: int | None, *, skip: int = 0, balanced: bool = True, seed: int = 0
) -> np.ndarray:
    """Choose ``limit`` examples, the same ones every time, and a part of the same ones for a smaller limit.

    Definition: every class is put in a seeded random order. Balanced: the classes take turns, in a seeded order,
    each giving its next example, until ``limit`` are chosen; so the counts of two classes differ by at most 1, unless a
    class has no more to give. Not balanced: the first ``limit`` of one seeded random order of all examples.

    Args:
        labels: (N,) class labels.
        limit: How many to choose, 1 to N; None chooses all, in their own order.
        skip: How many of the first to leave out: with the limit of another choice, the two share no example.
        balanced: Whether classes take turns.
        seed: Of the random orders.

    Returns:
        (limit,) positions in [0, N), increasing.

    Raises:
        ConfigError: ``limit`` is not a positive integer, or ``skip`` is negative or not whole.
        DataError: There are fewer than ``skip + limit`` examples.

    Example:
        >>> labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
        >>> np.bincount(labels[choose_examples(labels, 6)]).tolist()
        [3, 3]
    """
    if limit is None and not skip:
        return np.arange(len(labels))
    if not is_whole(skip) or skip < 0:
        raise ConfigError(
            "The examples to skip cannot be counted.", expected="0 or a positive integer", got=shown(skip)
        )
    left = len(labels) - skip
    limit = left if limit is None else limit
    if not is_whole(limit) or limit < 1:
        raise ConfigError("The limit cannot be used.", expected="a positive integer, or None for all", got=shown(limit))
    if limit > left:
        raise DataError(
            f"The limit is larger than what is left of the set after {skip} examples."
            if skip
            else "The limit is larger than the set.",
            expected=f"at most {left} examples",
            got=limit,
            fix=f"Use limit={left} or less, or limit=None for all.",
        )
    return np.sort(_order(labels, balanced=balanced, seed=seed)[skip : skip + limit])


def _order(labels: np.ndarray, *, balanced: bool, seed: int) -> np.ndarray:
    """The order in which examples are chosen: a permutation of all."""
    if not balanced:
        return _permutation(len(labels), seed, "subset")
    classes = np.unique(labels)
    turn = np.empty(len(labels), dtype=np.int64)
    order = np.empty(len(labels), dtype=np.int64)
    for place, label in enumerate(classes[_permutation(len(classes), seed, "subset-classes")]):
        members = np.flatnonzero(labels == label)
        turn[members[_permutation(len(members), seed, "subset", int(label))]] = np.arange(len(members))
        order[members] = place
    return np.lexsort((order, turn))


def _permutation(count: int, seed: int, *names: str | int) -> np.ndarray:
    return torch.randperm(count, generator=generator(seed, *names)).numpy()
