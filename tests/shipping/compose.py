"""deploy/compose.yaml: held against the published schema of the Compose Specification and against what it names; the
service in it run for real."""

from __future__ import annotations

import importlib.resources
import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import yaml
from container import image, service_configuration, stages
from jsonschema import validators
from program import (
    CONFIGURATION,
    DATA,
    PATIENCE,
    ROOT,
    STORE_ELSEWHERE,
    Installed,
    binary,
    drain_seconds,
    settings,
)
from program import environment as with_environment

# What others write: it may be missing, and what it is named by must not be changed before it is there.
AWAITED = {"deploy/prometheus/rules.yml", "grafana/provisioning", "grafana/dashboards"}

# The two that are made by hand, and never committed.
SECRETS = {"secrets/store-password", "secrets/grafana-password"}


def load(deploy: Path) -> Any:
    return yaml.safe_load((deploy / "compose.yaml").read_text())


def environment(deploy: Path) -> dict[str, str]:
    """Of the service: the image's, and over it what compose.yaml says."""
    return image(deploy).environment() | load(deploy)["services"]["doorbuster"]["environment"]


def check_schema(deploy: Path) -> None:
    package = importlib.resources.files("check_jsonschema")
    text = package.joinpath("builtin_schemas", "vendor", "compose-spec.json").read_text()
    schema = json.loads(text)
    validator = validators.validator_for(schema)(schema)
    wrong = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(load(deploy))]
    assert not wrong, wrong


def check_names(deploy: Path) -> None:
    """Everything that is named is there: files, volumes, secrets, services, stages."""
    compose, built = load(deploy), stages(deploy)
    services = compose["services"]
    assert {"doorbuster", "postgres", "prometheus", "grafana", "load"} <= set(services)
    for name, service in services.items():
        mounts = [volume.split(":")[0] for volume in service.get("volumes", [])]
        for source in mounts:
            if source.startswith("."):
                # What stands beside deploy/ is not in a copy of it.
                path = (deploy / source).resolve().relative_to(deploy.resolve().parent)
                there = (deploy.parent if path.is_relative_to("deploy") else ROOT) / path
                assert there.exists() or str(path) in AWAITED, f"{name}: {source} is not there"
            else:
                assert source in compose["volumes"], f"{name}: no volume {source}"
        for secret in service.get("secrets", []):
            assert secret in compose["secrets"], f"{name}: no secret {secret}"
            used = json.dumps(service.get("environment", {}))
            assert f"/run/secrets/{secret}" in used, f"{name}: nobody reads {secret}"
        for other in service.get("depends_on", []):
            assert other in services, f"{name} depends on {other}"
        if "build" in service:
            assert (deploy.parent / "deploy" / "Containerfile").exists()
            assert service["build"]["dockerfile"] == "deploy/Containerfile"
            assert service["build"]["target"] in built, f"{name}: no such stage"
        else:
            tag = service["image"].rpartition(":")[2]
            assert tag != service["image"] and tag != "latest", f"{name}: {service['image']} has no tag"
    files = {secret["file"].removeprefix("./") for secret in compose["secrets"].values()}
    assert files == SECRETS
    ignored = (deploy / "secrets" / ".gitignore").read_text().splitlines()
    assert ignored == ["*", "!.gitignore"], "secrets are never committed"


def check_bounds(deploy: Path) -> None:
    """Nothing is published beyond loopback; there is time to stop, and room for connections."""
    compose = load(deploy)
    for name, service in compose["services"].items():
        for port in service.get("ports", []):
            assert str(port).startswith("127.0.0.1:"), f"{name} publishes {port} to everybody"
        assert "no-new-privileges:true" in service["security_opt"], name
    service, config = compose["services"]["doorbuster"], settings()
    grace = int(re.fullmatch(r"(\d+)s", service["stop_grace_period"])[1])  # type: ignore[index]
    assert grace >= drain_seconds(config) + 30, "time for an orderly end and a snapshot"
    assert (
        service["ulimits"]["nofile"] > config["limits"]["connections_max"] + config["limits"]["event_readers_max"] + 500
    )
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
    mounts = dict(volume.split(":")[:2] for volume in service["volumes"])
    assert mounts["data"] == DATA and mounts["./compose"] == CONFIGURATION


