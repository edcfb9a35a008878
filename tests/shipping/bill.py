"""scripts/sbom: what it lists is what the program is made of, and the same each time."""

from __future__ import annotations

import subprocess
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from container import service_configuration
from program import PATIENCE, PROGRAM, ROOT, Installed, load_json


def make(where: Path) -> Any:
    done = subprocess.run([ROOT / "scripts/sbom", where], capture_output=True, text=True, timeout=10 * PATIENCE)
    assert done.returncode == 0, f"scripts/sbom: {done.stderr}"
    return load_json(where / "doorbuster.cdx.json")


def sqlite_of_program(deploy: Path) -> str:
    """SQLite's version as it stands in a database that the program wrote."""
    with Installed(
        [PROGRAM, "serve", "--config", "/etc/doorbuster/doorbuster.toml"],
        {
            "DOORBUSTER_DATA__DIR": "/var/lib/doorbuster",
            "DOORBUSTER_SERVER__LISTEN": "0.0.0.0:8080",
            "DOORBUSTER_SERVER__OPS_LISTEN": "0.0.0.0:9464",
        },
        service_configuration(deploy),
    ) as service:
        service.stop()
        number = int.from_bytes((service.data / "store.db").read_bytes()[96:100], "big")
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


# The tests name these, and the exporter of traces is made with them.
BROUGHT_BY_OTHERS = {"prost", "opentelemetry-proto"}


def check_bill(deploy: Path) -> None:
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text())
    allowed = tomllib.loads((ROOT / "deny.toml").read_text())["licenses"]["allow"]
    with tempfile.TemporaryDirectory(prefix="doorbuster-shipping-") as directory:
        first, second = Path(directory, "first"), Path(directory, "second")
        document = make(first)
        make(second)
        for file in ("doorbuster.cdx.json", "licences.txt"):
            assert (first / file).read_bytes() == (second / file).read_bytes(), f"{file} is another each time"
        licences = (first / "licences.txt").read_text()
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    components = {component["name"]: component for component in document["components"]}
    program = {name for name, component in components.items() if component["scope"] == "required"}
    foreign = {name for name, wanted in manifest["dependencies"].items() if "path" not in wanted}
    missing = foreign - program
    assert not missing, f"not listed: {missing}"
    of_tests = set(manifest["dev-dependencies"]) - set(manifest["dependencies"]) - BROUGHT_BY_OTHERS
    tests_alone = of_tests & set(components)
    assert not tests_alone, f"of tests alone: {tests_alone}"
    # The program's own crates are built from this checkout, and no registry has a hash of them.
    others = [component for component in document["components"] if not component["name"].startswith("doorbuster-")]
    for component in others:
        assert component["hashes"][0]["alg"] == "SHA-256" and component["purl"].startswith("pkg:cargo/"), component
        [licence] = component["licenses"]
        text = licence.get("expression") or licence["license"]["id"]
        assert any(each in text for each in allowed), component
        assert f"\n{component['name']} {component['version']}: " in licences
    vendored = {each["name"]: each["version"] for each in document["metadata"]["component"]["components"]}
    assert set(vendored) == {"uplot", "swagger-ui-dist"}, vendored
    for name, licence in (("uplot", "MIT"), ("swagger-ui-dist", "Apache-2.0")):
        assert f"\n{name} {vendored[name]}: {licence}" in licences, name
    assert "Leon Sorokin" in licences, "the charts' licence"
    graph = {each["ref"]: each.get("dependsOn", []) for each in document["dependencies"]}
    root = document["metadata"]["component"]["bom-ref"]
    reached, open_ends = set(), [root]
    while open_ends:
        ref = open_ends.pop()
        if ref not in reached:
            reached.add(ref)
            open_ends += graph[ref]
    assert reached == {root, *(component["bom-ref"] for component in document["components"])}, "somebody needs each"
    [sqlite] = components["libsqlite3-sys"]["components"]
    told = sqlite_of_program(deploy)
    assert sqlite["version"] == told, f"SQLite is {told} and is listed as {sqlite['version']}"
    for text in ("Permission is hereby granted, free of charge", "Apache License", "Mozilla Public License"):
        assert (text in licences) == (text != "Mozilla Public License"), text


CHECKS = [check_bill]
