"""What is watched exists: a real Prometheus scrapes the service under load, and is asked every query of every
dashboard and alert. Also that the dashboards are what their program makes, and that alerts do what their cases say.
"""

from __future__ import annotations

import importlib.util
import json
import re
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from service import PATIENCE, ROOT, Receiver, Service

RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
LOAD_SECONDS = 12
POOLS = [{"id": "first", "initial_stock": 400}, {"id": "second", "initial_stock": 999_600}]
# A sell-out is seen against a minute before, and the run is shorter.
# Nothing sells out here, nobody makes a backup, and there is no certificate: tests/machine/runbook.py has one.
MAY_BE_EMPTY = {
    "Sell-outs",
    "Age of the last backup",
    "DoorbusterCertificateExpiring",
    "DoorbusterCertificateExpiresSoon",
}
VARIABLES = {"$job": ".*", "$instance": ".*", "$sale": ".*", "$__rate_interval": "5s"}


def declared() -> set[str]:
    """Names of series that the table of metrics declares."""
    names = set()
    for name, kind in re.findall(r"^\| `(\w+)` \| (\w+) \|", (ROOT / "docs" / "metrics.md").read_text(), re.M):
        names |= {f"{name}_{it}" for it in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    assert len(names) > 50, "the table could not be read"
    return names


def dashboards_are_what_their_program_makes() -> None:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "grafana" / "generate.py")
    assert spec and spec.loader
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    for path, text in program.documents().items():
        assert path.read_text() == text, f"{path} is another: run grafana/generate.py"


def queries() -> list[tuple[str, str]]:
    """Where a query stands, and the query."""
    found = []
    for path in sorted((ROOT / "grafana" / "dashboards").glob("*.json")):
        document = json.loads(path.read_text())
        for panel in document["panels"]:
            assert panel["description"] and panel["fieldConfig"]["defaults"]["unit"], f"{path}: {panel['title']}"
            found += [(panel["title"], target["expr"]) for target in panel["targets"]]
        found += [(it["name"], it["expr"]) for it in document["annotations"]["list"] if "expr" in it]
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        found += [(rule.get("alert") or rule["record"], rule["expr"]) for rule in group["rules"]]
    for variable, value in VARIABLES.items():
        found = [(place, expr.replace(variable, value)) for place, expr in found]
    return found


def names_are_declared(found: list[tuple[str, str]]) -> None:
    known = declared()
    for place, expr in found:
        for name in re.findall(r"(?<![:\w])doorbuster_\w+", re.sub(r'"[^"]*"', "", expr)):
            assert name in known, f"{place} asks for {name}, which the service does not have"


# Names of metrics by which something can be wrong, and those of them that rightly have no alert.
ALARMING = (
    r"_(up|state|failed|full|low|drift_units|oversold_units|expiry_timestamp_seconds|last_timestamp_seconds"
    r"|dropped_total|jumps_total|failures_total|refused_total|pending_seconds|parked|skips_total)$"
)
NOT_ALERTED = {
    "doorbuster_store_failures_total": "a try that failed is made again; store_up and store_state have alerts",
    "doorbuster_http_connections_refused_total": "a refusal is an answer of 503, which the alerts on errors count",
    "doorbuster_event_readers_dropped_total": "a reader that is too slow is told so itself and continues where it was",
    "doorbuster_erasure_pending_seconds": "grows up to privacy.journal_erase_seconds while all is well",
}


def what_alarms_has_an_alert() -> None:
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    recorded = {rule["record"]: rule["expr"] for rule in rules if "record" in rule}
    asked = " ".join(rule["expr"] for rule in rules if "alert" in rule)
    asked += " ".join(expr for name, expr in recorded.items() if name in asked)
    used = set(re.findall(r"doorbuster_\w+", asked))
    for name in sorted(name for name in declared() if re.search(ALARMING, name)):
        assert (name in used) != (name in NOT_ALERTED), (
            f"{name}: has neither an alert nor a reason to have none, or both"
        )


def without_comparisons(expr: str) -> str:
    """An alert that rightly does not fire has data all the same: its sides, before they are compared."""
    # What an alert leaves out (`unless`) has data as well.
    expr = re.sub(r"\bunless\b", "or", expr)
    return re.sub(r"(?<![<>=!~])(?:[<>]=?|==)(?!=)\s*(?=[\d(])[\d.]+", "", expr)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def load(service: Service, until: float) -> None:
    number = 0
    while time.monotonic() < until:
        number += 1
        body = {"customer": f"c{number}", "lines": [{"sku": "tv", "quantity": 1}], "hold_seconds": 1 + number % 3 * 100}
        body["channel"] = ("app", "web")[number % 2]
        held = service.send("POST", "/v1/sales/drop/reservations", body, None)
        if number % 3:
            service.send("POST", f"/v1/reservations/{held['id']}/{('confirm', 'release')[number % 2]}", {}, None)
        if number % 100 == 5:
            wait_in_line(service, number)
        if number % 20 == 8:
            refused_confirm(service, held["id"])
        time.sleep(0.005)


