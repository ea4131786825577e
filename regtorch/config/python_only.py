"""Settings that other tools take on the command line, but that need Python code here: losses and class weights."""

from __future__ import annotations

_NAMES = {
    *("loss", "loss_fn", "criterion", "objective", "class_weight", "class_weights", "pos_weight", "sample_weight"),
    *("sample_weights", "label_smoothing", "task", "num_outputs"),
}


def python_only(key: str) -> str:
    """Return an explanation for such a key; empty for other keys.

    Example:
        >>> python_only("model.loss")[:35], python_only("optimizer.lr")
        ('a classifier is trained with cross-', '')
    """
    if key.rpartition(".")[2] not in _NAMES:
        return ""
    from regtorch.data.labels import IN_PYTHON  # imports NumPy, which takes longer than all of --help

    return f"a classifier is trained with cross-entropy; {IN_PYTHON}"
