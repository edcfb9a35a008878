"""The commands of deploy/ run for real: the built binary in the place of the installed one, on ports of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0

# Where deploy/ has things.
PROGRAM = "/usr/bin/doorbuster"
CONFIGURATION = "/etc/doorbuster"
DATA = "/var/lib/doorbuster"

# What the store is told of PostgreSQL, which is not here: the embedded store stands in its place.
STORE_ELSEWHERE = ("DOORBUSTER_STORE__URL", "DOORBUSTER_STORE__PASSWORD_FILE")


def binary() -> Path:
    """The binary that `cargo build` and the build of the tests leave behind."""
    found = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"), "debug", "doorbuster")
    assert found.exists(), f"{found} is not there: cargo build"
    return found


def environment(more: dict[str, str] | None = None) -> dict[str, str]:
    """Without what would set a key of the configuration, but for these."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("DOORBUSTER_")}
    return own | (more or {})


def run(*arguments: str | Path, env: dict[str, str] | None = None, code: int = 0) -> subprocess.CompletedProcess[str]:
    """A command of the binary that ends with this code."""
    done = subprocess.run(
        [binary(), *arguments], env=environment(env), capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == code, f"doorbuster {arguments} ends with {done.returncode}, not {code}: {done.stderr}"
    return done


def settings(configuration: Path | None = None, env: dict[str, str] | None = None) -> dict[str, Any]:
    """The configuration in force, as check-config tells it. Listens on loopback, so that no key is asked for."""
    arguments = ["--config", str(configuration)] if configuration else []
    env = {"DOORBUSTER_SERVER__LISTEN": "127.0.0.1:8080"} | (env or {})
    return tomllib.loads(run("check-config", *arguments, env=env).stdout)


def drain_seconds(config: dict[str, Any]) -> int:
    """How long an orderly end may take, without the last snapshot."""
    return int(config["limits"]["drain_seconds"]) + int(config["store"].get("drain_seconds", 5))


def new_key(name: str) -> tuple[str, str]:
    """A key of the role operator, and the line of the configuration."""
    key, line = run("keys", "new", "--name", name, "--role", "operator").stdout.splitlines()[:2]
    return key, line


def with_key(configuration: str, line: str) -> str:
    assert configuration.count("[auth.keys]\n") == 1, "the configuration has a place for keys"
    return configuration.replace("[auth.keys]\n", f"[auth.keys]\n{line}\n")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class Installed:
    """`serve` as deploy/ has it: its command line, environment and configuration, with paths and addresses of this run
    in the place of others. It has one key."""

    def __init__(
        self, command: Sequence[str], env: dict[str, str], configuration: str, wrapped_in: Sequence[str] = ()
    ) -> None:
        self.directory = tempfile.TemporaryDirectory(prefix="doorbuster-shipping-")
        self.etc, self.data = Path(self.directory.name, "etc"), Path(self.directory.name, "data")
        self.etc.mkdir()
        self.key, line = new_key("first")
        self.ports: dict[str, int] = {}
        self.configuration = self.etc / "doorbuster.toml"
        self.configuration.write_text(self.put_in_place(with_key(configuration, line)))
        self.env = {name: self.put_in_place(value) for name, value in env.items() if name not in STORE_ELSEWHERE}
        assert command[0] == PROGRAM, f"{command[0]} is not where the binary is installed"
        self.command = [*wrapped_in, str(binary()), *self.places(command[1:])]
        self.log = Path(self.directory.name, "log")

    def places(self, arguments: Sequence[str]) -> list[str]:
        return [self.put_in_place(argument) for argument in arguments]

    def put_in_place(self, text: str) -> str:
        """Directories of this run, and for each port on all addresses one of this run on loopback."""
        text = re.sub(rf"{CONFIGURATION}(?![\w-])", str(self.etc), text)
        text = re.sub(rf"{DATA}(?![\w-])", str(self.data), text)

        def port(found: re.Match[str]) -> str:
            return f"127.0.0.1:{self.ports.setdefault(found[1], free_port())}"

        return re.sub(r"\b(?:0\.0\.0\.0|127\.0\.0\.1):(\d+)", port, text)

    def __enter__(self) -> Installed:
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                self.command,
                env=environment(self.env),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=self.directory.name,
                start_new_session=True,
            )
        watchdog = threading.Timer(PATIENCE, self.kill)
        watchdog.start()
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        watchdog.cancel()
        found = re.search(r"(http://\S+) \(API\) and (http://\S+) \(ops\)", line)
        if found is None:
            self.__exit__(None, None, None)
            raise AssertionError(f"{self.command} does not serve: {self.told}")
        self.api, self.ops = found[1], found[2]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.told = self.log.read_text()
        self.kill()
        self.process.wait(PATIENCE)
        if self.process.stdout:
            self.process.stdout.close()
        self.directory.cleanup()

    def kill(self) -> None:
        """With whatever it is wrapped in."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)

    def pid(self) -> int:
        """Of the service itself, which may have been wrapped in something."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        if Path(os.readlink(f"/proc/{self.process.pid}/exe")) == binary().resolve():
            return self.process.pid
        assert len(children) == 1, children
        return int(children[0])

    def status(self, url: str, key: str | None = None) -> int:
        request = urllib.request.Request(url)
        if key:
            request.add_header("Authorization", f"Bearer {key}")
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            return refused.code

    def check_serves(self) -> None:
        """Probes answer, and the API asks for the key."""
        assert self.status(f"{self.ops}/readyz") == 200
        assert self.status(f"{self.api}/v1/sales") == 401
        assert self.status(f"{self.api}/v1/sales", self.key) == 200

    def check_takes_keys(self, reload: Sequence[str]) -> None:
        """`reload` makes it take over a key that was added."""
        key, line = new_key("second")
        self.configuration.write_text(with_key(self.configuration.read_text(), line))
        subprocess.run(reload, check=True, timeout=PATIENCE)
        until = time.monotonic() + PATIENCE
        # The file is also looked at by itself, so that the key alone says nothing of the command.
        while "SIGHUP" not in self.log.read_text() or self.status(f"{self.api}/v1/sales", key) != 200:
            assert self.process.poll() is None, f"{reload} ended it: {self.log.read_text()}"
            assert time.monotonic() < until, f"{reload} does not make it take the key over"
            time.sleep(0.02)

    def check_health(self, command: Sequence[str], code: int) -> None:
        """The command that asks whether the service is well, in the service's environment."""
        assert command[0] == PROGRAM, command
        asking = [str(binary()), *self.places(command[1:])]
        done = subprocess.run(asking, env=environment(self.env), capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == code, f"{asking} ends with {done.returncode}, not {code}: {done.stdout}{done.stderr}"

    def stop(self, name: str = "SIGTERM") -> None:
        """The signal ends it cleanly, with a snapshot."""
        os.kill(self.pid(), signal.Signals[name])
        code = self.process.wait(PATIENCE)
        assert code == 0, f"{name} ends it with {code}: {self.log.read_text()}"
        assert list(self.data.glob("journal/snapshot-*.snap")), "its data is where it should be"


def load_json(path: Path) -> Any:
    return json.loads(path.read_text())
