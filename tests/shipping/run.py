"""Every check of deploy/, and then the same checks against mutants of deploy/, each of which one of them must refuse.

target/shipping/bin/python tests/shipping/run.py [--no-mutants] [NAME…]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import bill
import cluster
import compose
import container
import mutants
import paper
import unit
from program import ROOT

MODULES = [paper, unit, container, compose, cluster, bill]

Check = Callable[[Path], None]


def checks() -> dict[str, Check]:
    return {f"{module.__name__}.{check.__name__}": check for module in MODULES for check in module.CHECKS}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--no-mutants", action="store_true", help="only the checks themselves")
    parser.add_argument("names", nargs="*", help="checks to run, by a part of their name")
    options = parser.parse_args()
    chosen = {
        name: check
        for name, check in checks().items()
        if not options.names or any(part in name for part in options.names)
    }
    assert chosen, "no such check"
    for name, check in chosen.items():
        started = time.monotonic()
        check(ROOT / "deploy")
        print(f"{name} ok ({time.monotonic() - started:.1f} s)", flush=True)
    if options.no_mutants:
        return
    missed = mutants.missed(chosen)
    if missed:
        sys.exit("mutants that nobody noticed:\n" + "\n".join(missed))


if __name__ == "__main__":
    main()
