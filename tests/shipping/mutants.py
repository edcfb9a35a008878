"""Faults that deploy/ must not have, put into a copy of it one at a time: the check beside each must fail on it."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import yaml
from jsonschema import ValidationError
from program import ROOT

CONTAINER, COMPOSE, UNIT = "Containerfile", "compose.yaml", "doorbuster.service"
BASE, POSTGRES = "kubernetes/base/", "kubernetes/postgresql/"

# Check, file, what stands there, what is put in its place.
MUTANTS = [
    ("container.check_lint", CONTAINER, "WORKDIR /build", "WORKDIR build"),
    ("container.check_lint", CONTAINER, "USER 65532:65532\nWORKDIR", "MAINTAINER me\nUSER 65532:65532\nWORKDIR"),
    ("container.check_image", CONTAINER, "USER 65532:65532\nWORKDIR", "USER 0:0\nWORKDIR"),
    ("container.check_image", CONTAINER, "rust:1.95-slim-bookworm\nARG", "rust:latest\nARG"),
    ("container.check_image", CONTAINER, "--locked ", ""),
    ("container.check_image", CONTAINER, "--chown=65532:65532 /image/var", "/image/var"),
    ("container.check_image", CONTAINER, '["/usr/bin/doorbuster"]\nCMD', '["/bin/doorbuster"]\nCMD'),
    ("container.check_image", CONTAINER, "VOLUME /var/lib/doorbuster\n", ""),
    ("container.check_context", "Containerfile.dockerignore", "!src\n", ""),
    ("container.check_context", "Containerfile.dockerignore", "*\n!Cargo", "!Cargo"),
    ("container.check_context", CONTAINER, "--bin doorbuster ", "--bin doorbusters "),
    ("container.check_commands", CONTAINER, "DOORBUSTER_DATA__DIR", "DOORBUSTER_DATA__DIRECTORY"),
    ("container.check_image", CONTAINER, "/image/var/lib/doorbuster ", "/image/var/lib/data "),
    ("container.check_commands", CONTAINER, "DATA__DIR=/var/lib/doorbuster", "DATA__DIR=elsewhere"),
    ("container.check_commands", CONTAINER, '["/usr/bin/doorbuster", "health"]', '["/usr/bin/doorbuster", "inspect"]'),
    ("container.check_commands", CONTAINER, '"--config", "/etc', '"--conf", "/etc'),
    ("container.check_commands", CONTAINER, "EXPOSE 8080 9464", "EXPOSE 8080"),
    ("container.check_commands", CONTAINER, "STOPSIGNAL SIGTERM", "STOPSIGNAL SIGKILL"),
    ("container.check_commands", CONTAINER, 'CMD ["serve",', 'CMD ["demo",'),
    ("container.check_needs_a_key", CONTAINER, "LISTEN=0.0.0.0:8080", "LISTEN=127.0.0.1:8080"),
    (
        "compose.check_schema",
        COMPOSE,
        "read_only: true\n    cap_drop: [ALL]\n    ulimits",
        "readonly: true\n    ulimits",
    ),
    ("compose.check_schema", COMPOSE, "retries: 10", "retries: [10]"),
    ("compose.check_names", COMPOSE, "./compose/prometheus.yml:", "./compose/prometheus.yaml:"),
    ("compose.check_names", COMPOSE, "prom/prometheus:v3.5.0", "prom/prometheus"),
    ("compose.check_names", COMPOSE, "target: loadtest", "target: load"),
    ("compose.check_names", COMPOSE, "- postgres:/var", "- postgresql:/var"),
    ("compose.check_names", "secrets/.gitignore", "*\n", ""),
    ("compose.check_bounds", COMPOSE, "127.0.0.1:3000:3000", "3000:3000"),
    ("compose.check_bounds", COMPOSE, "stop_grace_period: 90s", "stop_grace_period: 30s"),
    ("compose.check_bounds", COMPOSE, "nofile: 65536", "nofile: 20000"),
    ("compose.check_scrape", "compose/prometheus.yml", "doorbuster:9464", "doorbuster:9465"),
    ("compose.check_scrape", "compose/prometheus.yml", "/etc/prometheus/rules.yml", "/etc/prometheus/rule.yml"),
    ("compose.check_database", COMPOSE, "POSTGRES_DB: doorbuster", "POSTGRES_DB: store"),
    ("compose.check_commands", "compose/doorbuster.toml", "[log]", "[logs]"),
    ("compose.check_commands", COMPOSE, "127.0.0.1:9464:9464", "127.0.0.1:9464:9465"),
    ("compose.check_load", COMPOSE, "--run-time=60s", "--runtime=60s"),
    ("compose.check_load", COMPOSE, "--ops=http://doorbuster:9464", "--ops=http://doorbuster:9465"),
    ("compose.check_load", COMPOSE, "- load:/report", "- load:/reports"),
    ("compose.check_load", CONTAINER, "--chown=65532:65532 /image/report", "/image/report"),
    ("cluster.check_schemas", BASE + "statefulset.yaml", "enableServiceLinks:", "enableServiceLink:"),
    ("cluster.check_schemas", BASE + "statefulset.yaml", "replicas: 1", "replicas: one"),
    ("cluster.check_schemas", BASE + "monitor.yaml", "scrapeTimeout:", "timeout:"),
    ("cluster.check_schemas", BASE + "disruption.yaml", "minAvailable:", "minimumAvailable:"),
    ("cluster.check_schemas", BASE + "kustomization.yaml", "  - disruption.yaml\n", ""),
    ("cluster.check_schemas", POSTGRES + "store.yaml", "readOnly:", "read_only:"),
    ("cluster.check_selectors", BASE + "services.yaml", "targetPort: api", "targetPort: http"),
    ("cluster.check_selectors", BASE + "monitor.yaml", "component: ops", "component: metrics"),
    ("cluster.check_selectors", BASE + "network.yaml", "- port: ops", "- port: api"),
    ("cluster.check_selectors", BASE + "kustomization.yaml", "includeSelectors: true", "includeSelectors: false"),
    ("cluster.check_pod", BASE + "statefulset.yaml", "replicas: 1", "replicas: 2"),
    ("cluster.check_pod", BASE + "statefulset.yaml", "GracePeriodSeconds: 90", "GracePeriodSeconds: 30"),
    ("cluster.check_pod", BASE + "statefulset.yaml", "runAsUser: 65532", "runAsUser: 1000"),
    ("cluster.check_pod", BASE + "statefulset.yaml", "memory: 12Gi", "memory: 8Gi"),
    ("cluster.check_pod", BASE + "statefulset.yaml", "mountPath: /var/lib/doorbuster", "mountPath: /data"),
    ("cluster.check_store", POSTGRES + "egress.yaml", "port: 5432", "port: 5433"),
    ("cluster.check_store", POSTGRES + "store.yaml", "value: /run/secrets/doorbuster-store/", "value: /run/secrets/"),
    ("cluster.check_service_links", BASE + "statefulset.yaml", "enableServiceLinks: false", "enableServiceLinks: true"),
    ("cluster.check_commands", BASE + "statefulset.yaml", '"serve", ', ""),
    ("cluster.check_commands", BASE + "statefulset.yaml", "path: /readyz", "path: /healthz"),
    ("cluster.check_commands", BASE + "monitor.yaml", "path: /metrics", "path: /prometheus"),
    ("cluster.check_commands", BASE + "doorbuster.toml", 'format = "json"', 'format = "JSON"'),
    ("cluster.check_commands", BASE + "doorbuster.toml", 'listen = "0.0.0.0:8080"', 'listen = "0.0.0.0:80"'),
    ("unit.check_verify", UNIT, "Type=notify", "Type=notified"),
    ("unit.check_verify", UNIT, "ProtectClock", "ProtectClocks"),
    ("unit.check_verify", UNIT, "man:doorbuster(1)", "man:doorbuster(8)"),
    ("unit.check_exposure", UNIT, "CapabilityBoundingSet=\n", ""),
    ("unit.check_exposure", UNIT, "DynamicUser=yes\n", ""),
    ("unit.check_exposure", UNIT, "SystemCallFilter=~@privileged\n", ""),
    ("unit.check_policy", UNIT, "RestartPreventExitStatus=2 3 5", "RestartPreventExitStatus=3 5"),
    ("unit.check_policy", UNIT, "RestartPreventExitStatus=2 3 5", "RestartPreventExitStatus=2 3 4 5"),
    ("unit.check_policy", UNIT, "LimitNOFILE=65536", "LimitNOFILE=16384"),
    ("unit.check_policy", UNIT, "TimeoutStopSec=90", "TimeoutStopSec=30"),
    ("unit.check_policy", UNIT, "TimeoutStartSec=infinity", "TimeoutStartSec=90"),
    ("unit.check_commands", UNIT, "--config", "--conf"),
    ("unit.check_commands", UNIT, "kill -HUP", "kill -USR1"),
    ("unit.check_commands", UNIT, "--data /var/lib/doorbuster\n", "--data elsewhere\n"),
    ("unit.check_confinement", UNIT, "SystemCallFilter=~@privileged", "SystemCallFilter=~@privileged @resources"),
    ("unit.check_confinement", UNIT, "AF_INET AF_INET6 AF_UNIX", "AF_INET6 AF_UNIX"),
]

# What a check says when it finds a fault. Anything else is a fault of the check.
FOUND = (
    AssertionError,
    ValueError,
    LookupError,
    json.JSONDecodeError,
    subprocess.SubprocessError,
    yaml.YAMLError,
    ValidationError,
)


def missed(checks: Mapping[str, Callable[[Path], None]]) -> list[str]:
    """Mutants that the check beside them lets pass."""
    passed, seen = [], 0
    for name, file, before, after in MUTANTS:
        if name not in checks:
            continue
        with tempfile.TemporaryDirectory(prefix="doorbuster-shipping-") as directory:
            copy = Path(directory, "deploy")
            shutil.copytree(ROOT / "deploy", copy)
            text = (copy / file).read_text()
            assert before in text, f"{file} has no {before!r} to be changed"
            (copy / file).write_text(text.replace(before, after, 1))
            seen += 1
            try:
                checks[name](copy)
            except FOUND:
                continue
            passed.append(f"{name}: {file}: {before!r} -> {after!r}")
    print(f"{seen} mutants of deploy/, {len(passed)} of them unnoticed", flush=True)
    return passed
