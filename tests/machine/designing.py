"""docs/designing-a-sale.md holds: its documents are those of examples/sales/, and a service does what its tables say.

The tables are played in their order. A document's times are shifted so that the moment of a row is now.
"""

from __future__ import annotations

import json
import re
import urllib.error
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from service import ROOT, Service

GUIDE = ROOT / "docs" / "designing-a-sale.md"
SALES = ROOT / "examples" / "sales"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
ROW = re.compile(r"^\| (\d\d:\d\d) \| (.+?) \| (.+?) \| (.*?) \|$", re.MULTILINE)
ASKED = re.compile(r"`(\d+) × ([\w-]+)`")
MEMBER = re.compile(r"`(tier|channel|region|locations): ([\w-]+)`")
PART = re.compile(r"(\d+) from `([\w-]+)`(?: at ([\d.]+))?")
REFUSED = re.compile(r'^`(\w+)`(?:, `("[^`]+)`)?(?:, `opens_at` (\d\d:\d\d))?$')


def read(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def shifted(document: dict[str, Any], by: timedelta) -> dict[str, Any]:
    def move(found: re.Match[str]) -> str:
        return (read(found[0]) + by).astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    return json.loads(TIME.sub(move, json.dumps(document)))


def is_part(part: Any, whole: Any) -> bool:
    """Objects may leave members out; lists may not."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(is_part(each, whole.get(name)) for name, each in part.items())
    if isinstance(part, list):
        return len(part) == len(whole) and all(map(is_part, part, whole))
    return part == whole


class Play:
    """One example: its document in a service, and the customers of its table."""

    def __init__(self, service: Service, document: dict[str, Any]) -> None:
        self.service, self.document = service, document
        self.path = f"/v1/sales/{document['id']}"
        self.now: datetime | None = None
        self.shift = timedelta()
        self.held: dict[str, list[str]] = {}

    def call(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        try:
            return 200, self.service.send(method, path, body, None)
        except urllib.error.HTTPError as refused:
            return refused.code, json.load(refused)

    def come_to(self, at: str) -> None:
        hours, minutes = map(int, at.split(":"))
        now = read(self.document["opens_at"]).replace(hour=hours, minute=minutes)
        if now != self.now:
            today = datetime.now(UTC)
            today -= timedelta(microseconds=today.microsecond % 1000)
            self.now, self.shift = now, today - now
            status, answer = self.call("PUT", self.path, shifted(self.document, self.shift))
            assert status == 200, answer

    def row(self, at: str, customer: str, asks: str, gets: str) -> None:
        self.come_to(at)
        if asks == "releases":
            for id in self.held.pop(customer):
                status, answer = self.call("POST", f"/v1/reservations/{id}/release", {})
                assert status == 200, answer
            return
        asked = ASKED.match(asks)
        assert asked, f"not a request: {asks!r}"
        body: dict[str, Any] = {"lines": [{"sku": asked[2], "quantity": int(asked[1])}]}
        for name, value in MEMBER.findall(asks):
            body[name] = [value] if name == "locations" else value
        if "`allow_partial`" in asks:
            body["allow_partial"] = True
        if others := re.fullmatch(r"(\d+) others", customer):
            customers = [{**body, "customer": f"{at}-{number}"} for number in range(int(others[1]))]
            _, answer = self.call("POST", f"{self.path}/reservations/batch", {"reservations": customers})
            for result in answer["results"]:
                self.compare(body, result.get("reservation") or result["problem"], gets)
            return
        status, tried = self.call("POST", f"{self.path}/reservations?dry_run=true", {**body, "customer": customer})
        self.compare(body, tried, gets)
        status, answer = self.call("POST", f"{self.path}/reservations", {**body, "customer": customer})
        self.compare(body, answer, gets)
        if status == 200:
            self.held.setdefault(customer, []).append(answer["id"])

    def compare(self, body: dict[str, Any], answer: dict[str, Any], gets: str) -> None:
        wanted = body["lines"][0]["quantity"]
        if refused := REFUSED.match(gets):
            code, members, opens_at = refused.groups()
            found = answer | answer.get("lines", [{}])[0]
            assert found.get("code") == code, answer
            assert is_part(json.loads(f"{{{members or ''}}}"), found), answer
            if opens_at:
                opens = read(answer["opens_at"]) - self.shift
                assert f"{opens:%H:%M:%S.%f}" == f"{opens_at}:00.000000", answer
            return
        assert "lines" in answer and "code" not in answer, answer
        line = answer["lines"][0]
        parts = PART.findall(gets)
        if not parts:
            assert gets == str(line["quantity"]) == str(wanted) and "from" not in line, answer
            return
        assert ", ".join(f"{n} from `{pool}`" + (f" at {price}" if price else "") for n, pool, price in parts) == gets
        found = [(each["quantity"], each["pool"]) for each in line["from"]]
        assert found == [(int(n), pool) for n, pool, _ in parts], answer
        for each, (_, _, price) in zip(line["from"], parts, strict=True):
            assert not price or f"{each['price']['amount'] / 100:.2f}" == price, answer
        granted = sum(quantity for quantity, _ in found)
        short = [] if granted == wanted else [{"sku": line["sku"], "requested": wanted, "granted": granted}]
        assert answer.get("short", []) == short, answer


def check() -> int:
    """How many rows were played."""
    sections = GUIDE.read_text().split("\n## ")
    files = {path.stem: path for path in sorted(SALES.glob("*.json"))}
    played = 0
    with Service() as service:
        for name, path in files.items():
            told = next(each for each in sections if each.lower().replace(" ", "-").startswith(name))
            played += check_example(service, path, told)
        service.check_stock(None)
        service.stop()
    linked = set(re.findall(r"\[([\w-]+)\.json\]\(#([\w-]+)\)", GUIDE.read_text()))
    assert linked == {(name, name) for name in files}, f"{linked} are linked, and there are {sorted(files)}"
    assert len(files) == 6 and played >= 40, f"{len(files)} documents, {played} rows"
    return played


def check_example(service: Service, path: Path, told: str) -> int:
    document = json.loads(path.read_text())
    assert document["id"] == path.stem, path
    answer = service.send("PUT", f"/v1/sales/{document['id']}?dry_run=true", document, None)
    assert answer == {"created": True, "warnings": []}, f"{path.name}: {answer}"
    fragment = re.search(r"```json\n(.*?)```", told, flags=re.DOTALL)
    assert fragment and is_part(json.loads(fragment[1]), document), f"{path.name} has not what the guide shows of it"
    play, rows = Play(service, document), ROW.findall(told)
    for row in rows:
        within(f"{path.name}: {' | '.join(row)}", lambda row=row: play.row(*row))
    return len(rows)


def within(where: str, do: Callable[[], None]) -> None:
    try:
        do()
    except AssertionError as error:
        raise AssertionError(f"{where}\n{error}") from error


if __name__ == "__main__":
    print(f"{check()} rows of the guide are what a service does")
