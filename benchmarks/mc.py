"""Monte Carlo prediction, compared with other libraries: ``python benchmarks/mc.py [--case NAME] [--quick]``.

Times are ratios to deterministic passes of the plain torch network, one before and one after each run, so that they are
also valid on a busy machine. baal and torch-uncertainty are included if they are installed, and Keras if ``--keras`` names
the Python of its environment. Cases:

- cifar10 cnn: dropout in the head; 1,000 images, 100 samples, against one pass.
- fashion mlp: alpha dropout on the input and hidden layers; 10,000 images, 100 samples, against 100 passes.
- memory: both networks and a wide head, 1,000 samples against 10, each in its own process.
- torchvision: four networks with random weights, 32 images 224x224, 50 samples.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from math import sqrt
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from mc_contenders import (
    BATCH_MODE_ROWS,
    NETWORKS,
    Contender,
    Keras,
    Moments,
    forward,
    keras_process,
    not_installed,
    plain_loop,
    torch_contenders,
)
from mc_memory import CONTENDERS, MEASURED
from torch import Tensor, nn

import regtorch

KERAS = "Keras, tf.function"


@dataclass
class Row:
    """One line of a table. `ratio` is relative to the reference, `faster` is the speed-up of regtorch's shared masks."""

    name: str
    seconds: float
    ratio: float
    faster: float | None = None


@dataclass
class Budget:
    """A budget: `measured` must be at most (or at least) `limit`."""

    what: str
    measured: float
    limit: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


@dataclass
class Report:
    """The results of one case."""

    case: str
    rows: list[dict[str, object]] = field(default_factory=list)
    budgets: list[Budget] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def warn(self, text: str | None) -> None:
        if text:
            self.warnings.append(text)
            print(f"warning: {text}")

    def judge(self) -> None:
        for budget in self.budgets:
            sign = ">=" if budget.at_least else "<="
            verdict = "met" if budget.met else "NOT MET"
            print(f"  budget {budget.what:62} {budget.measured:8.2f}  {sign} {budget.limit:<5g} {verdict}")


@dataclass(frozen=True)
class Sizes:
    """Sizes of the cases."""

    cnn_rows: int = 1_000
    mlp_rows: int = 10_000
    samples: int = 100
    few_samples: int = 10
    many_samples: int = 1_000
    images: int = 32
    image_samples: int = 50
    loop_passes: int = 3
    batch_mode_rows: tuple[int, int, int] = (10, 100, 10)


QUICK = Sizes(64, 1_000, 10, 10, 50, 2, 6, 2, (4, 50, 4))


# --- timing ---


def seconds_of(run: Callable[[], object]) -> float:
    start = perf_counter()
    run()
    return perf_counter() - start


def time_in_turns(
    reference: Callable[[], object], contenders: Sequence[Contender], rounds: int, slow_rounds: int
) -> tuple[float, dict[str, Row]]:
    """Median seconds of the reference and of each contender, with the ratio to the passes directly before and after."""
    passes = [seconds_of(reference)]
    taken: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    ratios: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        for contender in contenders:
            if number >= slow_rounds and contender.slow:
                continue
            taken[contender.name].append(seconds_of(contender.run))
            passes.append(seconds_of(reference))
            ratios[contender.name].append(2 * taken[contender.name][-1] / (passes[-2] + passes[-1]))
    rows = {name: Row(name, median(taken[name]), median(ratios[name])) for name in taken}
    return median(passes), rows


# --- correctness of the results ---


def disagreement(found: Moments, samples: int, expected: Moments, expected_samples: int) -> str | None:
    """Describe a difference between moments that is larger than chance; None if there is none."""
    error = expected.std * sqrt(1 / samples + 1 / expected_samples)
    distance, chance = _size(found.mean - expected.mean), _size(error) + 1e-4
    if not distance <= 3 * chance:  # also true for NaN
        return f"means differ by {distance:.2g}, where chance explains {chance:.2g}"
    ratio = (_size(found.std) + 1e-4) / (_size(expected.std) + 1e-4)
    tolerance = 1 + 4 / sqrt(2 * min(samples, expected_samples))
    return None if 1 / tolerance <= ratio <= tolerance else f"standard deviations differ by a factor of {ratio:.2f}"


def _size(values: Tensor) -> float:
    """Root mean square."""
    return values.double().square().mean().sqrt().item()


def check(contenders: Sequence[Contender], samples: int, report: Report) -> None:
    for contender in contenders:
        if contender.expected is not None:
            wrong = disagreement(contender.run(), samples, contender.expected, samples)
            report.warn(wrong and f"{contender.name}: {wrong}")


# --- the two networks against other libraries ---


def keras_contenders(keras: Keras, expected: Moments, deterministic: Moments) -> list[Contender]:
    def forwards() -> Moments:
        keras.run("forward")
        return keras.moments()

    def sampled() -> Moments:
        keras.run("samples")
        return keras.moments()

    return [Contender("Keras, one forward", forwards, deterministic, slow=False), Contender(KERAS, sampled, expected)]


