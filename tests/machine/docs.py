"""The guides hold: every link and anchor leads somewhere, shell blocks run when pasted, and answers are as printed.

`--update` writes the answers of docs/api.md anew.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import designing

from service import ROOT, binary, environment

PATIENCE = 120.0
# `doorbuster serve` in the foreground of a shell of its own: the reader opens another one behind it.
FOREGROUND = re.compile(r"^(?:cargo run --release --|doorbuster) (serve\b.*[^&])$")
LINK = re.compile(r"\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)")
# Values that are others each time. The rest of an answer is held to the letter.
CHANGING = [
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"), "ID"),
    (re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"), "TIME"),
]


@dataclass
class Block:
    """A fenced block: `line` is that of its first line in the file, from 0."""

    language: str
    text: str
    line: int
    before: str


def blocks(path: Path) -> Iterator[Block]:
    language, start, kept, before = None, 0, [], ""
    for number, line in enumerate(path.read_text().splitlines()):
        if line.strip().startswith("```"):
            if language is None:
                language, start, kept = line.strip().removeprefix("```"), number + 1, []
            else:
                yield Block(language, "\n".join(kept), start, before)
                language, before = None, ""
        elif language is not None:
            kept.append(line)
        elif line.strip():
            before = line
    assert language is None, f"{path}: a block does not end"


def pages() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split()]


def anchors(path: Path) -> set[str]:
    """As they are made for headings where Markdown is shown: lower case, marks dropped, spaces as hyphens."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")
        count = 0
        while (name := f"{slug}-{count}" if count else slug) in found:
            count += 1
        found.add(name)
    return found


