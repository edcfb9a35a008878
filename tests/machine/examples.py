"""The examples of examples/, each run as its README says against the built binary, with a key."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import standardwebhooks

from service import ROOT, Receiver, Service
from service import run as run_command

PATIENCE = 120.0
LAST_LINE = "4 units sold, 4 payments kept, 1 refunded"
# Of the example with payments: what is sold depends on which requests come first.
PAYMENTS_LAST_LINE = r"\d+ units sold and paid for; \d+ payments, \d+ units refunded, each by an event"


def run(name: str, command: list[str], folder: Path, last_line: str, service: Service, wrong: list[str]) -> None:
    own = os.environ | {
        "API_URL": service.url,
        "API_KEY": service.keys["operator"],
        "GOFLAGS": "-mod=mod",
        "GOTOOLCHAIN": "local",
    }
    try:
        done = subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired as error:
        wrong.append(f"{name} did not end: {error.stdout!r}")
        return
    last = (done.stdout.strip().splitlines() or [""])[-1]
    if done.returncode != 0 or not re.fullmatch(last_line, last):
        wrong.append(f"{name} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def webhooks() -> None:
    """The receiver of the examples gets what is sent, and the reference library of Standard Webhooks verifies it."""
    command = [sys.executable, "webhook.py", "--port", "0", "--count", "4"]
    service = Service()
    with Receiver() as receiver:
        secret = receiver.configure(service, "reference")
        own = os.environ | {"WEBHOOK_SECRET": secret}
        example = subprocess.Popen(command, cwd=ROOT / "examples/python", env=own, stdout=subprocess.PIPE, text=True)
        assert example.stdout is not None
        url = example.stdout.readline().split()[-1]
        refuses_malformed_headers(url)
        added = service.configuration.read_text().partition("[webhooks.reference]")[2]
        text = f"[webhooks.example]{added}".replace(receiver.url, url)
        service.configuration.write_text(service.configuration.read_text() + text)
        tested = ["webhooks", "test", "example", "--config", str(service.configuration)]
        assert "the test event arrived" in run_command(*tested)
        with service:
            put_sale(service)
            printed = example.communicate(timeout=PATIENCE)[0].splitlines()
            until = time.monotonic() + PATIENCE
            while len(receiver.received) < 3:
                assert time.monotonic() < until, "not everything arrived"
                time.sleep(0.05)
            other = standardwebhooks.Webhook(run_command("keys", "webhook").strip())
            for headers, body in receiver.received:
                lower = {name.lower(): value for name, value in headers.items()}
                event = standardwebhooks.Webhook(secret).verify(body, lower)
                assert event["id"] == lower["webhook-id"] and event["specversion"] == "1.0", event
                for verifier, changed in ((other, body), (standardwebhooks.Webhook(secret), body + b" ")):
                    try:
                        verifier.verify(changed, lower)
                    except standardwebhooks.WebhookVerificationError:
                        continue
                    raise AssertionError("a wrong signature was taken for a right one")
            service.stop()
    kinds = sorted(line.split()[0] for line in printed)
    assert kinds == ["4", "reservation.held", "sale.opened", "sale.put", "webhook.test"], printed


def refuses_malformed_headers(url: str) -> None:
    signed = {"content-length": "2", "webhook-id": "a", "webhook-timestamp": "1", "webhook-signature": "v1,x"}
    for header, value, expected in (
        ("content-length", "-1", 400),
        ("content-length", "abc", 400),
        ("content-length", "99999999", 413),
        ("webhook-timestamp", "²", 401),
        ("webhook-timestamp", str(int(time.time())), 401),
        ("webhook-signature", "v1,é", 401),
    ):
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE)
        connection.putrequest("POST", "/hooks")
        recent = {"webhook-timestamp": str(int(time.time()))}
        for name, sent in (signed | recent | {header: value}).items():
            connection.putheader(name, sent.encode("latin-1"))
        connection.endheaders(b"{}")
        answer = connection.getresponse()
        assert answer.status == expected, (header, value, answer.status)
        connection.close()


def put_sale(service: Service) -> None:
    sale = {
        "name": "Drop",
        "opens_at": "2020-01-01T00:00:00Z",
        "closes_at": "2099-01-01T00:00:00Z",
        "hold_seconds": 300,
        "items": [{"sku": "tv", "initial_stock": 10}],
    }
    service.send("PUT", "/v1/sales/drop", sale, None)
    reserve = {"customer": "ann", "lines": [{"sku": "tv", "quantity": 1}]}
    service.send("POST", "/v1/sales/drop/reservations", reserve, None)


def main() -> None:
    examples = ROOT / "examples"
    # The packages of npm are put beside what is built, and not beside what is kept.
    packages = ROOT / "target/examples"
    packages.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", "tsconfig.json", "checkout.ts"):
        shutil.copy(examples / "typescript" / name, packages / name)
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=packages, check=True, timeout=300)
    subprocess.run(["npm", "run", "--silent", "check"], cwd=packages, check=True, timeout=300)
    commands = {
        "Python": ([sys.executable, "checkout.py"], examples / "python", LAST_LINE),
        "TypeScript": (["npm", "start", "--silent"], packages, LAST_LINE),
        "Go": (["go", "run", "checkout.go"], examples / "go", LAST_LINE),
        "payments": ([sys.executable, "payments.py"], examples / "python", PAYMENTS_LAST_LINE),
    }
    wrong: list[str] = []
    webhooks()
    with Service(roles=("operator",)) as service:
        threads = [
            threading.Thread(target=run, args=(name, command, folder, last_line, service, wrong))
            for name, (command, folder, last_line) in commands.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong, "\n".join(wrong)
        assert service.check_stock("operator") == len(commands)
        service.stop()
    print(f"{len(commands)} examples sold what they were paid for, and nothing else")


if __name__ == "__main__":
    main()