def timed_only(contender: Contender, keras: Keras | None) -> Contender:
    """Do not fetch Keras' results while time is measured."""
    if keras is None or not contender.name.startswith("Keras"):
        return contender
    command = "samples" if contender.name == KERAS else "forward"
    return Contender(contender.name, lambda: keras.run(command), contender.expected, contender.slow)  # type: ignore[arg-type, return-value]


def compare(case: str, rows: int, passes: int, samples: int, args: argparse.Namespace) -> Report:
    """Time all contenders on one network. The reference is `passes` deterministic passes of plain torch."""
    report = Report(case)
    network = NETWORKS[case]()
    x = network.batch(rows)
    unit = "one forward" if passes == 1 else f"{passes} forwards"
    print(f"{case}: {rows} images, {samples} samples, against {unit} of the plain torch module")
    contenders = torch_contenders(network, x, samples)
    with ExitStack() as stack:
        keras = None
        if args.keras:
            keras = stack.enter_context(keras_process(args.keras, network, x, samples))
            expected = next(c.expected for c in contenders if c.name == "regtorch, shared masks")
            assert expected is not None
            contenders += keras_contenders(keras, expected, forward(network.plain, x))
        check(contenders, samples, report)
        timed = [timed_only(contender, keras) for contender in contenders]
        reference, table = time_in_turns(
            lambda: forward(network.plain, x, passes), timed, args.repeats, args.slow_repeats
        )
    _print_comparison(report, reference, unit, table, passes)
    report.budgets = _budgets_of(case, table)
    report.judge()
    return report


def _print_comparison(report: Report, reference: float, unit: str, table: dict[str, Row], passes: int) -> None:
    ours = table["regtorch, shared masks"].ratio
    rows = [Row(f"torch, {unit}", reference, 1.0), *table.values()]
    print(f"  {'':32} {'seconds':>9} {'ratio':>8}   regtorch is faster")
    for row in rows:
        if not row.name.endswith(("forward", "forwards")) and not row.name.startswith("regtorch"):
            row.faster = row.ratio / ours
        faster = "" if row.faster is None else f"{row.faster:.1f} x"
        print(f"  {row.name:32} {row.seconds:9.4f} {row.ratio:8.2f}   {faster}")
        report.rows.append(asdict(row))
    if KERAS in table:
        own = table[KERAS].seconds / (passes * table["Keras, one forward"].seconds)
        print(f"  Keras takes {own:.2f} x {unit} of Keras")
    if "torch-uncertainty, batch" in table:
        print(f"  torch-uncertainty's batch mode gets {BATCH_MODE_ROWS:,} rows times samples per pass, not all at once")


def _budgets_of(case: str, table: dict[str, Row]) -> list[Budget]:
    shared, independent = table["regtorch, shared masks"], table["regtorch, independent masks"]
    others = [row for name, row in table.items() if not name.startswith("regtorch") and not name.endswith("forward")]
    if case == "cifar10 cnn":
        budgets = [Budget("shared masks, to one forward of plain torch", shared.ratio, 1.2)]
        budgets += [Budget(f"faster than {row.name}", row.ratio / shared.ratio, 30, at_least=True) for row in others]
        if KERAS in table:
            ratio = table["regtorch, one forward"].ratio / table["Keras, one forward"].ratio
            budgets.append(Budget("regtorch's forward, to Keras'", ratio, 1.0))
        return budgets
    budgets = [
        Budget("shared masks, to as many forwards of plain torch", shared.ratio, 1.15),
        Budget("independent masks, to as many forwards of plain torch", independent.ratio, 1.6),
    ]
    if KERAS in table:
        for row in (shared, independent):
            budgets.append(Budget(f"{row.name}, to Keras in seconds", row.ratio / table[KERAS].ratio, 1.0))
    return budgets


def case_cnn(args: argparse.Namespace, sizes: Sizes) -> Report:
    return compare("cifar10 cnn", sizes.cnn_rows, 1, sizes.samples, args)


def case_mlp(args: argparse.Namespace, sizes: Sizes) -> Report:
    return compare("fashion mlp", sizes.mlp_rows, sizes.samples, sizes.samples, args)


# --- memory ---


