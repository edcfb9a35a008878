"""Runs Schemathesis against the built binary: without keys, and with a key of each role.

Fails on every finding, when a call was not made with success or a link not followed, and when the service does not
live through it with its stock conserved. DOORBUSTER_FUZZ_SEED is the seed; a fixed one where it is not set. (Walks also
hang on the answers and on a coin of Schemathesis' own, so the same seed need not give the same walks.)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from service import SMALL_LIMITS, Receiver, Service

HERE = Path(__file__).resolve().parent
SEED = int(os.environ.get("DOORBUSTER_FUZZ_SEED", "20261127"))
ROLES = ("operator", "checkout", "viewer")
KEPT_SALE = "0-kept"
# Far beyond what a run takes; one that hangs fails.
SECONDS_MAX = 400

# Most calls of the lesser roles are refused, which is all that is to be seen of them.
EXAMPLES_BY_ROLE = {None: 20, "operator": 4, "checkout": 2, "viewer": 2}

# Walks along the links go on until each was followed, in rounds of so many seconds.
WALK_SECONDS = 20
WALKS_MAX = 14
WAY_TO_A_RESERVATION = {"putSale", "reserve"}


class Seen:
    """Calls that succeeded and links that were followed to such a call, and how often."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.links: Counter[str] = Counter()

    def read(self, report: Path) -> None:
        with report.open() as lines:
            for line in lines:
                recorder = json.loads(line).get("ScenarioFinished", {}).get("recorder", {})
                for name, made in recorder.get("interactions", {}).items():
                    case, response = recorder["cases"][name], made.get("response")
                    if response is None or not 200 <= response["status_code"] < 300:
                        continue
                    self.calls[f"{case['value']['method']} {case['value']['path']}"] += 1
                    if case.get("is_transition_applied"):
                        self.links[case["transition"]["id"]] += 1


def main() -> None:
    with ThreadPoolExecutor(2) as two:
        without, by_role = two.submit(run, None), [two.submit(run, role) for role in ROLES]
        for done in as_completed([without, *by_role]):
            done.result()
    seen, document = Seen(), without.result()[1]
    for one in (without, *by_role):
        seen.calls += one.result()[0].calls
        seen.links += one.result()[0].links
    missed = sorted(set(calls(document)) - set(seen.calls))
    assert not missed, f"never with success: {missed}"
    print(f"{seen.calls.total()} calls with success, {len(seen.links)} links followed {seen.links.total()} times")


def run(role: str | None) -> tuple[Seen, dict[str, Any]]:
    """All that is done with one role's key, on a service of its own: what was seen, and the service's document."""
    began, seen = time.monotonic(), Seen()
    unstarted = Service(ROLES if role else (), SMALL_LIMITS)
    with Receiver() as receiver:
        # A walk along the links resumes it.
        receiver.configure(unstarted, "orders")
        return fuzz_service(unstarted, role, seen, began)


def fuzz_service(unstarted: Service, role: str | None, seen: Seen, began: float) -> tuple[Seen, dict[str, Any]]:
    with unstarted as service:
        reader = "viewer" if role else None
        document = service.get("/openapi.json", None)
        held = put_first(service)
        phases = "examples,coverage,fuzzing"
        fuzz(service, role, seen, held, SEED, "--phases", phases, "--max-examples", str(EXAMPLES_BY_ROLE[role]))
        if role is None:
            walk(service, seen, held, links(document))
        items = service.check_stock(reader)
        service.stop()
        # What is on disk is as consistent: it starts again, and counts the same items.
        service.start()
        again = service.check_stock(reader)
        assert items == again > 0, f"{items} items before, {again} after the restart"
        service.stop()
    print(f"{role or 'no keys'}: {items} items, {time.monotonic() - began:.0f} s", flush=True)
    return seen, document


