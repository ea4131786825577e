"""The plot of a comparison."""

from __future__ import annotations

from pathlib import Path

import matplotlib.axes
import pytest
from matplotlib.figure import Figure

from regtorch.study.comparison import compare
from regtorch.study.comparison_plot import draw_comparison

ACCURACIES = {"plain": (0.90, 0.91, 0.92), "strong": (0.95, 0.97), "one": (0.96,)}
COMPARISON = compare(
    {
        name: {
            seed: {"test.accuracy": value, "test.nll": 1 - value, "sparsity": 0.0} for seed, value in enumerate(values)
        }
        for name, values in ACCURACIES.items()
    }
)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, list]:
    """The drawn data, by the name of matplotlib's method."""
    calls: dict[str, list] = {"scatter": [], "set_xlabel": [], "plot": []}
    for name, seen in calls.items():
        original = getattr(matplotlib.axes.Axes, name)

        def spy(self, *args, original=original, seen=seen, **kwargs):
            seen.append(args)
            return original(self, *args, **kwargs)

        monkeypatch.setattr(matplotlib.axes.Axes, name, spy)
    return calls


def test_every_seed_is_a_dot_and_pairs_are_joined(drawn: dict[str, list], tmp_path: Path) -> None:
    draw_comparison(COMPARISON, tmp_path / "picture.png", ("test.accuracy",))
    assert [list(dots[0]) for dots in drawn["scatter"]] == [list(values) for values in ACCURACIES.values()]
    assert drawn["set_xlabel"] == [("test.accuracy (higher is better)",)]
    joined = [list(args[0]) for args in drawn["plot"][:3]]
    assert joined == [[0.90, 0.95, 0.96], [0.91, 0.97], [0.92]]
    assert [0.90, 0.92] in [list(args[0]) for args in drawn["plot"][3:]]  # the interval of three seeds is their range
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]


def test_default_panels_are_the_test_set(drawn: dict[str, list], tmp_path: Path) -> None:
    draw_comparison(COMPARISON, tmp_path / "picture.svg")
    assert [label for (label,) in drawn["set_xlabel"]] == [
        "test.accuracy (higher is better)",
        "test.nll (lower is better)",
    ]
    drawn["set_xlabel"].clear()
    # an axis with equal ends, a single seed, and none of the usual metrics
    draw_comparison(compare({"a": {1: {"sparsity": 0.5}}}), tmp_path / "picture.pdf")
    assert drawn["set_xlabel"] == [("sparsity",)]


def test_a_picture_that_cannot_be_written_leaves_the_old_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def savefig(self, path: Path, **options) -> None:
        path.write_text("half")
        raise OSError("the disk is full")

    monkeypatch.setattr(Figure, "savefig", savefig)
    (tmp_path / "picture.png").write_text("old")
    with pytest.raises(OSError, match="the disk is full"):
        draw_comparison(COMPARISON, tmp_path / "picture.png")
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]
    assert (tmp_path / "picture.png").read_text() == "old"
