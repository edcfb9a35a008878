"""Makes a CycloneDX document and a list of licences from `cargo metadata`. scripts/sbom runs it.

The list contains the program's components: its normal and build dependencies on Linux, and the C code in some of them.
It leaves out dependencies that only tests use.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

ROOT = Path(__file__).resolve().parents[1]
# Third-party scripts of the console and of the API explorer: package, licence, script, where it names its version, and
# the text of its licence.
PAGES = ROOT / "src/http"
VENDORED = [
    ("uplot", "MIT", PAGES / "console/uplot.js", r"uPlot \(v([\d.]+)\)", PAGES / "console/uplot.LICENSE"),
    (
        "swagger-ui-dist",
        "Apache-2.0",
        PAGES / "explorer/swagger-ui.js",
        r'PACKAGE_VERSION:"([\d.]+)"',
        PAGES / "explorer/swagger-ui.LICENSE",
    ),
]
TARGET = "x86_64-unknown-linux-gnu"

LICENCE_FILE = re.compile(r"(LICEN[CS]E|COPYING|COPYRIGHT|NOTICE|UNLICENSE)([._-].*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Bundled:
    """C code inside a package. Advisories use a name of its own for it; `version` finds its version in `header`."""

    name: str
    header: str
    version: str
    licence: str
    purl: PackageURL


BUNDLED = {
    "libsqlite3-sys": Bundled(
        "sqlite",
        "sqlite3/sqlite3.h",
        r'#define SQLITE_VERSION\s+"([\d.]+)"',
        "blessing",
        PackageURL("generic", None, "sqlite"),
    ),
    "libmimalloc-sys": Bundled(
        "mimalloc",
        "c_src/mimalloc/v3/include/mimalloc.h",
        r"#define MI_MALLOC_VERSION\s+(\d+)",
        "MIT",
        PackageURL("github", "microsoft", "mimalloc"),
    ),
}


@dataclass
class Package:
    """One of Cargo's packages."""

    described: dict[str, Any]
    checksum: str | None
    # Only the compiler or the build runs it; it is not part of the program.
    build_only: bool
    needs: set[str] = field(default_factory=set)

    @property
    def name(self) -> str:
        return str(self.described["name"])

    @property
    def version(self) -> str:
        return str(self.described["version"])

    @property
    def licence(self) -> str:
        """An SPDX expression. Some older packages write OR as a slash."""
        text = self.described["license"]
        assert text, f"{self.name} {self.version} names no licence"
        return str(text).replace(" / ", " OR ").replace("/", " OR ")

    @property
    def directory(self) -> Path:
        return Path(self.described["manifest_path"]).parent

    def texts(self) -> list[str]:
        files = sorted(
            file for file in self.directory.iterdir() if LICENCE_FILE.fullmatch(file.name) and file.is_file()
        )
        return [file.read_text(errors="replace").strip() for file in files]


def listed(edges: str) -> set[tuple[str, str]]:
    """Names and versions of the packages reached over these edges, with the features of a build, not of a test."""
    ask = ["cargo", "tree", "--locked", "--package", "doorbuster", "--target", TARGET, "--prefix", "none"]
    ask += ["--edges", edges, "--format", "{p}"]
    lines = subprocess.run(ask, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    words = [line.split() for line in lines if line]
    return {(name, version.removeprefix("v")) for name, version, *_ in words}


def read_packages() -> tuple[str, dict[str, Package]]:
    """The program's own id, and its components by id."""
    ask = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", TARGET]
    metadata = json.loads(subprocess.run(ask, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    locked = tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]
    checksums = {(package["name"], package["version"]): package.get("checksum") for package in locked}
    built, in_program = listed("normal,build"), listed("normal,no-proc-macro")
    packages = {}
    for described in metadata["packages"]:
        known = (described["name"], described["version"])
        if known in built:
            packages[described["id"]] = Package(described, checksums[known], known not in in_program)
    assert len(packages) == len(built), "each package that is built is known by name and version"
    for node in metadata["resolve"]["nodes"]:
        if package := packages.get(node["id"]):
            kinds = {each["pkg"]: {kind["kind"] for kind in each["dep_kinds"]} for each in node["deps"]}
            package.needs = {id for id, kind in kinds.items() if kind != {"dev"} and id in packages}
    [program] = [id for id, package in packages.items() if package.name == "doorbuster"]
    return program, packages


def component(package: Package, program: bool) -> Component:
    made = Component(
        name=package.name,
        version=package.version,
        type=ComponentType.APPLICATION if program else ComponentType.LIBRARY,
        bom_ref=f"{package.name}@{package.version}",
        description=(package.described["description"] or "").strip() or None,
        licenses=[LicenseFactory().make_with_expression(package.licence)],
        purl=PackageURL("cargo", None, package.name, package.version),
        scope=None if program else ComponentScope.EXCLUDED if package.build_only else ComponentScope.REQUIRED,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=package.checksum)] if package.checksum else [],
    )
    if bundled := BUNDLED.get(package.name):
        made.components.add(bundled_component(package, bundled))
    return made