def fuzz(service: Service, role: str | None, seen: Seen, held: str, seed: int, *arguments: str) -> None:
    """A run of Schemathesis, which must find nothing. `held`: holds that it may use."""
    st, report = Path(sys.executable).with_name("st"), Path(service.directory.name, "report.ndjson")
    # From a file: where Schemathesis reads the document over HTTP, it leaves out the call that it came from.
    document = Path(service.directory.name, "openapi.json")
    document.write_text(json.dumps(service.get("/openapi.json", "viewer" if service.keys else None)))
    command = [st, "--config-file", HERE / "requests.toml", "run", document, "--url", service.url, "--seed", str(seed)]
    command += ["--no-color", "--report", "ndjson", "--report-ndjson-path", report, *arguments]
    if role:
        command += ["--header", f"Authorization: Bearer {service.keys[role]}"]
    done = subprocess.run(
        command,
        cwd=service.directory.name,
        env=os.environ
        | {"SCHEMATHESIS_HOOKS": str(HERE / "hooks.py"), "API_URL": service.url}
        | {"WALK": str(seed), "KEPT_SALE": KEPT_SALE, "HELD": held},
        timeout=SECONDS_MAX,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        print(done.stdout, done.stderr)
        raise SystemExit(f"Schemathesis found something ({role or 'no keys'}, DOORBUSTER_FUZZ_SEED={SEED})")
    seen.read(report)


def walk(service: Service, seen: Seen, held: str, wanted: dict[str, tuple[str, str]]) -> None:
    """Walks along the links until each was followed with success: the first time along all, then along what is left."""
    for number in range(WALKS_MAX):
        arguments = ["--phases", "stateful", "--max-time", str(WALK_SECONDS)]
        if number > 0:
            left = {call for link, ends in wanted.items() if link not in seen.links for call in ends}
            for call in sorted(left | WAY_TO_A_RESERVATION):
                arguments += ["--include-operation-id", call]
        fuzz(service, None, seen, held, SEED + number, *arguments)
        if wanted.keys() <= seen.links.keys():
            return
    raise SystemExit("never followed with success:\n" + "\n".join(sorted(wanted.keys() - seen.links.keys())))


def put_first(service: Service) -> str:
    """Sales that sort before what is put later: the list's first pages stay as they are.

    Gives holds in the first, and a waitlist entry.
    """
    role = "operator" if service.keys else None
    for sale in (KEPT_SALE, f"{KEPT_SALE}-too", "doorbuster-tv"):
        settings = {
            "name": sale,
            "opens_at": "2020-01-01T00:00:00Z",
            "closes_at": "2199-01-01T00:00:00Z",
            "hold_seconds": 86_400,
            "waitlist": {"entries_max": 1_000_000, "entry_seconds": 86_400},
            "items": [{"sku": "tv-55", "initial_stock": 1_000_000_000}, {"sku": "gone", "initial_stock": 0}],
        }
        service.send("PUT", f"/v1/sales/{sale}", settings, role)
    reserve = {"customer": "ann", "lines": [{"sku": "tv-55", "quantity": 1}]}
    held = [service.send("POST", f"/v1/sales/{KEPT_SALE}/reservations", reserve, role)["id"] for _ in range(3)]
    wanted = reserve | {"lines": [{"sku": "gone", "quantity": 1}]}
    return " ".join([*held, service.send("POST", f"/v1/sales/{KEPT_SALE}/waitlist", wanted, role)["id"]])


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method != "parameters":
                yield f"{method.upper()} {path}", operation


def calls(document: dict[str, Any]) -> Iterator[str]:
    yield from (name for name, _ in operations(document))


def links(document: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """The links as Schemathesis calls them in its report, and the calls at both ends."""
    names = {operation["operationId"]: name for name, operation in operations(document)}
    found = {}
    for source, operation in operations(document):
        for status, response in operation["responses"].items():
            for name, link in response.get("links", {}).items():
                ends = operation["operationId"], link["operationId"]
                found[f"{source} -> [{status}] {name} -> {names[ends[1]]}"] = ends
    return found


if __name__ == "__main__":
    main()
