"""The runbook is tried: the commands of each entry, taken from the page, are run against a real service that is in the
state that the entry is for. Where that state cannot be made here, they are run against a healthy service.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

import yaml
from watch import free_port

from service import PATIENCE, ROOT, Receiver, Service, binary, environment, run

PAGE = ROOT / "deploy" / "runbook.md"
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
SALE = {
    "name": "Drop",
    "opens_at": "2020-01-01T00:00:00Z",
    "closes_at": "2099-01-01T00:00:00Z",
    "hold_seconds": 3600,
    "items": [{"sku": "tv", "initial_stock": 100000}],
}


def blocks() -> dict[str, list[tuple[str, str]]]:
    """Of each entry: its blocks of commands, with what they are for."""
    entries: dict[str, list[tuple[str, str]]] = {}
    for part in re.split(r"^## ", PAGE.read_text(), flags=re.M)[1:]:
        name, _, text = part.partition("\n")
        entries[name] = re.findall(r"^```sh (\w+)\n(.*?)^```$", text, re.M | re.S)
    return entries


BLOCKS = blocks()


def every_entry_is_complete() -> None:
    alerts = {
        rule["alert"]
        for group in yaml.safe_load(RULES.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    assert alerts <= set(BLOCKS), f"without an entry: {alerts - set(BLOCKS)}"
    assert set(BLOCKS) - alerts == {"JournalDamaged"}, "entries of no alert"
    text = PAGE.read_text()
    anchors = {name.lower() for name in BLOCKS}
    for anchor in re.findall(r"\]\(#([^)]*)\)", text):
        assert anchor in anchors, f"a link leads to #{anchor}, which is not there"
    for part in re.split(r"^## ", text, flags=re.M)[1:]:
        name = part.partition("\n")[0]
        for heading in ("**For customers.**", "**Look.**", "**Decide.**", "**Do.**", "**Way back.**"):
            assert heading in part, f"{name} does not say {heading}"
        looks = [commands for kind, commands in BLOCKS[name] if kind == "look"]
        assert looks and len(looks[0].splitlines()) == 3, f"{name} has three commands to look with"


class Operated(Service):
    """A service with what an operator's shell has."""

    def __init__(self, limits: dict[str, int | str] | None = None) -> None:
        super().__init__(limits=limits)
        self.root = Path(self.directory.name)
        self.data = self.root / "data"
        (self.root / "bin").mkdir()
        (self.root / "bin" / "doorbuster").symlink_to(binary())
        # What a supervisor does, asked of this program by files.
        self.asked = self.root / "asked"
        self.asked.mkdir()
        for name in ("start", "stop"):
            script = self.root / "bin" / name
            script.write_text(
                f"#!/bin/sh\ntouch {self.asked}/{name}\nwhile [ -e {self.asked}/{name} ]; do sleep 0.05; done\n"
            )
            script.chmod(0o755)
        self.preload: dict[str, str] = {}
        self.full_log = False
        self.reserve_ports()

    def reserve_ports(self) -> None:
        self.listen, self.ops_listen = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self.url, self.ops = f"http://{self.listen}", f"http://{self.ops_listen}"

    def launch(self) -> None:
        """As `start`, but it may well end by itself."""
        arguments = ["serve", "--config", self.configuration, "--data", self.data]
        arguments += ["--listen", self.listen, "--ops-listen", self.ops_listen]
        with open("/dev/full" if self.full_log else self.log, "a") as log:
            self.process = subprocess.Popen(
                [binary(), *arguments],
                env=environment() | self.preload,
                stdout=subprocess.DEVNULL,
                stderr=log,
                text=True,
            )

    def start(self) -> None:
        self.launch()
        wait(f"it serves\n{self.log.read_text()}", lambda: self.probe("/readyz") == 200)

    def probe(self, path: str) -> int:
        """The status of the answer; 0: there is none."""
        try:
            with urllib.request.urlopen(self.ops + path, timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def metric(self, series: str) -> float | None:
        with urllib.request.urlopen(self.ops + "/metrics", timeout=PATIENCE) as answer:
            found = re.search(rf"^{re.escape(series)} (\S+)$", answer.read().decode(), re.M)
        return float(found.group(1)) if found else None

    def state(self) -> str:
        """Of the store."""
        if self.probe("/readyz") != 200:
            return "not ready"
        with urllib.request.urlopen(self.ops + "/readyz", timeout=PATIENCE) as answer:
            return str(json.load(answer)["store"]["state"])

    def hold(self, customer: str) -> str:
        body = {"customer": customer, "lines": [{"sku": "tv", "quantity": 1}]}
        return str(self.send("POST", "/v1/sales/drop/reservations", body, None)["id"])

    def refused(self, customer: str) -> str:
        """The code of the problem that a reserve is refused with."""
        try:
            self.hold(customer)
        except urllib.error.HTTPError as error:
            return str(json.load(error)["code"])
        raise AssertionError("it was granted")

    def shop(self, customers: range) -> list[str]:
        """One unit each, confirmed."""
        ids = []
        for number in customers:
            held = self.hold(f"customer-{number}")
            self.send("POST", f"/v1/reservations/{held}/confirm", {"reference": f"order-{number}"}, None)
            ids.append(held)
        return ids

    def paste(self, entry: str, *kinds: str) -> str:
        """Runs the entry's blocks of these kinds in one shell, as somebody would who pastes them. What they print."""
        commands = [commands for kind, commands in BLOCKS[entry] if kind in kinds]
        assert commands, f"{entry} has no commands to {kinds}"
        shell = {
            **environment(),
            "PATH": f"{self.root}/bin:{os.environ['PATH']}",
            **{"OPS": self.ops, "API": self.url, "KEY": "none", "CONFIG": str(self.configuration)},
            **{"DATA": str(self.data), "BACKUP": str(self.root / "backup"), "LOG": f"cat {self.log}"},
            **{"START": "start", "STOP": "stop", "RELOAD": "true"},
        }
        pasted = subprocess.Popen(
            ["bash", "-e", "-c", "\n".join(commands)],
            env=shell,
            cwd=self.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        until = time.monotonic() + PATIENCE
        while pasted.poll() is None and time.monotonic() < until:
            self.supervise()
            time.sleep(0.02)
        if pasted.poll() is None:
            os.killpg(pasted.pid, signal.SIGKILL)
        text = pasted.communicate()[0]
        assert pasted.returncode == 0, f"{entry}, {kinds}: ends with {pasted.returncode}\n{text}"
        return text

    def supervise(self) -> None:
        stop, start = self.asked / "stop", self.asked / "start"
        if stop.exists():
            if self.process.poll() is None:
                self.process.terminate()
                self.process.wait(PATIENCE)
            stop.unlink()
        if start.exists():
            if self.process.poll() is not None:
                self.launch()
            start.unlink()


def wait(what: str, is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < until, f"waited in vain until {what}"
        time.sleep(0.05)


@contextmanager
def selling(limits: dict[str, int | str] | None = None) -> Iterator[Operated]:
    with Operated(limits) as service:
        service.send("PUT", "/v1/sales/drop", SALE, None)
        yield service


def healthy() -> None:
    """Every entry's commands to look with run, and find something, while all is well; a pause has its way back."""
    with selling() as service:
        service.shop(range(3))
        for entry, of_entry in BLOCKS.items():
            if entry != "JournalDamaged" and any(kind == "look" for kind, _ in of_entry):
                assert service.paste(entry, "look").strip(), entry
        told = service.paste("DoorbusterErrorsFast", "do", "back")
        assert re.findall(r'"status":"(\w+)"', told) == ["paused", "open"], told
        told = service.paste("DoorbusterDrift", "do", "back")
        assert re.findall(r'"status":"(\w+)"', told) == ["paused", "open"], told
        assert (service.data.parent / "data.evidence" / "log").stat().st_size > 0
        # The backup that the drift's evidence is was noticed; the next one is as well.
        service.paste("DoorbusterBackupOld", "look", "do")
        wait("the backup shows", lambda: (service.metric("doorbuster_backup_last_timestamp_seconds") or 0) > 1e9)
        links(service)


def links(service: Operated) -> None:
    """Every alert's link leads to its entry, on the page that the service serves."""
    with urllib.request.urlopen(service.ops + "/runbook", timeout=PATIENCE) as answer:
        page = answer.read().decode()
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in (rule for rule in group["rules"] if "alert" in rule):
            url = rule["annotations"]["runbook_url"]
            url = re.sub(r"{{ with .*{{ else }}(.*){{ end }}", r"\1", url)
            base, _, anchor = url.replace("{{ $labels.instance }}", service.ops.removeprefix("http://")).partition("#")
            assert base == f"{service.ops}/runbook" and f'id="{anchor}"' in page, url
            printed = subprocess.run([binary(), "runbook", rule["alert"]], capture_output=True, text=True, check=True)
            assert printed.stdout.startswith(rule["alert"] + "\n"), printed.stdout


def down() -> None:
    with selling() as service:
        ids = service.shop(range(2))
        service.process.kill()
        service.process.wait(PATIENCE)
        assert "no answer" in service.paste("DoorbusterDown", "look")
        service.paste("DoorbusterDown", "do")
        assert service.get(f"/v1/reservations/{ids[1]}", None)["state"] == "confirmed"


def journal_failed() -> None:
    """After the disk failed, the directory is sound and starts again."""
    with selling() as service:
        service.shop(range(2))
        service.process.kill()
        service.process.wait(PATIENCE)
        assert "sound" in service.paste("DoorbusterJournalFailed", "look")
        service.paste("DoorbusterJournalFailed", "do")
        wait("it serves", lambda: service.probe("/readyz") == 200)


def store_away() -> None:
    """Somebody holds a lock on the store; the backlog fills, and empties when the lock is gone."""
    limits: dict[str, int | str] = {"journal.max_backlog_bytes": 2 << 20, "journal.segment_bytes": 1 << 20}
    with selling(limits) as service:
        wait("the store follows", lambda: service.state() == "following")
        holder = sqlite3.connect(service.data / "store.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        big = {"customer": "c", "lines": [{"sku": "tv", "quantity": 1}], "reference": "r" * 255}
        batch = {"reservations": [{**big, "customer": f"c{number}"} for number in range(8000)]}
        service.send("POST", "/v1/sales/drop/reservations/batch", batch, None)
        wait("the backlog is full", lambda: service.metric("doorbuster_store_backlog_full") == 1)
        wait("the store is away", lambda: service.state() == "away")
        for entry in ("DoorbusterStoreAway", "DoorbusterBacklogFull", "DoorbusterBacklogHigh", "DoorbusterStoreLag"):
            service.paste(entry, "look")
        assert "lock" in service.paste("DoorbusterStoreAway", "look"), "it says why"
        holder.execute("ROLLBACK")
        holder.close()
        wait(
            "it has caught up",
            lambda: service.metric("doorbuster_store_backlog_full") == 0 and service.state() == "following",
        )
        assert "doorbuster_store_backlog_full 0" in service.paste("DoorbusterBacklogFull", "back")


def store_stuck() -> None:
    """Another process took the store: a restart takes it back. Then a row is changed by hand and repaired."""
    with selling() as service:
        wait("the store follows", lambda: service.state() == "following")
        with sqlite3.connect(service.data / "store.db") as store:
            store.execute("UPDATE write_behind SET owner_epoch = owner_epoch + 1")
        service.shop(range(2))
        wait("it is fenced", lambda: service.state() == "fenced")
        assert "fenced" in service.paste("DoorbusterStoreStuck", "look")
        service.paste("DoorbusterStoreStuck", "restart")
        wait("it follows again", lambda: service.state() == "following")
        with sqlite3.connect(service.data / "store.db") as store:
            store.execute("UPDATE reservations SET state = 'held', confirmed_at = NULL WHERE customer = 'customer-1'")
        assert "there are differences" in service.paste("DoorbusterStoreStuck", "repair")
        wait("it follows again", lambda: service.state() == "following")


def damaged(way: str) -> None:
    """Bytes in the middle of the journal are others than were written."""
    with selling() as service:
        before = service.shop(range(20))
        run("backup", "--data", str(service.data), "--to", str(service.root / "backup"))
        later = service.shop(range(20, 40))
        wait("the store has it", lambda: service.metric("doorbuster_store_lag_epochs") == 0)
        time.sleep(0.2)
        service.process.kill()
        service.process.wait(PATIENCE)
        segment = min((service.data / "journal").glob("*.seg"))
        content = bytearray(segment.read_bytes())
        at = content.index(b"customer-30")
        content[at] ^= 0xFF
        segment.write_bytes(content)
        service.launch()
        assert service.process.wait(PATIENCE) == 3, service.log.read_text()
        told = service.paste("JournalDamaged", "look")
        assert "DAMAGED" in told and "last epoch" in told, told
        service.paste("JournalDamaged", way)
        wait("it serves again", lambda: service.probe("/readyz") == 200 and service.state() == "following")
        wait("the store has it", lambda: service.metric("doorbuster_store_lag_epochs") == 0)
        lost = service.paste("JournalDamaged", "lost")
        kept = 30 if way == "cut" else 20
        for number, reservation in enumerate([*before, *later]):
            assert (reservation in lost) == (number >= kept), f"{number}:\n{lost}"
        assert service.get(f"/v1/reservations/{before[0]}", None)["state"] == "confirmed"
        service.shop(range(40, 42))


def certificate() -> None:
    """One that ends tomorrow is told, and its successor is taken over."""
    with Operated() as service:
        service.process.terminate()
        service.process.wait(PATIENCE)
        pair = [str(service.root / name) for name in ("cert.pem", "key.pem")]

        def renew(days: int) -> None:
            make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
            make += ["-subj", "/CN=doorbuster.test", "-days", str(days), "-out", pair[0], "-keyout", pair[1]]
            subprocess.run(make, check=True, capture_output=True, timeout=PATIENCE)

        renew(1)
        tls = f'[tls]\ncertificate_file = "{pair[0]}"\nkey_file = "{pair[1]}"\n'
        service.configuration.write_text(tls + service.configuration.read_text())
        service.start()
        series = 'doorbuster_tls_certificate_expiry_timestamp_seconds{file="tls.certificate_file"}'
        wait("it is told", lambda: service.metric(series) is not None)
        left = (service.metric(series) or 0) - time.time()
        assert 0 < left <= 86_400, left
        for entry in ("DoorbusterCertificateExpiring", "DoorbusterCertificateExpiresSoon"):
            assert series in service.paste(entry, "look")
        renew(90)
        wait("the new one is told", lambda: (service.metric(series) or 0) - time.time() > 80 * 86_400)


def clock_jumped() -> None:
    """The machine's clock is an hour ahead, and is corrected before the service believes it."""
    with selling({"engine.clock_settle_seconds": 60}) as service:
        service.process.terminate()
        service.process.wait(PATIENCE)
        library, offset = service.root / "clock.so", service.root / "offset"
        build = ["cc", "-shared", "-fPIC", "-o", str(library), str(ROOT / "tests" / "it" / "served" / "clock.c")]
        subprocess.run(build, check=True, timeout=PATIENCE)

        def set_by(seconds: int) -> None:
            with offset.open("r+b") as file:
                file.write((seconds * 1_000_000_000).to_bytes(8, sys.byteorder, signed=True))

        offset.write_bytes(bytes(8))
        service.preload = {"LD_PRELOAD": str(library), "CLOCK_OFFSET_FILE": str(offset)}
        service.start()
        set_by(3600)
        wait("it is noticed", lambda: (service.metric("doorbuster_clock_offset_seconds") or 0) > 3599)
        shown = service.paste("DoorbusterClockJumped", "look")
        assert re.search(r"offset_seconds 3(599|600)", shown) and "no line about the clock" not in shown, shown
        set_by(0)
        wait("it is back", lambda: abs(service.metric("doorbuster_clock_offset_seconds") or 0) < 1)


def disk_low() -> None:
    """New reservations are refused and confirms are not; with more room, the service goes on by itself."""
    with selling() as service:
        held = service.hold("customer-1")
        filler = service.root / "filler"
        room = os.statvfs(service.data)
        free = room.f_bavail * room.f_frsize
        service.process.terminate()
        service.process.wait(PATIENCE)
        # Most of what is free is reserved; then something else takes more than the rest.
        reserve = free - free // 8
        text = service.configuration.read_text()
        assert "[journal]" not in text, text
        service.configuration.write_text(f"{text}\n[journal]\ndisk_reserve_bytes = {reserve}\n")
        service.start()
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free // 5)
        wait("the disk is low", lambda: service.metric("doorbuster_journal_disk_low") == 1)
        shown = service.paste("DoorbusterDiskLow", "look")
        assert "doorbuster_journal_disk_low 1" in shown, shown
        assert service.refused("customer-2") == "disk_low"
        service.send("POST", f"/v1/reservations/{held}/confirm", {}, None)
        filler.unlink()
        wait("there is room", lambda: service.metric("doorbuster_journal_disk_low") == 0)
        service.hold("customer-2")


def reload_failed() -> None:
    """A configuration that does not parse is refused, the log names the reason, and the corrected one is taken."""
    with selling() as service:
        text = service.configuration.read_text()
        service.configuration.write_text(text + "\n[no such section\n")
        wait("it is refused", lambda: service.metric("doorbuster_config_reload_failed") == 1)
        shown = service.paste("DoorbusterReloadFailed", "look")
        assert "the configuration is good" not in shown and "doorbuster_config_reload_failed 1" in shown, shown
        service.configuration.write_text(text)
        wait("it is taken", lambda: service.metric("doorbuster_config_reload_failed") == 0)


def near_limit() -> None:
    with selling({"limits.reservations_max": 10}) as service:
        for number in range(9):
            service.hold(f"customer-{number}")
        wait("it shows", lambda: service.metric("doorbuster_reservations_in_memory") == 9)
        shown = service.paste("DoorbusterNearLimit", "look")
        assert 'limit="limits.reservations_max"} 10' in shown and "reservations_in_memory 9" in shown, shown


def payments_to_return() -> None:
    """A payment comes twice and one after a release; then the other holds last longer, once."""
    with selling() as service:
        [sold] = service.shop(range(1))
        released, held = service.hold("customer-1"), service.hold("customer-2")
        service.send("POST", f"/v1/reservations/{released}/release", {}, None)
        for reservation, code in ((sold, "already_confirmed"), (released, "already_released")):
            try:
                service.send("POST", f"/v1/reservations/{reservation}/confirm", {"reference": "payment-2"}, None)
            except urllib.error.HTTPError as error:
                assert json.load(error)["code"] == code
            else:
                raise AssertionError(f"{code} was to come")
        series = 'doorbuster_reservations_total{outcome="confirm_refused"}'
        wait("they are counted", lambda: service.metric(series) == 2)
        shown = service.paste("DoorbusterPaymentsToReturn", "look")
        assert '1 "cause":"released"' in shown and '1 "cause":"already_confirmed"' in shown, shown
        before = service.get(f"/v1/reservations/{held}", None)["expires_at"]
        for _ in range(2):
            assert '{"holds":1}' in service.paste("DoorbusterPaymentsToReturn", "do")
        after = service.get(f"/v1/reservations/{held}", None)["expires_at"]
        longer = datetime.fromisoformat(after) - datetime.fromisoformat(before)
        assert longer.total_seconds() == 600, longer


def webhook_parked() -> None:
    """An endpoint refuses events until it is parked; repaired and resumed, it gets them."""
    with Receiver() as receiver:
        receiver.status = 503
        unstarted = Operated()
        receiver.configure(unstarted, "orders", park_after_seconds=1)
        with unstarted as service:
            service.send("PUT", "/v1/sales/drop", SALE, None)
            parked = 'doorbuster_webhook_parked{webhook="orders"}'
            wait("it is parked", lambda: service.metric(parked) == 1)
            shown = service.paste("DoorbusterWebhookParked", "look")
            assert '"state":"parked"' in shown and "answered 503" in shown and 'outcome="refused"' in shown, shown
            for entry in ("DoorbusterWebhookBehind", "DoorbusterWebhookSkipped"):
                assert 'webhook="orders"' in service.paste(entry, "look")
            receiver.status = 204
            assert '"state":"active"' in service.paste("DoorbusterWebhookParked", "do")
            wait("it goes on", lambda: service.metric(parked) == 0)


def waitlist_full() -> None:
    """One customer waits, as many as may; with more places the next one can."""
    with selling() as service:
        sale = service.get("/v1/sales?limit=1", None)["sales"][0]["id"]
        patch = {"waitlist": {"entries_max": 1, "entry_seconds": 3600}}
        sku = service.send("PATCH", f"/v1/sales/{sale}", patch, None)["items"][0]["sku"]
        wanted = {"lines": [{"sku": sku, "quantity": 1_000_000}]}
        service.send("POST", f"/v1/sales/{sale}/waitlist", wanted | {"customer": "first"}, None)
        try:
            service.send("POST", f"/v1/sales/{sale}/waitlist", wanted | {"customer": "second"}, None)
        except urllib.error.HTTPError as error:
            assert json.load(error)["code"] == "waitlist_full"
        else:
            raise AssertionError("waitlist_full was to come")
        wait("it is counted", lambda: service.metric(f'doorbuster_sale_waiting_customers{{sale="{sale}"}}') == 1)
        shown = service.paste("DoorbusterWaitlistFull", "look")
        assert 'outcome="joined"} 1' in shown, shown
        assert '"entries_max":100000' in service.paste("DoorbusterWaitlistFull", "do")
        service.send("POST", f"/v1/sales/{sale}/waitlist", wanted | {"customer": "second"}, None)


def log_lines_dropped() -> None:
    """The log's disk is full; with room again, nothing has to be restarted."""
    with selling() as service:
        service.process.terminate()
        service.process.wait(PATIENCE)
        service.full_log = True
        service.start()
        wait("it is counted", lambda: (service.metric("doorbuster_log_lines_dropped_total") or 0) > 0)
        assert "doorbuster_log_lines_dropped_total" in service.paste("DoorbusterLogLinesDropped", "look")
        service.shop(range(1))


def main() -> None:
    every_entry_is_complete()
    started = time.monotonic()
    scenes = [healthy, down, journal_failed, store_away, store_stuck, certificate]
    scenes += [clock_jumped, disk_low, reload_failed, near_limit, log_lines_dropped, payments_to_return]
    scenes += [webhook_parked, waitlist_full]
    scenes += [partial(damaged, way) for way in ("cut", "restore")]
    # They mostly wait.
    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(scene) for scene in scenes]:
            done.result()
    print(f"{len(BLOCKS)} entries of the runbook were tried in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
