"""Peak memory of one Monte Carlo prediction, in its own process: ``python mc_memory.py NETWORK CONTENDER ROWS SAMPLES``.

Prints megabytes as JSON: the peak, and the peak before the prediction.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from pathlib import Path

from mc_contenders import NETWORKS, forward, regtorch_predictor, torch_uncertainty, wide_head

MEASURED = {**NETWORKS, "wide head": wide_head}
CONTENDERS = ("shared", "independent", "torch-uncertainty batch")


def peak() -> float:
    """Peak megabytes. On Linux, VmHWM is used, as ru_maxrss includes the memory of the parent process."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", choices=MEASURED)
    parser.add_argument("contender", choices=CONTENDERS)
    parser.add_argument("rows", type=int)
    parser.add_argument("samples", type=int)
    args = parser.parse_args()
    network = MEASURED[args.network]()
    x = network.batch(args.rows)
    forward(network.plain, x[:1])
    before = peak()
    if args.contender == "torch-uncertainty batch":
        torch_uncertainty(network.plain, x, args.samples, on_batch=True, rows_at_once=args.rows)()
    else:
        regtorch_predictor(network.model, x, args.samples, args.contender)()
    print(json.dumps({"before": before, "peak": peak()}))


if __name__ == "__main__":
    main()
