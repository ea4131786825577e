"""``regtorch-compare``: train recipes over several seeds and report which differences exceed seed noise."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from regtorch.cli.compare_args import Request, options, parse
from regtorch.cli.help_page import print_requested_help
from regtorch.study.comparison import RULE, Comparison, compare
from regtorch.study.grouping import group_runs
from regtorch.study.metrics import METRICS
from regtorch.study.results import Run, find_runs
from regtorch.system import output
from regtorch.system.exit_status import exit_with
from regtorch.system.output import print_error

_HELP = """\
Compare recipes over seeds:

  regtorch-compare experiment=NAME,NAME,... seeds=5 [KEY=VALUE ...]
  regtorch-compare study=NAME [seeds=...] [KEY=VALUE ...]
  regtorch-compare FOLDER FOLDER ...

Trains the missing runs. Prints each metric's mean and standard deviation over seeds, a bootstrap interval, the paired
difference to the first recipe, and whether it is distinguishable from seed noise. You can stop it at any time: the same
command resumes it. FOLDER is a finished run, or contains finished runs; runs that differ only in the seed form one group.

  experiment  recipes of conf/experiment; the others are compared with the first
  study       a list of recipes and seeds: {studies}
  seeds       5: seeds 1 to 5 (the default); [3,7]: these
  out         the study's folder (default: studies/ and the names); holds runs/<experiment>/<seed>, comparison.csv, .md and
              .png. With more recipes or seeds and the same out, only the new runs are trained
  metrics     which to show, with commas between them:
              {metrics}
  KEY=VALUE   an override for every run, as with train.py: trainer.max_epochs=5, data.path=...
"""


def main() -> None:
    """Run the command line. A user error prints one line and exits with 2; a failed run exits with 1."""
    exit_with(_main)


def _main() -> int:
    arguments = sys.argv[1:]
    if print_requested_help(
        arguments, lambda: _HELP.format(studies=", ".join(options("study")), metrics=", ".join(METRICS))
    ):
        return 0
    request = parse(arguments)
    groups, notes, failures = _finished(request) if request.folders else _trained(request)
    for failure in failures:
        print_error(failure)
    if failures and not groups:
        return 1
    comparison = compare(_values(groups), request.metrics)
    out = _out(request, list(groups))
    _save(comparison, out, notes + [f"failed: {failure}" for failure in failures], request)
    _show(comparison, notes, out)
    return 1 if failures else 0


_Groups = Mapping[str, Mapping[int, Run]]


def _finished(request: Request) -> tuple[_Groups, list[str], list[str]]:
    groups, notes = group_runs(find_runs(request.folders))
    return groups, notes, []


def _trained(request: Request) -> tuple[_Groups, list[str], list[str]]:
    from regtorch.sweeps.seeds import Study

    study = Study(request.experiments, request.seeds, request.overrides, _out(request, request.experiments))
    study.train_missing()
    groups = {}
    for name in request.experiments:
        if runs := {seed: run for seed in request.seeds if (run := study.run(name, seed))}:
            groups[name] = runs
    notes = []
    if groups and request.experiments[0] not in groups:
        notes = [f"no run of {request.experiments[0]} completed: the others are compared with {next(iter(groups))}"]
    return groups, notes, study.failures


def _values(groups: _Groups) -> dict[str, dict[int, Mapping[str, float]]]:
    return {label: {seed: run.values for seed, run in runs.items()} for label, runs in groups.items()}


def _out(request: Request, names: Sequence[str]) -> Path:
    """Return the study's folder: ``out=``, or a name made of what is compared."""
    if request.out is not None:
        return request.out
    name = request.name or "-".join(re.sub(r"[^\w.=+]+", "_", name).strip("_") for name in names)
    if len(name) > 120:  # file systems limit the length of a name
        name = f"{name[:100]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return Path("studies") / name


def _save(comparison: Comparison, out: Path, notes: Sequence[str], request: Request) -> None:
    from regtorch.study.comparison_plot import draw_comparison
    from regtorch.study.comparison_table import as_csv, as_markdown
    from regtorch.system.files import replaced

    out.mkdir(parents=True, exist_ok=True)
    for name, text in (("comparison.csv", as_csv(comparison)), ("comparison.md", as_markdown(comparison, notes))):
        with replaced(out / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    chosen = None if request.metrics is None else tuple(metric.name for metric in request.metrics)
    draw_comparison(comparison, out / "comparison.png", chosen)


def _show(comparison: Comparison, notes: Sequence[str], out: Path) -> None:
    from regtorch.study.comparison_table import as_rich

    console = output.console(width=None if sys.stdout.isatty() else 180)
    for table in as_rich(comparison, console.width):
        # a narrow terminal wraps long lines itself; cropping would cut numbers off
        console.print(table, width=max(console.width, table.width or 0), crop=False, overflow="ignore")
        console.print()
    for line in (f"The first is {comparison.recipes[0]}.", *RULE):
        console.print(line, style="dim")
    for note in notes:
        console.print(note)
    console.print(f"{out / 'comparison.md'}, comparison.csv and comparison.png beside it", soft_wrap=True)


if __name__ == "__main__":
    main()
