"""Runs the commands of docs/client.md: a client is generated from the document, checked, and buys a television."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from service import ROOT, Service, binary, environment

SECONDS_MAX = 300


def main() -> None:
    text = (ROOT / "docs/client.md").read_text()
    commands, *_ = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    example = (ROOT / "docs/client/reserve.py").read_text()
    for shown in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        assert shown in without_comments(example), f"docs/client.md shows what is not in the example:\n{shown}"
    with Service(roles=("operator",)) as service:
        path = [str(binary().parent), str(Path(sys.executable).parent), os.environ["PATH"]]
        settings = {"PATH": os.pathsep.join(path), "API_URL": service.url, "API_KEY": service.keys["operator"]}
        done = subprocess.run(
            ["bash", "-euc", commands],
            cwd=ROOT,
            env=environment() | settings,
            timeout=SECONDS_MAX,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"the commands fail:\n{done.stdout}\n{done.stderr}"
        print(done.stdout.strip())
        check_sold(service)
        service.stop()


def without_comments(program: str) -> str:
    return "".join(line for line in program.splitlines(keepends=True) if not line.strip().startswith("#"))


def check_sold(service: Service) -> None:
    """What the example says it did is what the service has."""
    assert service.check_stock("operator") == 1
    (sale,) = service.get("/v1/sales", "operator")["sales"]
    (item,) = sale["items"]
    assert (item["available"], item["held"], item["confirmed"]) == (0, 0, 1), item


if __name__ == "__main__":
    main()
