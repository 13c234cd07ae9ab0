"""What the methods are called in tables, figures and sentences."""

from __future__ import annotations

from landscape.optim import OPTIMIZERS

_LABELS = {
    "sgd": "SGD",
    "adam": "Adam",
    "adamw": "AdamW",
    "lpfsgd": "LPF-SGD",
    "looksam": "LookSAM",
    "entropysgd": "Entropy-SGD",
    "vasso": "VaSSO",
    "smoothout": "SmoothOut",
    "fsam": "Friendly SAM",
}


def method_label(name: str) -> str:
    """Return what an optimizer is called; one that is an abbreviation in capitals, and what is none as it is.

    Args:
        name: As in :data:`landscape.optim.OPTIMIZERS`, or that of another contender.

    Example:
        >>> [method_label(name) for name in ("sgd", "asam", "lpfsgd", "gnp", "grad-l2")]
        ['SGD', 'ASAM', 'LPF-SGD', 'GNP', 'grad-l2']
    """
    return _LABELS.get(name, name.upper() if name in OPTIMIZERS else name)
