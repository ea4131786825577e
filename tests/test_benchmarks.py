"""The benchmarks start, with the names that the library has now; what they measure no test looks at."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = sorted(path.name for path in BENCHMARKS.glob("*.py") if "__main__" in path.read_text(encoding="utf-8"))


def test_there_are_some() -> None:
    assert {"communication.py", "dropout.py", "mc.py", "rules.py", "training.py"} <= set(SCRIPTS)


@pytest.mark.parametrize("script", [name for name in SCRIPTS if name != "mc_keras.py"])  # that one needs Keras
def test_it_starts(script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(BENCHMARKS / script), run_name="__main__")
    assert not ended.value.code
    assert capsys.readouterr().out.startswith("usage")
