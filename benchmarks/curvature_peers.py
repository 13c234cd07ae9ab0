"""How the other packages are asked for a product, the top eigenvalue, the trace and the density of a Hessian."""

from __future__ import annotations

import contextlib
import importlib
import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.common import peer


class Asked(Protocol):
    """A package's Hessian of one problem: each method does the whole task, building included."""

    def product(self) -> Callable[[Tensor], Tensor]:
        """Build what products need, and return the product with a vector (P,)."""
        ...

    def top(self) -> float:
        """The largest eigenvalue, to 1e-3."""
        ...

    def trace(self, probes: int) -> float:
        """The trace from so many probes."""
        ...

    def density(self, probes: int, steps: int) -> Any:
        """The spectral density from so many probes with so many steps."""
        ...

    def signs(self, probes: int) -> list[Tensor]:
        """The vectors (P,) that :meth:`trace` draws after ``torch.manual_seed(0)``."""
        ...


@contextmanager
def silent() -> Iterator[None]:
    """Run a block without what other packages print and warn of."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


@dataclass
class PyHessian:
    """PyHessian: one kept graph for one batch, power iteration."""

    module: ModuleType
    model: nn.Module
    batches: list[tuple[Tensor, Tensor]]

    def _built(self) -> Any:
        one = len(self.batches) == 1
        data = {"data": self.batches[0]} if one else {"dataloader": self.batches}
        found = self.module.hessian(self.model, F.cross_entropy, cuda=False, **data)
        self.model.zero_grad()
        return found

    def product(self) -> Callable[[Tensor], Tensor]:
        """Multiply as its algorithms do."""
        utils = importlib.import_module("pyhessian.utils")
        built = self._built()

        def multiply(vector: Tensor) -> Tensor:
            pieces = vector.split([p.numel() for p in built.params])
            parts = [piece.view_as(p) for piece, p in zip(pieces, built.params, strict=True)]
            if len(self.batches) > 1:
                found = built.dataloader_hv_product(parts)[1]
            else:
                found = utils.hessian_vector_product(built.gradsH, built.params, parts)
            return torch.cat([part.flatten() for part in found])

        return multiply

    def top(self) -> float:
        """Power iteration with its own tolerance."""
        return float(self._built().eigenvalues(maxIter=100, tol=1e-3, top_n=1)[0][0])

    def trace(self, probes: int) -> float:
        """With tol=0 it takes all probes; by default it stops where the running mean looks steady."""
        found = self._built().trace(maxIter=probes, tol=0)
        return float(sum(found) / len(found))

    def density(self, probes: int, steps: int) -> Any:
        """Calls ``torch.eig``, which is gone."""
        return self._built().density(iter=steps, n_v=probes)

    def signs(self, probes: int) -> list[Tensor]:
        """Zeros and ones for each parameter, from the global generator."""
        torch.manual_seed(0)
        moving = [p for p in self.model.parameters() if p.requires_grad]
        drawn = [[torch.randint_like(p, high=2).flatten() for p in moving] for _ in range(probes)]
        return [2 * torch.cat(pieces) - 1 for pieces in drawn]


@dataclass
class Curvlinops:
    """curvlinops: jvp of jacrev, batch by batch; eigenvalues by SciPy."""

    module: ModuleType
    model: nn.Module
    batches: list[tuple[Tensor, Tensor]]

    def _built(self) -> Any:
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        kind = self.module.HessianLinearOperator
        return kind(self.model, nn.CrossEntropyLoss(), parameters, self.batches, check_deterministic=False)

    def product(self) -> Callable[[Tensor], Tensor]:
        """The operator's own product."""
        built = self._built()
        return lambda vector: built @ vector

    def top(self) -> float:
        """As its documentation does: SciPy's eigsh."""
        from scipy.sparse.linalg import eigsh

        return float(eigsh(self._built().to_scipy(), k=1, which="LA", tol=1e-3, return_eigenvectors=False)[0])

    def trace(self, probes: int) -> float:
        """Hutchinson's."""
        return float(self.module.hutchinson_trace(self._built(), probes))

    def density(self, probes: int, steps: int) -> Any:
        """Lanczos quadrature; it finds the ends of the spectrum first."""
        return self.module.lanczos_approximate_spectrum(self._built(), steps, num_repeats=probes)

    def signs(self, probes: int) -> list[Tensor]:
        """Bernoulli numbers from the global generator."""
        torch.manual_seed(0)
        moving = [p for p in self.model.parameters() if p.requires_grad]
        empty = torch.empty(sum(p.numel() for p in moving), dtype=moving[0].dtype)
        return [2 * torch.bernoulli(empty, 0.5) - 1 for _ in range(probes)]


@dataclass
class HessianEigenthings:
    """hessian-eigenthings: double backward, built anew for each product."""

    module: ModuleType
    model: nn.Module
    batches: list[tuple[Tensor, Tensor]]

    def _built(self) -> Any:
        return self.module.HessianOperator(self.model, self.batches, self.module.supervised_loss(F.cross_entropy))

    def product(self) -> Callable[[Tensor], Tensor]:
        """The operator's own product."""
        built = self._built()
        return lambda vector: built @ vector

    def top(self) -> float:
        """Lanczos; its default of two steps is a third off, so with the thirty that give the tolerance."""
        return float(self.module.lanczos(self._built(), k=1, max_iter=30, tol=1e-3, which="LA").eigenvalues[0])

    def trace(self, probes: int) -> float:
        """Hutchinson's."""
        found = self.module.trace(self._built(), num_matvecs=probes, method="hutchinson", seed=0)
        return float(getattr(found, "estimate", getattr(found, "trace", float("nan"))))

    def density(self, probes: int, steps: int) -> Any:
        """Lanczos quadrature."""
        return self.module.spectral_density(self._built(), num_runs=probes, lanczos_steps=steps, seed=0)

    def signs(self, probes: int) -> list[Tensor]:
        """Whole numbers from a generator of its own."""
        stream = torch.Generator().manual_seed(0)
        moving = [p for p in self.model.parameters() if p.requires_grad]
        size, dtype = sum(p.numel() for p in moving), moving[0].dtype
        return [2 * torch.randint(0, 2, (size,), generator=stream).to(dtype) - 1 for _ in range(probes)]


KINDS: dict[str, type[PyHessian] | type[Curvlinops] | type[HessianEigenthings]] = {
    "PyHessian": PyHessian,
    "curvlinops-for-pytorch": Curvlinops,
    "hessian-eigenthings": HessianEigenthings,
}


def peers(model: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> dict[str, Asked]:
    """Return the packages that can be imported, each asked about one problem."""
    found: dict[str, Asked] = {}
    for name, kind in KINDS.items():
        module = peer(name)
        if module is not None:
            found[name] = kind(module, model, batches)
    return found
