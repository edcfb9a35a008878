"""deploy/Containerfile: linted, and its commands run for real."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from dockerfile_parse import DockerfileParser
from program import DATA, PATIENCE, PROGRAM, ROOT, Installed, run

HADOLINT = Path(sys.executable).with_name("hadolint")


@dataclass
class Stage:
    base: str
    name: str
    instructions: list[tuple[str, str]]

    def last(self, instruction: str) -> str:
        values = self.all(instruction)
        assert values, f"{self.name} has no {instruction}"
        return values[-1]

    def all(self, instruction: str) -> list[str]:
        return [value for name, value in self.instructions if name == instruction]

    def command(self, instruction: str) -> list[str]:
        """In exec form: there is no shell."""
        text = self.last(instruction)
        assert text.startswith("["), f"{instruction} {text} wants a shell"
        return [str(word) for word in json.loads(text)]

    def environment(self) -> dict[str, str]:
        words = [word for value in self.all("ENV") for word in shlex.split(value)]
        return dict(word.split("=", 1) for word in words)

    def user(self) -> tuple[int, int]:
        user, _, group = self.last("USER").partition(":")
        return int(user), int(group)


def stages(deploy: Path) -> dict[str, Stage]:
    parser = DockerfileParser(fileobj=(deploy / "Containerfile").open("rb"))
    found: dict[str, Stage] = {}
    stage = Stage("", "", [])
    for part in parser.structure:
        instruction, value = part["instruction"].upper(), part["value"]
        if instruction == "FROM":
            base, name = re.split(r"\s+AS\s+", value, flags=re.IGNORECASE)
            stage = found[name] = Stage(base, name, [])
        elif instruction != "COMMENT":
            stage.instructions.append((instruction, value))
            if stage.name == "":
                found.setdefault("", stage)
    return found


def image(deploy: Path) -> Stage:
    """What is built when nothing else is asked for."""
    return list(stages(deploy).values())[-1]


def service_configuration(deploy: Path) -> str:
    return (deploy / "compose" / "doorbuster.toml").read_text()


def check_lint(deploy: Path) -> None:
    done = subprocess.run(
        [HADOLINT, "--no-color", "--failure-threshold", "style", deploy / "Containerfile"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=deploy,
    )
    assert done.returncode == 0, f"hadolint: {done.stdout}{done.stderr}"


def check_image(deploy: Path) -> None:
    built, final = stages(deploy), image(deploy)
    arguments = dict(argument.split("=", 1) for argument in built[""].all("ARG"))
    bases = [stage.base for stage in built.values() if stage.base and stage.base not in built]
    assert len(bases) >= 2
    for base in bases:
        named = re.fullmatch(r"\$\{(\w+)\}", base)
        assert named, f"{base} cannot be pinned by an argument"
        tag = arguments[named[1]].rpartition(":")[2]
        assert "/" not in tag and tag != "latest", f"{arguments[named[1]]} has no tag"
    assert "distroless" in arguments["RUNTIME_IMAGE"], "no shell in the image"
    assert min(final.user()) > 0, "not root"
    for stage in built.values():
        for source, *_ in (words[-2:] for words in map(shlex.split, stage.all("COPY")) if "--from=build" in words):
            ran = " ".join(built["build"].all("RUN")).split()
            assert source in ran, f"{source} is not made by the build"
    copied = {arguments[-1]: arguments for arguments in map(shlex.split, final.all("COPY"))}
    assert final.command("ENTRYPOINT") == [PROGRAM] and PROGRAM in copied
    user = ":".join(map(str, final.user()))
    assert f"--chown={user}" in copied[DATA], "the data directory belongs to who runs"
    assert DATA in final.all("VOLUME")
    builds = [value for stage in built.values() for value in stage.all("RUN") if "cargo build" in value]
    for build in builds:
        assert "--locked" in build and "--release" in build and "SOURCE_DATE_EPOCH" in build, build


def check_context(deploy: Path) -> None:
    """What the ignore file lets in is enough for cargo to plan the build with."""
    lines = (deploy / "Containerfile.dockerignore").read_text().splitlines()
    lines = [line for line in lines if line and not line.startswith("#")]
    assert lines[0] == "*", "what is not named stays out"
    with tempfile.TemporaryDirectory(prefix="doorbuster-shipping-") as context:
        for line in lines:
            source = ROOT / line.removeprefix("!")
            if not line.startswith("!"):
                continue
            if source.is_dir():
                shutil.copytree(source, Path(context, source.name), ignore=shutil.ignore_patterns("target"))
            else:
                shutil.copy(source, context)
        plan = ["cargo", "metadata", "--locked", "--offline", "--no-deps", "--format-version", "1"]
        done = subprocess.run(plan, cwd=context, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, f"cargo cannot build what the ignore file lets in: {done.stderr}"
        binaries = {
            (package["name"], target["name"])
            for package in json.loads(done.stdout)["packages"]
            for target in package["targets"]
            if target["kind"] == ["bin"]
        }
    for stage in stages(deploy).values():
        for value in stage.all("RUN"):
            wanted = re.search(r"--package (\S+) --bin (\S+)", value)
            if wanted:
                assert (wanted[1], wanted[2]) in binaries, f"no such binary: {wanted[0]}"


def check_commands(deploy: Path) -> None:
    """ENTRYPOINT, CMD and HEALTHCHECK as they stand, in the image's environment; STOPSIGNAL ends it."""
    final = image(deploy)
    configuration = service_configuration(deploy)
    health = json.loads(final.last("HEALTHCHECK").partition("CMD")[2])
    with Installed(final.command("ENTRYPOINT") + final.command("CMD"), final.environment(), configuration) as service:
        exposed = set(map(int, final.last("EXPOSE").split()))
        assert {int(port) for port in service.ports} == exposed, "it listens where EXPOSE says"
        service.check_serves()
        service.check_health(health, 0)
        service.stop(final.last("STOPSIGNAL"))
        service.check_health(health, 1)


def check_needs_a_key(deploy: Path) -> None:
    """With no key the image refuses to start, and says what to do."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(service_configuration(deploy))
        file.flush()
        told = run("check-config", "--config", file.name, env=image(deploy).environment(), code=2).stderr
        assert "doorbuster keys new" in told, told


CHECKS = [check_lint, check_image, check_context, check_commands, check_needs_a_key]