def bundled_component(package: Package, bundled: Bundled) -> Component:
    headers = sorted(package.directory.glob(bundled.header))
    assert headers, f"{package.name} {package.version} has no {bundled.header}"
    found = re.search(bundled.version, headers[-1].read_text())
    assert found, f"{headers[-1]} tells no version"
    version = found[1] if "." in found[1] else ".".join(part.lstrip("0") or "0" for part in split_number(found[1]))
    return Component(
        name=bundled.name,
        version=version,
        type=ComponentType.LIBRARY,
        bom_ref=f"{bundled.name}@{version}",
        licenses=[LicenseFactory().make_from_string(bundled.licence)],
        purl=PackageURL(bundled.purl.type, bundled.purl.namespace, bundled.purl.name, version),
        properties=[Property(name="doorbuster:bundled-in", value=f"{package.name}@{package.version}")],
    )


def vendored_version(script: Path, pattern: str) -> str:
    """The version that a third-party script names."""
    found = re.search(pattern, script.read_text())
    assert found, f"{script} names no version"
    return found[1]


def vendored_components() -> Iterable[Component]:
    for name, licence, script, pattern, _ in VENDORED:
        version = vendored_version(script, pattern)
        yield Component(
            name=name,
            version=version,
            type=ComponentType.LIBRARY,
            bom_ref=f"{name}@{version}",
            licenses=[LicenseFactory().make_from_string(licence)],
            purl=PackageURL("npm", None, name, version),
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=hashlib.sha256(script.read_bytes()).hexdigest())],
        )


def split_number(version: str) -> list[str]:
    """The parts of a version number: 227 gives 2, 2, 7; 30102 gives 3, 01, 02."""
    if len(version) <= 3:
        return list(version)
    return [version[:-4], version[-4:-2], version[-2:]]


def made_at() -> datetime:
    """The time of the sources, not of this run: SOURCE_DATE_EPOCH, or the last commit."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if not epoch:
        ask = ["git", "log", "-1", "--format=%ct"]
        epoch = subprocess.run(ask, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return datetime.fromtimestamp(int(epoch), UTC)


def document(program: str, packages: dict[str, Package]) -> str:
    bom = Bom(
        serial_number=uuid.UUID(bytes=hashlib.sha256((ROOT / "Cargo.lock").read_bytes()).digest()[:16], version=4)
    )
    bom.metadata.timestamp = made_at()
    components = {id: component(package, id == program) for id, package in packages.items()}
    bom.metadata.component = components[program]
    bom.metadata.component.components.update(vendored_components())
    bom.components.update(each for id, each in components.items() if id != program)
    for id, package in packages.items():
        bom.register_dependency(components[id], [components[need] for need in sorted(package.needs)])
    text = str(JsonV1Dot6(bom).output_as_string(indent=2))
    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    assert wrong is None, f"no valid CycloneDX: {wrong}"
    return text + "\n"


def licences(packages: Iterable[Package]) -> str:
    ordered = sorted(packages, key=lambda package: (package.name, package.version))
    lines = [f"{package.name} {package.version}: {package.licence}" for package in ordered]
    texts: dict[str, list[str]] = {}
    for name, licence, script, pattern, text in VENDORED:
        vendored = f"{name} {vendored_version(script, pattern)}"
        lines.append(f"{vendored}: {licence}")
        texts.setdefault(text.read_text().strip(), []).append(vendored)
    silent = []
    for package in ordered:
        found = package.texts()
        for text in found:
            texts.setdefault(text, []).append(f"{package.name} {package.version}")
        if not found:
            silent.append(f"{package.name} {package.version}")
    rule = "=" * 80
    head = "Doorbuster is built of these packages, under these licences (SPDX expressions):\n"
    parts = [head, *lines, ""]
    if silent:
        parts += ["These bring no text of their licence:", *silent, ""]
    for text, whose in texts.items():
        parts += [rule, ", ".join(whose), rule, text, ""]
    return "\n".join(parts)


def main() -> None:
    where = Path(sys.argv[1])
    program, packages = read_packages()
    where.mkdir(parents=True, exist_ok=True)
    (where / "doorbuster.cdx.json").write_text(document(program, packages))
    others = [package for id, package in packages.items() if id != program]
    (where / "licences.txt").write_text(licences(others))
    print(f"{where}/doorbuster.cdx.json and {where}/licences.txt: {len(others)} packages")


if __name__ == "__main__":
    main()