def megabytes(network: str, contender: str, rows: int, samples: int) -> dict[str, float]:
    script = Path(__file__).with_name("mc_memory.py")
    command = [sys.executable, str(script), network, contender, str(rows), str(samples)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    measured: dict[str, float] = json.loads(printed.splitlines()[-1])
    return measured


def case_memory(args: argparse.Namespace, sizes: Sizes) -> Report:
    report = Report("memory")
    few, many = sizes.few_samples, sizes.many_samples
    print(f"memory: peak megabytes of a process (and the increase by the prediction), {few} and {many} samples")
    rows_of = (sizes.cnn_rows, sizes.mlp_rows, sizes.cnn_rows)
    cases = zip(MEASURED, rows_of, sizes.batch_mode_rows, strict=True)
    for network, all_rows, few_rows in cases:
        for contender in CONTENDERS:
            ours = not contender.startswith("torch-uncertainty")
            if not ours and "torch_uncertainty" in not_installed(args.keras):
                continue
            rows = all_rows if ours else few_rows
            found = [megabytes(network, contender, rows, samples) for samples in (few, many)]
            ratio = found[1]["peak"] / found[0]["peak"]
            peaks = "  ".join(f"{one['peak']:7.0f} ({one['peak'] - one['before']:+6.0f})" for one in found)
            name = f"{network}, {f'regtorch, {contender} masks' if ours else contender}, {rows} rows"
            print(f"  {name:58} {peaks}  {ratio:5.2f} x")
            report.rows.append({"name": name, few: found[0], many: found[1], "ratio": ratio})
            if ours:
                report.budgets.append(Budget(f"{network}, {contender} masks: {many} samples, to {few}", ratio, 1.05))
    report.judge()
    return report


# --- torchvision ---


def torchvision_models() -> dict[str, Callable[[], nn.Module]]:
    from torchvision import models

    return {
        "mobilenet_v2": models.mobilenet_v2,
        "efficientnet_b0": models.efficientnet_b0,
        "vgg11": models.vgg11,
        "vit_b_16 (dropout 0.1)": lambda: models.vit_b_16(dropout=0.1),
    }


def case_torchvision(args: argparse.Namespace, sizes: Sizes) -> Report:
    report = Report("torchvision")
    samples, passes = sizes.image_samples, sizes.loop_passes
    print(
        f"torchvision: {sizes.images} images 224x224, {samples} samples, shared masks, seconds; the plain loop is extrapolated "
        f"from {passes} passes by a factor of {samples / passes:.1f}; regtorch's first call, with one image, splits the model"
    )
    x = torch.randn(sizes.images, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    columns = f"{'forward':>8} {'plain loop':>10} {'first call':>10} {'regtorch':>9} {'to forward':>10} {'faster':>8}"
    print(f"  {'':24} {columns}   reused by time / by work")
    for name, build in torchvision_models().items():
        torch.manual_seed(0)
        model = build().eval()
        report.rows.append(_print_torchvision(name, model, x, samples, passes, report))
    return report


def _print_torchvision(
    name: str, model: nn.Module, x: Tensor, samples: int, passes: int, report: Report
) -> dict[str, object]:
    few = plain_loop(model, x, passes)
    forward(model, x)
    before = seconds_of(lambda: forward(model, x))
    loop = seconds_of(few) * samples / passes
    between = seconds_of(lambda: forward(model, x))
    predictor = regtorch.MCPredictor(model, samples=samples, progress=False)
    splitting = seconds_of(lambda: predictor(x[:1]))
    start = perf_counter()
    found = predictor(x)
    ours = perf_counter() - start
    one = median([before, between, seconds_of(lambda: forward(model, x))])
    wrong = disagreement(few(), passes, Moments(found.mean, found.std), samples)
    report.warn(wrong and f"{name}: {wrong}")
    by_time = 1 - ours / (samples * one)
    reused = getattr(predictor, "reused", None)
    by_work = "-" if reused is None else f"{reused:.0%}"
    columns = f"{one:8.3f} {loop:10.2f} {splitting:10.3f} {ours:9.3f} {ours / one:9.2f}x {loop / ours:7.1f}x"
    print(f"  {name:24} {columns}   {by_time:.0%} / {by_work}")
    return {
        "name": name,
        "forward": one,
        "plain loop": loop,
        "first call": splitting,
        "regtorch": ours,
        "reused": reused,
    }


CASES = {"cifar10 cnn": case_cnn, "fashion mlp": case_mlp, "memory": case_memory, "torchvision": case_torchvision}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, help="run only this case")
    parser.add_argument("--quick", action="store_true", help="small sizes, to test the benchmark itself")
    parser.add_argument("--keras", metavar="PYTHON", help="the Python of an environment with tensorflow and keras")
    parser.add_argument("--repeats", type=int, default=7, help="rounds of forwards and regtorch")
    parser.add_argument("--slow-repeats", type=int, default=2, help="rounds of contenders that are as slow as a loop")
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write the numbers to this file")
    args = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    busy = os.getloadavg()[0]
    if busy > 0.5:  # threads that wait for each other lose a large part of their time
        print(f"warning: the machine is busy (load {busy:.1f}); torch's threads may be several times slower")
    missing = not_installed(args.keras)
    if missing:
        print(f"not installed: {', '.join(missing)}")
    if args.quick:
        print("quick: the budgets are not meaningful at these sizes")
    cases = [args.case] if args.case else list(CASES)
    reports = [CASES[case](args, QUICK if args.quick else Sizes()) for case in cases]
    if args.json:
        found = [asdict(r) | {"budgets": [asdict(b) | {"met": b.met} for b in r.budgets]} for r in reports]
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
