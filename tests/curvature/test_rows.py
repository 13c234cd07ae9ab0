"""Bases of long vectors: projections, turns in place, and the memory that they take."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from landscape.curvature import rows
from landscape.curvature.rows import Rows, outside
from landscape.seeding import generator


@pytest.fixture
def filled(matrix_with):
    """``filled(count, size)``: that many orthonormal vectors, and the same as a matrix (count, size)."""

    def make(count: int, size: int = 50) -> tuple[Rows, torch.Tensor]:
        stream = generator(0, "tests", "rows")
        matrix = torch.linalg.qr(torch.randn(size, count, generator=stream, dtype=torch.float64)).Q.T.contiguous()
        basis = Rows(matrix_with([0.0] * size))
        for vector in matrix:
            basis.append(vector)
        return basis, matrix

    return make


@pytest.mark.parametrize("count", [0, 1, 16, 17, 50])
def test_dots_and_what_is_left(filled, count: int) -> None:
    basis, matrix = filled(count)
    vector = torch.arange(50).double()
    rest, parts = basis.without(vector)
    torch.testing.assert_close(parts, matrix @ vector)
    torch.testing.assert_close(basis.dots(vector), matrix @ vector)
    torch.testing.assert_close(rest, vector - matrix.T @ (matrix @ vector))
    assert len(basis) == count and torch.equal(torch.stack([*basis, vector])[:-1], matrix)
    with pytest.raises(IndexError):
        basis[count]


@pytest.mark.parametrize("chunk", [7, 2**16])
@pytest.mark.parametrize(("count", "kept"), [(1, 1), (16, 16), (17, 5), (40, 17), (50, 0)])
def test_turning_in_place(filled, monkeypatch, count: int, kept: int, chunk: int) -> None:
    """In parts of 7 entries, or all at once; what is appended afterwards goes behind what was kept."""
    monkeypatch.setattr(rows, "_CHUNK", chunk)
    basis, matrix = filled(count)
    turn = torch.randn(count, kept, generator=generator(0, "tests", "turn"), dtype=torch.float64)
    basis.turn(turn.numpy())
    assert len(basis) == kept and len(basis._blocks) == -(-kept // 16)
    extra = torch.ones(50).double()
    basis.append(extra)
    torch.testing.assert_close(torch.stack(list(basis)), torch.cat([turn.T @ matrix, extra[None]]))
    torch.testing.assert_close(basis.dots(extra), torch.cat([turn.T @ matrix, extra[None]]) @ extra)


def test_blocks_take_no_more_than_there_can_be(filled) -> None:
    basis, _ = filled(18, size=18)
    assert [len(block) for block in basis._blocks] == [16, 2]


def test_outside_of_several_bases(filled) -> None:
    basis, matrix = filled(20)
    first, second = Rows(basis), Rows(basis)
    for place, vector in enumerate(matrix):
        (first if place % 2 else second).append(vector)
    vector = outside(torch.ones(50).double(), first, second)
    assert vector is not None and float(vector.norm()) == pytest.approx(1, rel=1e-14)
    assert float((matrix @ vector).abs().max()) < 1e-15
    nearly = outside(matrix[3] + 1e-9 * torch.ones(50).double(), first, second)
    assert nearly is not None and float((matrix @ nearly).abs().max()) < 1e-14  # once leaves 1e-7
    assert outside(matrix[3] * 5 - matrix[4], first, second) is None
    assert outside(torch.zeros(50).double(), first) is None
    np.testing.assert_allclose(outside(2 * matrix[3]), matrix[3], atol=1e-15)  # outside of nothing
