"""What goes beside the binary: completions that a shell takes, and manual pages that `man` shows."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

from program import PATIENCE, environment, run


def commands() -> set[str]:
    """As --help lists them."""
    listed = run("--help").stdout.partition("Commands:")[2].partition("Options:")[0]
    found = set(re.findall(r"^  ([a-z-]+)", listed, re.MULTILINE)) - {"help"}
    assert {"serve", "health", "completions", "man"} <= found, found
    return found


def check_completions(_deploy: Path) -> None:
    """bash offers every command, and the options of one."""
    script = run("completions", "bash").stdout
    asked = """
        complete_words() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
            _doorbuster doorbuster "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"; echo "${COMPREPLY[@]}"; }
        complete_words doorbuster ''
        complete_words doorbuster health --
    """
    done = subprocess.run(["bash", "-c", script + asked], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0 and not done.stderr, done.stderr
    first, options = (set(line.split()) for line in done.stdout.splitlines())
    assert commands() <= first, commands() - first
    assert {"--ops-listen", "--live"} <= options and "--shoppers" not in options, options
    run("completions", "no-shell", code=2)


def check_manual(_deploy: Path) -> None:
    """`man` shows a page for every command."""
    with tempfile.TemporaryDirectory(prefix="doorbuster-shipping-") as directory:
        run("man", "--dir", Path(directory, "man1"))
        for command in sorted(commands()):
            shown = subprocess.run(
                ["man", "--warnings", "--pager=cat", f"doorbuster-{command}"],
                env=environment({"MANPATH": directory, "MANWIDTH": "200"}),
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
            assert shown.returncode == 0 and not shown.stderr, f"man doorbuster-{command}: {shown.stderr}"
            assert f"doorbuster {command}" in shown.stdout, shown.stdout
        assert Path(directory, "man1", "doorbuster.1").read_text() == run("man").stdout


CHECKS = [check_completions, check_manual]
