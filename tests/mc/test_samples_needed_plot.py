"""The picture of how many samples are enough."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

import regtorch
from regtorch.errors import SettingError
from regtorch.mc import SamplesNeeded

X = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(40) % 3


def needed(labels: torch.Tensor | None = LABELS, samples: int = 50, **asked: float) -> SamplesNeeded:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))
    return regtorch.samples_needed(regtorch.MCPredictor(model, samples=samples, keep_samples=True)(X), labels, **asked)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved."""
    figures: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (figures.append(self), save(self, *a, **k))[1])
    return figures


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_a_file_of_its_suffix_and_nothing_else(tmp_path: Path, suffix: str, start: bytes) -> None:
    out = tmp_path / f"needed.{suffix}"
    needed().draw(out)
    assert out.read_bytes().startswith(start)
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_a_folder_that_is_missing_is_made(tmp_path: Path) -> None:
    needed().draw(tmp_path / "no" / "such" / "needed.png")
    assert (tmp_path / "no/such/needed.png").is_file()


def test_what_is_drawn_is_what_was_found(tmp_path: Path, drawn: list[Figure]) -> None:
    result = needed(tolerance=0.03)
    result.draw(str(tmp_path / "needed.png"))
    accuracy, nll, error = drawn[0].axes
    for panel, values in ((accuracy, result.accuracy), (nll, result.nll)):
        assert [*panel.lines[0].get_xdata()] == [*result.counts]
        assert [*panel.lines[0].get_ydata()] == [*values]
        assert panel.lines[-1].get_xdata()[0] == result.needed
    assert [*error.lines[0].get_ydata()] == [*result.standard_error]
    assert drawn[0].get_suptitle() == f"{result.needed} samples needed of 50 drawn"


@pytest.mark.parametrize("tolerance", [0.03, 0.001])
def test_the_line_meets_the_tolerance_where_the_picture_says(
    tmp_path: Path, drawn: list[Figure], tolerance: float
) -> None:
    result = needed(tolerance=tolerance)
    assert result.extrapolated == (tolerance == 0.001)
    result.draw(tmp_path / "needed.png")
    blue = [line for line in drawn[0].axes[-1].lines if line.get_color() == "C0"]
    x, y = (np.concatenate([getattr(line, f"get_{axis}data")() for line in blue]) for axis in "xy")
    crossing = np.exp(np.interp(-np.log(tolerance), -np.log(y), np.log(x)))
    assert result.needed - 1 <= crossing * (1 + 1e-6)
    assert crossing <= result.needed * (1 + 1e-6)


def test_without_labels_only_the_standard_error(tmp_path: Path, drawn: list[Figure]) -> None:
    needed(None, share=1).draw(tmp_path / "needed.png")
    (panel,) = drawn[0].axes
    assert "largest of all rows" in [text.get_text() for text in panel.get_legend().texts]


def test_a_notebook_draws_as_before(tmp_path: Path) -> None:
    before = matplotlib.get_backend()
    matplotlib.use("svg")
    try:
        needed().draw(tmp_path / "needed.png")
        assert matplotlib.get_backend() == "svg"
    finally:
        matplotlib.use(before)


@pytest.mark.filterwarnings("error")
def test_a_model_that_does_not_vary_is_drawn_too(tmp_path: Path, drawn: list[Figure]) -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 3))
    out = regtorch.MCPredictor(model, samples=5, keep_samples=True)(X)
    assert out.samples is not None
    out = replace(out, samples=out.samples[:1].expand_as(out.samples))
    regtorch.samples_needed(out).draw(tmp_path / "needed.png")
    bottom, top = drawn[0].axes[0].get_ylim()
    assert bottom <= 0 < top  # its standard errors are 0


def test_a_type_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"needed.doc is not allowed: its name must end in .png"):
        needed().draw(tmp_path / "needed.doc")
    assert not [*tmp_path.iterdir()]
