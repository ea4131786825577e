"""Any exception in a command is one printable line and an exit status, never a traceback."""

from __future__ import annotations

import random
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from regtorch.cli import compare, curves, export, plugins, predict, train
from regtorch.errors import RegtorchError, SettingError
from regtorch.runs import job
from regtorch.sweeps import seeds, sweep
from regtorch.system.exit_status import exit_with
from regtorch.system.output import console

MAINS: dict[str, Callable[[], None]] = {
    **{"train": train.main, "sweep": train.main, "compare": compare.main},
    **{"curves": curves.main, "predict": predict.main, "export": export.main, "plugins": plugins.main},
}
_NOT_PRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]")


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put temporary files into a folder of the test."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "temporary"


def raising(error: BaseException) -> Callable[[], int]:
    def command() -> int:
        raise error

    return command


def ended(main: Callable[[], Any], capsys: pytest.CaptureFixture[str]) -> tuple[Any, str, str]:
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code, *capsys.readouterr()


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (SettingError("seed=x is not allowed"), 2, "error: seed=x is not allowed"),
        (SettingError("a\x1b[31mb\n\u202ec"), 2, r"error: a\x1b[31mb \u202ec"),
        (FileNotFoundError(2, "No such file", "x"), 2, "error: x: No such file"),
        (SystemExit("of a library"), 2, "error: of a library"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (KeyError("a"), 1, "error: KeyError: 'a' (the traceback is in "),
        (RecursionError("too deep"), 1, "error: RecursionError: too deep (the traceback"),
        (MemoryError(), 1, "error: there is not enough memory: MemoryError (the traceback"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127]"), 1, "error: there is not enough memory: RuntimeError"),
        (type("Odd", (BaseException,), {})("x" * 10_000), 1, "error: Odd: xxx"),
        (type("Mute", (Exception,), {"__str__": lambda self: 1 / 0})(), 1, "error: Mute"),
    ],
)
def test_any_exception_is_one_line(
    error: BaseException, status: int, message: str, temporary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = ended(lambda: exit_with(raising(error)), capsys)
    assert (code, out) == (status, "")
    assert err.startswith(message)
    assert err.count("\n") == 1
    assert len(err) < 520
    assert not _NOT_PRINTABLE.search(err)
    kept = [path.read_text() for path in temporary.iterdir()]
    assert len(kept) == (status == 1)
    if kept:
        assert str(next(temporary.iterdir())) in err
        assert kept[0].startswith("Traceback")


def test_the_line_is_printed_even_if_the_traceback_cannot_be_stored(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    assert ended(lambda: exit_with(raising(KeyError("a"))), capsys) == (1, "", "error: KeyError: 'a'\n")


def test_a_console_ignores_markup_and_escape_sequences(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("[b]a[/b]", ":smile:")
    table.add_row("[red]x[/red][/]", "\x1b[31m")
    table.add_row(Text("\x1b]0;title\x07"), "\u202e")
    console(width=100).print(table)
    out = capsys.readouterr().out
    assert not _NOT_PRINTABLE.search(out)
    assert all(text in out for text in ("[b]a[/b]", ":smile:", "[red]x[/red][/]", r"\x1b[31m"))


KEYS = [
    *(
        "run",
        "out",
        "checkpoint",
        "samples",
        "split",
        "format",
        "devices",
        "tolerance",
        "accelerator",
        "resume",
        "rerun",
    ),
    *(
        "ckpt_path",
        "sweep.by",
        "sweep.resume",
        "sweep.halving",
        "sweep.retry_failed",
        "hydra.sweep.dir",
        "hydra.run.dir",
    ),
    *(
        "hydra/launcher",
        "hydra.launcher.n_jobs",
        "hydra/sweeper",
        "hydra.verbose",
        "hparams_search",
        "hparams_search.space",
    ),
    *("experiment", "study", "seeds", "metrics", "data", "data.path", "data.rows", "data.batch_size", "data.workers"),
    *(
        "model",
        "model.hidden",
        "trainer",
        "trainer.max_epochs",
        "trainer.devices",
        "regularizer",
        "regularizer.l1",
        "seed",
    ),
    *(
        "regularizer@bias_regularizer",
        "dropout",
        "dropout.drop_prob",
        "optimizer",
        "optimizer.lr",
        "mc",
        "x",
        "a.b.c",
        "",
    ),
]
TEXTS = [
    *(
        "",
        "null",
        "true",
        "1",
        "-1",
        "1e400",
        "nan",
        "9" * 4400,
        "[1]",
        "[]",
        "[[1]]",
        "{a:1}",
        "{name: [1]}",
        "'a",
        "x=y",
    ),
    *("${seed}", "${oc.env:HOME}", "${nosuch}", "${seed", "a,b", "1,2", "choice(1,2)", "range(1,3)", "interval(0,1)"),
    *("tag(log,interval(1,2))", "/dev/zero", "/proc/self/mem", "..", "~", "\x1b[31mx", "\u202e", "\udc80", "x" * 3000),
    *(
        "???",
        "l2",
        "none",
        "synthetic",
        "[" * 500,
        "(",
        "\\",
        "%s",
        "{0}",
        "int(a)",
        "run",
        "[red]x[/]",
        "1000000000000",
    ),
]
FLAGS = [
    *("-m", "--cfg", "--cfg=job", "-c", "job", "--info", "--package", "--config-dir", "nosuch", "--config-name", "-h"),
    *(
        "--version",
        "--nosuch",
        "--run",
        "-x",
        "--out",
        "--out=x.xyz",
        "c.png",
        "-sc",
        "install=bash",
        "--",
        "~",
        "=",
        "@",
    ),
]


def words(random: random.Random) -> list[str]:
    """Draw a random command line of plausible words."""

    def word() -> str:
        if random.random() < 0.2:
            return random.choice([*FLAGS, *TEXTS])
        key = random.choice(KEYS)
        sign = random.choice(["", "", "", "+", "++", "~"])
        return f"{sign}{key}" if sign == "~" and random.random() < 0.5 else f"{sign}{key}={random.choice(TEXTS)}"

    return [word() for _ in range(random.randint(1, 4))]


@pytest.mark.parametrize("name", MAINS)
def test_random_command_lines(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], temporary: Path
) -> None:
    def nothing(*given: Any, **settings: Any) -> Any:
        raise RegtorchError("it would run now")

    monkeypatch.setattr(job, "train", nothing)
    monkeypatch.setattr(sweep, "sweep", nothing)
    monkeypatch.setattr(seeds.Study, "train_missing", nothing)
    draw = random.Random(name)
    for _ in range(8 if name in ("train", "sweep") else 25):
        given = [*(["-m"] if name == "sweep" else []), *words(draw)]
        monkeypatch.setattr(sys, "argv", [name, *given])
        code, out, err = ended(MAINS[name], capsys)
        GlobalHydra.instance().clear()
        HydraConfig.instance().cfg = None
        assert not list(temporary.iterdir()), (given, err)  # no unexpected error
        assert isinstance(code, int), given
        assert not _NOT_PRINTABLE.search(out + err), given
        if code:
            assert err.splitlines()[-1].startswith("error: "), given
            assert all(len(line) < 520 for line in err.splitlines()), given