def wait_in_line(service: Service, number: int) -> None:
    """A customer waits, and the next unit that is delivered is offered."""
    body = {"customer": f"w{number}", "lines": [{"sku": "tv", "quantity": 1}]}
    service.send("POST", "/v1/sales/scarce-drop/waitlist", body, None)
    service.send("POST", "/v1/sales/scarce-drop/items/tv/adjustments", {"delta": 1}, None)


def refused_confirm(service: Service, reservation: str) -> None:
    """A second payment for what was confirmed."""
    try:
        service.send("POST", f"/v1/reservations/{reservation}/confirm", {"reference": "another"}, None)
    except urllib.error.HTTPError as error:
        error.close()
        assert error.code == 409, error.code


class Prometheus:
    def __init__(self, target: str) -> None:
        self.directory = tempfile.TemporaryDirectory(prefix="doorbuster-watch-")
        self.url = f"http://127.0.0.1:{free_port()}"
        scrape = {"job_name": "doorbuster", "static_configs": [{"targets": [target]}]}
        every = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        configuration = {"global": every, "rule_files": [str(RULES)], "scrape_configs": [scrape]}
        self.file = Path(self.directory.name, "prometheus.yml")
        self.file.write_text(yaml.safe_dump(configuration))

    def __enter__(self) -> Prometheus:
        arguments = [f"--config.file={self.file}", f"--storage.tsdb.path={self.directory.name}/data"]
        arguments.append(f"--web.listen-address={self.url.removeprefix('http://')}")
        self.process = subprocess.Popen(["prometheus", *arguments], stderr=subprocess.DEVNULL)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)
        self.directory.cleanup()

    def ask(self, expr: str) -> list[Any]:
        url = f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': expr})}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
                return list(json.load(answer)["data"]["result"])
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{expr}: {error.read().decode()}") from error


def ask_all(found: list[tuple[str, str]]) -> None:
    unstarted = Service()
    with Receiver() as receiver:
        receiver.configure(unstarted, "watched")
        ask_while_serving(unstarted, found)


def ask_while_serving(unstarted: Service, found: list[tuple[str, str]]) -> None:
    with unstarted as service:
        sale = {
            "name": "Drop",
            "opens_at": "2020-01-01T00:00:00Z",
            "closes_at": "2099-01-01T00:00:00Z",
            "hold_seconds": 300,
            "items": [{"sku": "tv", "initial_stock": 1_000_000, "pools": POOLS}],
        }
        for name in ("drop", "other-drop"):
            service.send("PUT", f"/v1/sales/{name}", sale, None)
        service.send("POST", "/v1/sales/other-drop/pause", {}, None)
        scarce = {"waitlist": {"entries_max": 100, "entry_seconds": 3600}, "items": [{"sku": "tv", "initial_stock": 0}]}
        service.send("PUT", "/v1/sales/scarce-drop", sale | scarce, None)
        with Prometheus(service.ops.removeprefix("http://")) as prometheus:
            loading = threading.Thread(target=load, args=(service, time.monotonic() + LOAD_SECONDS))
            loading.start()
            loading.join()
            empty = []
            for place, expr in found:
                if not prometheus.ask(expr) and not prometheus.ask(without_comparisons(expr)):
                    empty.append(f"{place}: {expr}")
            wrong = [it for it in empty if it.split(":")[0] not in MAY_BE_EMPTY]
            assert not wrong, "no data for\n" + "\n".join(wrong)
            firing = prometheus.ask('ALERTS{severity="page",alertstate="firing"}')
            assert not firing, f"a service that is well pages somebody: {firing}"
        service.stop()


def main() -> None:
    dashboards_are_what_their_program_makes()
    found = queries()
    names_are_declared(found)
    what_alarms_has_an_alert()
    cases = subprocess.Popen(["promtool", "test", "rules", RULES.with_name("rules_test.yml")])
    subprocess.run(["promtool", "check", "rules", RULES], check=True, timeout=PATIENCE, stdout=subprocess.DEVNULL)
    ask_all(found)
    assert cases.wait(PATIENCE) == 0, "an alert does not do what its cases say"
    print(f"{len(found)} queries have data")


if __name__ == "__main__":
    main()