def check_scrape(deploy: Path) -> None:
    """Prometheus asks the service where it listens, and reads rules where they are mounted."""
    compose = load(deploy)
    scrape = yaml.safe_load((deploy / "compose" / "prometheus.yml").read_text())
    target = scrape["scrape_configs"][0]["static_configs"][0]["targets"][0]
    host, port = target.split(":")
    assert host in compose["services"]
    assert environment(deploy)["DOORBUSTER_SERVER__OPS_LISTEN"].endswith(f":{port}"), target
    mounts = [volume.split(":")[1] for volume in compose["services"]["prometheus"]["volumes"]]
    assert set(scrape["rule_files"]) < set(mounts), mounts


def check_database(deploy: Path) -> None:
    """PostgreSQL has the role and the database that the service's address names, and both have the same password."""
    services = load(deploy)["services"]
    told = services["doorbuster"]["environment"]
    assert set(STORE_ELSEWHERE) <= set(told)
    found = re.fullmatch(r"postgres://(\w+)@(\w+):5432/(\w+)\?sslmode=disable", told["DOORBUSTER_STORE__URL"])
    assert found, told
    user, host, database = found.groups()
    server = services[host]["environment"]
    assert (server["POSTGRES_USER"], server["POSTGRES_DB"]) == (user, database)
    assert server["POSTGRES_PASSWORD_FILE"] == told["DOORBUSTER_STORE__PASSWORD_FILE"]


def check_commands(deploy: Path) -> None:
    """The service with the environment of image and compose.yaml, and the configuration that is mounted."""
    final = image(deploy)
    command = final.command("ENTRYPOINT") + final.command("CMD")
    with Installed(command, environment(deploy), service_configuration(deploy)) as service:
        service.check_serves()
        published = {port.split(":")[2] for port in load(deploy)["services"]["doorbuster"]["ports"]}
        assert set(service.ports) == published, "it listens where ports are published"
        service.stop()


def check_load(deploy: Path) -> None:
    """The shoppers' command for real: with a key, against service, ops listener and store of this run in the place of
    those that it names. Every scenario, short, and every guarantee holds."""
    services, stage = load(deploy)["services"], stages(deploy)["loadtest"]
    shoppers, served = services["load"], services["doorbuster"]
    [program] = stage.command("ENTRYPOINT")
    made = [shlex.split(copy)[-1] for copy in stage.all("COPY")]
    mounted = [volume.split(":")[1] for volume in shoppers["volumes"]]
    told = dict(word.removeprefix("--").split("=", 1) for word in shoppers["command"])
    assert program in made and told["report"] in made and told["report"] in mounted, "it can write its report"
    assert min(stage.user()) > 0 and f"--chown={':'.join(map(str, stage.user()))}" in " ".join(stage.all("COPY"))
    ports = {port.split(":")[2] for port in served["ports"]}
    assert {told["host"], told["ops"]} == {f"http://doorbuster:{port}" for port in ports}, told
    assert told["store"] == served["environment"]["DOORBUSTER_STORE__URL"]
    password = served["environment"]["DOORBUSTER_STORE__PASSWORD_FILE"]
    assert shoppers["environment"]["DOORBUSTER_STORE_PASSWORD_FILE"] == password
    assert shoppers["environment"]["DOORBUSTER_KEY"].startswith("${DOORBUSTER_KEY"), "the key is the caller's"
    final = image(deploy)
    command = final.command("ENTRYPOINT") + final.command("CMD")
    with Installed(command, environment(deploy), service_configuration(deploy)) as service:
        report = Path(service.directory.name, "report")
        here = {"host": service.api, "ops": service.ops, "store": f"{service.data}/store.db", "users": "4"}
        told |= here | {"run-time": "1s", "report": str(report)}
        words = [str(binary().with_name("load")), *(f"--{name}={value}" for name, value in told.items())]
        env = with_environment({"DOORBUSTER_KEY": service.key})
        done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=2 * PATIENCE)
        assert done.returncode == 0, f"{words} ends with {done.returncode}: {done.stdout}{done.stderr}"
        scenarios = [file for file in (ROOT / "loadtest/src/load/scenarios").glob("*.rs") if file.name != "mod.rs"]
        assert len(list(report.glob("*/report.html"))) == len(scenarios), "a report of each scenario"


CHECKS = [check_schema, check_names, check_bounds, check_scrape, check_database, check_commands, check_load]