def check_links() -> int:
    count, wrong = 0, []
    for page in pages():
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        for target in LINK.findall(text):
            if re.match(r"[a-z]+:", target):
                continue
            count += 1
            name, _, anchor = target.partition("#")
            path = (page.parent / name).resolve() if name else page
            if not path.exists():
                wrong.append(f"{page.relative_to(ROOT)}: {target} leads nowhere")
            elif anchor and anchor not in anchors(path):
                wrong.append(f"{page.relative_to(ROOT)}: {target} has no such heading")
    assert not wrong, "\n".join(wrong)
    assert count > 50, f"only {count} links were found"
    return count


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Shell:
    """A shell in a directory of its own, with the built binary on the path and ports of its own for the usual ones."""

    def __init__(self) -> None:
        self.directory = tempfile.TemporaryDirectory(prefix="doorbuster-docs-")
        self.api, self.ops = free_port(), free_port()
        programs = Path(self.directory.name, "bin")
        programs.mkdir()
        (programs / "doorbuster").symlink_to(binary())
        (programs / "python").symlink_to(sys.executable)
        own = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "DOORBUSTER_SERVER__LISTEN": f"127.0.0.1:{self.api}",
            "DOORBUSTER_SERVER__OPS_LISTEN": f"127.0.0.1:{self.ops}",
        }
        self.work = Path(self.directory.name, "work")
        self.work.mkdir()
        self.process = subprocess.Popen(
            ["bash"],
            env=environment() | own,
            cwd=self.work,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.send("set -eo pipefail")

    def __enter__(self) -> Shell:
        return self

    def __exit__(self, *_: object) -> None:
        for name in ("SIGTERM", "SIGKILL"):
            found = subprocess.run(["pgrep", "-s", str(self.process.pid)], capture_output=True, text=True)
            for one in found.stdout.split():
                try:
                    os.kill(int(one), signal.Signals[name])
                except ProcessLookupError:
                    pass
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                continue
        self.directory.cleanup()

    def send(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def paste(self, text: str, where: str) -> str:
        """What the lines print; each of them must succeed."""
        text = text.replace("cargo run --release --", "doorbuster")
        text = text.replace(":8080", f":{self.api}").replace(":9464", f":{self.ops}")
        mark = f"-- end of {where} --"
        self.send(f"{text}\necho; echo {shlex.quote(mark)}")
        watchdog = threading.Timer(PATIENCE, self.process.kill)
        watchdog.start()
        assert self.process.stdout is not None
        lines: list[str] = []
        for line in self.process.stdout:
            if line.strip() == mark:
                watchdog.cancel()
                return "\n".join(lines).strip()
            lines.append(line.rstrip("\n"))
        raise AssertionError(f"{where} failed:\n{text}\n--- it printed:\n" + "\n".join(lines))

    def serve(self, command: str) -> None:
        """In place of another shell in which the service runs in the foreground."""
        self.send(f"doorbuster {command} >service.out 2>service.log & SERVICE=$!")
        self.wait()

    def wait(self) -> None:
        self.paste(
            "for _ in $(seq 300); do doorbuster health >/dev/null 2>&1 && break; sleep 0.2; done; doorbuster health",
            "start",
        )

    def kill(self) -> None:
        self.paste("kill -9 $SERVICE; wait $SERVICE 2>/dev/null || true", "kill")


def check_readme() -> None:
    page = ROOT / "README.md"
    commands, session = [block for block in blocks(page) if block.language == "sh"]
    assert [line.split("#")[0].strip() for line in commands.text.splitlines()] == [
        "cargo run --release -- demo",
        "scripts/test",
    ]
    with Shell() as shell:
        shell.serve("serve")
        for turn in ("once", "twice"):
            told = shell.paste(session.text, f"README.md, pasted {turn}")
            assert '"state":"confirmed"' in told, told
            assert '"available":' in told, told
    with Shell() as shell:
        # The other command is the one that runs this.
        shell.send("doorbuster demo --shoppers 2000 --units 100 >demo.out 2>&1 & DEMO=$!")
        shell.paste(
            "for _ in $(seq 600); do grep -q '^Serving at' demo.out && break; sleep 0.1; done; kill -0 $DEMO",
            "the demo",
        )
        shell.paste("kill $DEMO; wait $DEMO", "the demo's end")
        told = (shell.work / "demo.out").read_text()
        first = next(line for line in told.splitlines() if " WARN " not in line)
        assert first.endswith("/console"), f"the console's address does not come first:\n{told[:500]}"


def check_tutorial() -> None:
    page = ROOT / "docs/tutorial.md"
    done = 0
    with Shell() as shell:
        for block in blocks(page):
            if block.language != "sh":
                continue
            where = f"{page.name}:{block.line + 1}"
            # Readers wait two minutes, and look at a browser meanwhile.
            text = block.text.replace('"hold_seconds": 120', '"hold_seconds": 5')
            if served := FOREGROUND.match(text):
                shell.serve(served[1])
            elif "third shell" in block.before:
                shell.kill()
                shell.serve("serve --data ./tutorial-data")
                told = shell.paste(text, where)
                assert '"state":"confirmed"' in told and "order-1001" in told, told
            else:
                told = shell.paste(text, where)
                check_step(shell, text, told, where)
            done += 1
    assert done >= 9, f"only {done} blocks were run"


def check_step(shell: Shell, text: str, told: str, where: str) -> None:
    if "seq 1 20" in text:
        assert told.count(": 201") == 20, f"{where}: {told}"
    if "too-late" in text:
        assert '"code":"sold_out"' in told, f"{where}: {told}"
        shell.paste("sleep 6", "the customers' patience")
    if '"Idempotency-Key: ann-2"' in text:
        assert '"code":"customer_limit_exceeded"' in told, f"{where}: {told}"
    if "/availability" in text:
        assert '"sku":"sneaker-42","available":20' in told, f"{where}: {told}"
    if "sqlite3" in text:
        assert "confirmed" in told and "order-1001" in told and '"sell_through"' in told, f"{where}: {told}"


def check_operating() -> None:
    page = ROOT / "docs/operating.md"
    done = 0
    with Shell() as shell:
        for block in blocks(page):
            if block.language == "sh":
                shell.paste(block.text, f"{page.name}:{block.line + 1}")
                done += 1
    assert done >= 6, f"only {done} blocks were run"


def check_told(name: str, least: int) -> None:
    """Each answer of the guide has what the lines behind its command say, in their order."""
    page = ROOT / "docs" / name
    done = 0
    with Shell() as shell:
        shell.serve("serve")
        for block in blocks(page):
            if block.language != "sh":
                continue
            where = f"{page.name}:{block.line + 1}"
            rest = told = shell.paste(block.text, where)
            for wanted in re.findall(r"^# → (.*)$", block.text, flags=re.MULTILINE):
                _, found, rest = rest.partition(wanted)
                assert found, f"{where}: {wanted} is missing in\n{told}"
                done += 1
    assert done >= least, f"only {done} answers were looked at"


def check_webhooks() -> None:
    """The trial of the guide to webhooks, and its commands for operators. The receiver prints in its own time."""
    page = ROOT / "docs/webhooks.md"
    port, told, done = free_port(), "", 0
    with Shell() as shell:
        (shell.work / "examples").symlink_to(ROOT / "examples")
        for block in blocks(page):
            # The endpoint of that one is the reader's own.
            if block.language != "sh" or "--config doorbuster.toml" in block.text:
                continue
            where = f"{page.name}:{block.line + 1}"
            told += shell.paste(block.text.replace("9000", str(port)), where) + "\n"
            for wanted in re.findall(r"^# → (.*)$", block.text, flags=re.MULTILINE):
                until = time.monotonic() + PATIENCE
                while wanted not in told:
                    assert time.monotonic() < until, f"{where}: {wanted} is missing in\n{told}"
                    told += shell.paste("sleep 0.2", where) + "\n"
                done += 1
        assert told.count('"name":"orders"') == 3 and "problems" not in told, told
        mode = (shell.work / "orders-webhook.secret").stat().st_mode & 0o777
        assert mode == 0o600, f"others may read the secret: {mode:o}"
    assert done >= 5, f"only {done} answers were looked at"


def check_designing() -> None:
    page = ROOT / "docs/designing-a-sale.md"
    first, key, changes = [block for block in blocks(page) if block.language == "sh"]
    with Shell() as shell:
        (shell.work / "examples").symlink_to(ROOT / "examples")
        shell.serve("serve")
        told = shell.paste(first.text, f"{page.name}:{first.line + 1}")
        assert '"warnings": []' in told and "What sold, and when it was out" in told, told
        assert '"created":true,"warnings":[]' in told and told.count('"id":"early-access"') == 1, told
        told = shell.paste(changes.text, f"{page.name}:{changes.line + 1}")
        assert '"stock":840' in told and '"results":[' in told and "problems" not in told, told
        told = shell.paste(key.text, f"{page.name}:{key.line + 1}")
        assert 'channels = ["livestream"]' in told, told


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, str):
        for pattern, name in CHANGING:
            value = pattern.sub(name, value)
    return value


def check_api(update: bool) -> int:
    """Each shell block of docs/api.md, and behind it what the last line of it prints."""
    page = ROOT / "docs/api.md"
    lines = page.read_text().splitlines()
    kept, done, told, where = 0, 0, "", ""
    out: list[str] = []
    with Shell() as shell:
        shell.serve("serve")
        for block in blocks(page):
            if block.language == "sh":
                where = f"{page.name}:{block.line + 1}"
                told = shell.paste(block.text, where)
            elif block.language in ("json", "text"):
                count = len(block.text.splitlines())
                if block.language == "json":
                    answer = json.loads(told)
                    printed = json.dumps(answer, indent=2, ensure_ascii=False)
                    same = update or plain(answer) == plain(json.loads(block.text))
                else:
                    printed, same = told, update or plain(told) == plain(block.text)
                assert same, f"{where} is answered\n{printed}\nand not as printed; --update writes it"
                out += lines[kept : block.line] + printed.splitlines()
                kept = block.line + count
                done += 1
    out += lines[kept:]
    if update:
        page.write_text("\n".join(out) + "\n")
    assert update or done >= 20, f"only {done} answers were compared"
    return done


def check_problems_are_listed() -> None:
    """Each code that the service knows stands in the table of docs/api.md, and no other."""
    with Shell() as shell:
        shell.serve("serve")
        with urllib.request.urlopen(f"http://127.0.0.1:{shell.api}/openapi.json", timeout=PATIENCE) as answer:
            document = json.load(answer)
    properties = [schema.get("properties", {}) for schema in document["components"]["schemas"].values()]
    known = {each["code"]["const"] for each in properties if "const" in each.get("code", {})}
    listed = set(re.findall(r"^\| \d{3} \| `(\w+)`", (ROOT / "docs/api.md").read_text(), flags=re.MULTILINE))
    assert listed == known, f"missing: {sorted(known - listed)}; unknown: {sorted(listed - known)}"


def main() -> None:
    update = "--update" in sys.argv
    if update:
        print(f"{check_api(True)} answers written")
        return
    print(f"{check_links()} links lead somewhere")
    check_readme()
    check_tutorial()
    check_operating()
    check_told("checkout.md", 20)
    check_told("waitlist.md", 12)
    check_told("kpi.md", 7)
    check_webhooks()
    check_designing()
    print("README, tutorial and the guides to operating, checkouts, waitlists, KPIs, webhooks and sales run as pasted")
    print(f"{designing.check()} rows of the guide to sales are what a service does")
    print(f"{check_api(False)} answers of docs/api.md are as printed")
    check_problems_are_listed()


if __name__ == "__main__":
    main()
