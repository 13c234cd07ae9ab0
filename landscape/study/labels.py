"""What the methods are called in tables, figures and sentences."""

from __future__ import annotations

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
    """Return what an optimizer is called; one that is an abbreviation in capitals.

    Args:
        name: As in :data:`landscape.optim.OPTIMIZERS`.

    Example:
        >>> [method_label(name) for name in ("sgd", "asam", "lpfsgd", "gnp")]
        ['SGD', 'ASAM', 'LPF-SGD', 'GNP']
    """
    return _LABELS.get(name, name.upper())
