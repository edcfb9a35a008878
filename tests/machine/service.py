"""The built binary as a process of its own, for the programs in this directory."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0

# Limits that a generator of requests can reach. The document tells them.
SMALL_LIMITS = {
    "limits.lines_max": 4,
    "limits.items_per_sale_max": 6,
    "limits.batch_entries_max": 8,
    # One hold is extended by a whole run.
    "limits.extensions_max": 60_000,
}


def binary() -> Path:
    """The binary that `cargo build` and the build of the tests leave behind."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "debug" / "doorbuster"


def environment() -> dict[str, str]:
    """Without what would set a key of the configuration."""
    return {name: value for name, value in os.environ.items() if not name.startswith("DOORBUSTER_")}


def run(*arguments: str) -> str:
    """What a command of the binary prints."""
    done = subprocess.run([binary(), *arguments], env=environment(), capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, f"doorbuster {arguments} ends with {done.returncode}: {done.stderr}"
    return done.stdout


class Receiver:
    """Takes webhooks and answers with `status`. `received`: headers and body of each request."""

    def __init__(self) -> None:
        self.status = 204
        self.received: list[tuple[dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.received.append((dict(self.headers.items()), body))
                self.send_response(receiver.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *arguments: Any) -> None:
                """Says nothing of each request."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hooks"

    def __enter__(self) -> Receiver:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def configure(self, service: Service, name: str, **keys: int) -> str:
        """Adds the webhook to the configuration, for the next start. Its secret."""
        secret = run("keys", "webhook").strip()
        file = Path(service.directory.name, f"{name}.secret")
        file.write_text(secret + "\n")
        lines = [f"[webhooks.{name}]", f'url = "{self.url}"', f'secret_file = "{file}"', "retry_seconds_max = 1"]
        lines += [f"{key} = {value}" for key, value in keys.items()]
        service.configuration.write_text(service.configuration.read_text() + "\n".join(lines) + "\n")
        return secret


class Service:
    """`doorbuster serve` on ports of its own, in a directory that goes with it. `roles`: each gets a key."""

    def __init__(self, roles: tuple[str, ...] = (), limits: dict[str, int | str] | None = None) -> None:
        self.directory = tempfile.TemporaryDirectory(prefix="doorbuster-machine-")
        self.keys: dict[str, str] = {}
        lines = [f"{name} = {value}" for name, value in (limits or {}).items()]
        lines.append("[auth.keys]")
        for role in roles:
            key, line = run("keys", "new", "--name", role, "--role", role).splitlines()[:2]
            self.keys[role] = key
            lines.append(line)
        self.configuration = Path(self.directory.name, "doorbuster.toml")
        self.configuration.write_text("\n".join(lines) + "\n")
        self.log = Path(self.directory.name, "log")
        # A port of its own; set to that of `url` it comes back where it was.
        self.listen = "127.0.0.1:0"

    def __enter__(self) -> Service:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
        if error is not None:
            print(f"the service logged:\n{self.log.read_text()}")
        self.directory.cleanup()

    def start(self) -> None:
        data = Path(self.directory.name, "data")
        arguments = ["serve", "--config", self.configuration, "--data", data]
        arguments += ["--listen", self.listen, "--ops-listen", "127.0.0.1:0"]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [binary(), *arguments], env=environment(), stdout=subprocess.PIPE, stderr=log, text=True
            )
        watchdog = threading.Timer(PATIENCE, self.process.kill)
        watchdog.start()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        watchdog.cancel()
        found = re.findall(r"http://\S+", line)
        assert len(found) == 2, f"does not serve: {line!r}\n{self.log.read_text()}"
        self.url, self.ops = found

    def stop(self) -> None:
        """Asks it to end, which it must do cleanly."""
        assert self.process.poll() is None, f"it ended by itself with {self.process.returncode}"
        self.process.terminate()
        code = self.process.wait(PATIENCE)
        assert code == 0, f"it ended with {code}"
        told = self.log.read_text()
        wrong = [line for line in told.splitlines() if " ERROR " in line or "panicked" in line]
        assert not wrong, f"it logged {wrong}"

    def get(self, path: str, role: str | None) -> Any:
        return self.send("GET", path, None, role)

    def send(self, method: str, path: str, body: Any, role: str | None) -> Any:
        """The answer, which must be a success. `role`: whose key to show."""
        request = urllib.request.Request(self.url + path, body and json.dumps(body).encode(), method=method)
        request.add_header("Content-Type", "application/json")
        if role:
            request.add_header("Authorization", f"Bearer {self.keys[role]}")
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def check_stock(self, role: str | None) -> int:
        """`stock = available + held + confirmed` for each item, and none is negative. How many items there are."""
        items, query = 0, ""
        while True:
            page = self.get(f"/v1/sales{query}", role)
            for sale in page["sales"]:
                for item in sale["items"]:
                    parts = [item["available"], item["held"], item["confirmed"]]
                    assert item["stock"] == sum(parts) and min(parts) >= 0, f"in {sale['id']}: {item}"
                    items += 1
            if "next" not in page:
                return items
            query = f"?after={page['next']}"
