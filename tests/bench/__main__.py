"""`python -m tests.bench [PART ...] [--runs 5] [--seed 1]`: measures and prints; asserts nothing."""

import argparse
import importlib
import signal
import sys
import time

import tests.conftest  # noqa: F401 - says where the notebook environments are
from tests.bench.report import header, progress

PARTS = {
    "start": "starting", "restart": "restarting", "bytes": "slow_line", "boot": "booting", "derive": "deriving",
    "ledger": "ledger", "pods": "pods", "desk": "desk", "site": "sites",
}  # fmt: skip


def main() -> int:
    """Run the parts that are named, else all; an interrupted part leaves nothing running."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; default: all")
    parser.add_argument("--runs", type=int, default=5, help="of each kind (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="decides in which order kinds take turns (%(default)s)")
    options = parser.parse_args()
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown or options.runs < 1:
        parser.error(f"parts are {', '.join(PARTS)}; at least one run")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as with Ctrl-C, what runs is ended first
    print(header(options.runs, options.seed), flush=True)
    for part in options.parts or PARTS:
        begun = time.monotonic()
        print(importlib.import_module(f"tests.bench.{PARTS[part]}").measure(options.runs, options.seed), flush=True)
        progress(f"{part}: {time.monotonic() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
