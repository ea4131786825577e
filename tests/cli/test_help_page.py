"""Help is wrapped between words at the terminal's width."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from regtorch.cli.help_page import terminal_width, wrapped

COMMANDS = ["train", "compare", "predict", "export", "plugins", "curves"]


@pytest.mark.parametrize("width", [60, 80, 100, 200])
@pytest.mark.parametrize("command", COMMANDS)
def test_no_line_is_longer_than_the_terminal(
    command: str, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys, "argv", [command, "--help"])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"regtorch.cli.{command}").main()
    text = capsys.readouterr().out
    assert ended.value.code == 0
    assert len(text.splitlines()) > 2
    assert [line for line in text.splitlines() if len(line) > width] == []


@pytest.mark.parametrize("width", [30, 60, 80, 120])
def test_words_are_the_same_at_every_width(width: int) -> None:
    from regtorch.cli.help import help_text

    assert wrapped(help_text(), width).split() == help_text().split()


def test_the_width_is_the_terminal_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "91")
    assert terminal_width() == 91
    for wrong in ("", "0", "wide"):
        monkeypatch.setenv("COLUMNS", wrong)
        monkeypatch.setattr("os.get_terminal_size", lambda _: (_ for _ in ()).throw(OSError))
        assert terminal_width() == 80


def test_commands_in_a_help_have_their_own_lines() -> None:
    text = "  regtorch-a X\n  regtorch-b Y\n  key  a text\n       that continues\n"
    assert wrapped(text, 80) == "  regtorch-a X\n  regtorch-b Y\n  key  a text that continues\n"


def test_the_command_line_of_training_imports_nothing_heavy() -> None:
    code = "import sys, regtorch.cli.train; assert not {'torch', 'numpy', 'hydra', 'rich'} & sys.modules.keys(), sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
