"""Settings that other tools have at the shell, and that are written in Python here: other losses, and weights of classes."""

from __future__ import annotations

from regtorch.data.labels import IN_PYTHON

_NAMES = {
    *("loss", "loss_fn", "criterion", "objective", "class_weight", "class_weights", "pos_weight", "sample_weight"),
    *("sample_weights", "label_smoothing", "task", "num_outputs"),
}


def python_only(key: str) -> str:
    """What to say of such a key; empty for others.

    Example:
        >>> python_only("model.loss")[:35], python_only("optimizer.lr")
        ('a classifier is trained by its cros', '')
    """
    if key.rpartition(".")[2] not in _NAMES:
        return ""
    return f"a classifier is trained by its cross-entropy; {IN_PYTHON}"
