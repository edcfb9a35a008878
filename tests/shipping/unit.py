"""deploy/doorbuster.service: verified and rated by systemd's own programs, its commands run for real, and what it lets
the program do held against what the program does."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path

from container import service_configuration
from program import DATA, PATIENCE, PROGRAM, ROOT, Installed, binary, drain_seconds, environment, run, settings

# 0 is all that systemd can take away, 100 is root with everything: 1.4 is what a service with a network comes to.
EXPOSURE_MAX = 14


def directives(deploy: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for line in (deploy / "doorbuster.service").read_text().splitlines():
        if line and line[0] not in "#[":
            name, value = line.split("=", 1)
            found[name].append(value)
    return found


def installed(deploy: Path, where: Path) -> Path:
    """The unit with the built binary as the one that is installed."""
    text = (deploy / "doorbuster.service").read_text()
    assert PROGRAM in text
    unit = where / "doorbuster.service"
    unit.write_text(text.replace(PROGRAM, str(binary())))
    return unit


def check_verify(deploy: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="doorbuster-shipping-") as directory:
        # The unit names the manual page: the program's own.
        run("man", "--dir", Path(directory, "man", "man1"))
        done = subprocess.run(
            ["systemd-analyze", "verify", installed(deploy, Path(directory))],
            env=environment({"MANPATH": f"{directory}/man"}),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    # It says what it does not know, and ends with 0 all the same.
    assert done.returncode == 0 and not done.stderr, f"systemd-analyze verify: {done.stderr}"


def check_exposure(deploy: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="doorbuster-shipping-") as directory:
        rate = ["systemd-analyze", "security", "--no-pager", "--offline=yes", f"--threshold={EXPOSURE_MAX}"]
        unit = installed(deploy, Path(directory))
        done = subprocess.run([*rate, unit], capture_output=True, text=True, timeout=PATIENCE)
    assert "Overall exposure level" in done.stdout, done.stderr
    bad = "\n".join(line for line in done.stdout.splitlines() if line.startswith(("✗", "→")))
    assert done.returncode == 0, f"systemd-analyze security: {bad}"


def check_policy(deploy: Path) -> None:
    """Restarts as the exit codes mean them; time to stop; room for connections."""
    said, config = directives(deploy), settings()
    codes = dict(re.findall(r"(\w+) = (\d),", (ROOT / "src/cli/exit.rs").read_text()))
    prevented = {name for name, code in codes.items() if code in said["RestartPreventExitStatus"][0].split()}
    assert prevented == {"BadConfig", "JournalDamaged", "DataDirectoryInUse"}, prevented
    assert said["Restart"] == ["on-failure"] and "StorageFailed" in codes
    run("serve", "--config", "/nowhere/doorbuster.toml", code=int(codes["BadConfig"]))
    assert said["StartLimitBurst"] and said["StartLimitIntervalSec"]
    assert int(said["TimeoutStopSec"][0]) >= drain_seconds(config) + 30
    assert said["TimeoutStartSec"] == ["infinity"], "recovery takes as long as the journal is"
    files = config["limits"]["connections_max"] + config["limits"]["event_readers_max"] + 500
    assert int(said["LimitNOFILE"][0]) > files
    assert f"/var/lib/{said['StateDirectory'][0]}" == DATA


def check_commands(deploy: Path) -> None:
    """ExecStart tells systemd that it serves, ExecReload makes it read keys, SIGTERM ends it."""
    said = directives(deploy)
    [start], [reload] = said["ExecStart"], said["ExecReload"]
    assert said["Type"] == ["notify"]
    with tempfile.TemporaryDirectory(prefix="doorbuster-shipping-") as directory:
        path = Path(directory, "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
            notified.bind(str(path))
            notified.settimeout(PATIENCE)
            with Installed(shlex.split(start), {"NOTIFY_SOCKET": str(path)}, service_configuration(deploy)) as service:
                assert notified.recv(100) == b"READY=1\n"
                service.check_serves()
                service.check_takes_keys(shlex.split(reload.replace("$MAINPID", str(service.pid()))))
                service.stop()
                assert notified.recv(100) == b"STOPPING=1\n"


def allowed_calls(deploy: Path) -> set[str]:
    """The system calls that SystemCallFilter leaves."""

    def members(group: str) -> set[str]:
        listed = ["systemd-analyze", "--no-pager", "syscall-filter", group]
        lines = subprocess.run(listed, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout.splitlines()
        names = {line.strip() for line in lines[1:] if line.strip() and not line.strip().startswith("#")}
        inner = {name for name in names if name.startswith("@")}
        return (names - inner).union(*map(members, inner))

    calls: set[str] = set()
    for value in directives(deploy)["SystemCallFilter"]:
        taken, groups = value.startswith("~"), value.removeprefix("~").split()
        for group in groups:
            calls = calls - members(group) if taken else calls | members(group)
    return calls


def check_confinement(deploy: Path) -> None:
    """Under strace, through a whole life: no system call that is filtered, no socket of a family that is not let
    through, no file written outside its own directory."""
    said = directives(deploy)
    [start] = said["ExecStart"]
    families = set(said["RestrictAddressFamilies"][0].split())
    with tempfile.NamedTemporaryFile(prefix="doorbuster-shipping-") as trace:
        strace = ["strace", "--follow-forks", "--quiet=all", f"--output={trace.name}"]
        with Installed(shlex.split(start), {}, service_configuration(deploy), wrapped_in=strace) as service:
            service.check_serves()
            service.check_takes_keys(["kill", "-HUP", str(service.pid())])
            service.stop()
            data = str(service.data)
        lines = Path(trace.name).read_text(errors="replace").splitlines()
    called = {found[1] for line in lines if (found := re.match(r"\d+\s+(\w+)\(", line))}
    assert len(called) > 40 and "fdatasync" in called, f"little was seen: {called}"
    # SQLite hands its files over to the owner of the database where it is root, as whoever runs this may be.
    as_root = {"fchown"} if os.geteuid() == 0 else set()
    filtered = called - as_root - allowed_calls(deploy)
    assert not filtered, f"SystemCallFilter takes away {filtered}"
    opened = {found[1] for line in lines if (found := re.search(r"\bsocket\((AF_\w+)", line))}
    assert opened and opened <= families, f"RestrictAddressFamilies takes away {opened - families}"
    written = [
        found[1]
        for line in lines
        if (found := re.search(r'open(?:at)?\(.*?"([^"]+)", [^)]*O_(?:WRONLY|RDWR|CREAT)', line))
    ]
    outside = {path for path in written if not path.startswith((data, "/dev/null"))}
    assert written and not outside, f"ProtectSystem takes away {outside}"


CHECKS = [check_verify, check_exposure, check_policy, check_commands, check_confinement]
