"""The examples of examples/, each run as its README says against the built binary, with a key."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from service import ROOT, Service

PATIENCE = 120.0
LAST_LINE = "4 units sold, 4 payments kept, 1 refunded"
# Of the example with payments: what is sold depends on which requests come first.
PAYMENTS_LAST_LINE = r"\d+ units sold and paid for; \d+ payments, \d+ units refunded, each by an event"


def run(name: str, command: list[str], folder: Path, last_line: str, service: Service, wrong: list[str]) -> None:
    own = os.environ | {
        "API_URL": service.url,
        "API_KEY": service.keys["operator"],
        "GOFLAGS": "-mod=mod",
        "GOTOOLCHAIN": "local",
    }
    try:
        done = subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired as error:
        wrong.append(f"{name} did not end: {error.stdout!r}")
        return
    last = (done.stdout.strip().splitlines() or [""])[-1]
    if done.returncode != 0 or not re.fullmatch(last_line, last):
        wrong.append(f"{name} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def main() -> None:
    examples = ROOT / "examples"
    # The packages of npm are put beside what is built, and not beside what is kept.
    packages = ROOT / "target/examples"
    packages.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", "tsconfig.json", "checkout.ts"):
        shutil.copy(examples / "typescript" / name, packages / name)
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=packages, check=True, timeout=300)
    subprocess.run(["npm", "run", "--silent", "check"], cwd=packages, check=True, timeout=300)
    commands = {
        "Python": ([sys.executable, "checkout.py"], examples / "python", LAST_LINE),
        "TypeScript": (["npm", "start", "--silent"], packages, LAST_LINE),
        "Go": (["go", "run", "checkout.go"], examples / "go", LAST_LINE),
        "payments": ([sys.executable, "payments.py"], examples / "python", PAYMENTS_LAST_LINE),
    }
    wrong: list[str] = []
    with Service(roles=("operator",)) as service:
        threads = [
            threading.Thread(target=run, args=(name, command, folder, last_line, service, wrong))
            for name, (command, folder, last_line) in commands.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong, "\n".join(wrong)
        assert service.check_stock("operator") == len(commands)
        service.stop()
    print(f"{len(commands)} examples sold what they were paid for, and nothing else")


if __name__ == "__main__":
    main()
