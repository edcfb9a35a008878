"""Payments that go every way they can, and a checkout that keeps only those that it sold units for.

    python payments.py [--seed 7] [--orders 300]

The provider is slow, repeats its callbacks and sends them out of order: in time, late, far too late, twice, for a part,
after a release, after a cancellation, after the sale. At the end: units sold = payments kept, and every other payment
has an event to refund it by. Otherwise the program ends with 1. See examples/README.md.
"""

from __future__ import annotations

import argparse
import heapq
import http.client
import json
import os
import random
import threading
import time
import urllib.parse
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

API = urllib.parse.urlsplit(os.environ.get("API_URL", "http://127.0.0.1:8080"))
SKU = "console"
HOLD_SECONDS, LATE_SECONDS = 1, 2
LIMIT = 3
ATTEMPTS = 6
TIMEOUT_SECONDS = 10.0
# Orders begin within this time; then the sale is closed, and payments still come.
SELLING_SECONDS = 10.0
# How an order and its payments go, and how often.
WAYS = {
    "in time": 5,
    "late": 4,
    "too late": 2,
    "refused": 2,
    "twice": 2,
    "for a part": 2,
    "in two parts": 2,
    "unknown": 3,
    "after release": 2,
    "cancelled": 4,
    "cart changed": 2,
    "bought again": 3,
}
# Each of these must have been seen, or the play proved nothing.
CAUSES = {"too_late", "stock", "limit", "released", "cancelled", "already_confirmed"}


class Refused(Exception):
    """A business answer. A retry would get the same one."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(f"{problem['code']}: {problem['detail']}")
        self.code: str = problem["code"]


class Doorbuster:
    """The API, with retries. Every call can be repeated: by its key, or because the answer is then the same."""

    def __init__(self, sale: str) -> None:
        self.sale = sale
        self.local = threading.local()

    def call(self, method: str, path: str, body: Any = None, key: str | None = None) -> dict[str, Any]:
        for attempt in range(ATTEMPTS):
            wait = 0.0
            try:
                answer = self.send(method, path, body, key)
                document = json.loads(answer.read())
                if answer.status < 300:
                    return document
                if answer.status not in (429, 503):
                    raise Refused(document)
                wait = float(answer.getheader("Retry-After") or 0)
            except (OSError, http.client.HTTPException):
                self.local.connection = None  # the outcome is unknown: repeat with the same key
            time.sleep(max(wait, random.uniform(0, min(1.0, 0.05 * 2**attempt))))
        raise RuntimeError(f"{method} {path}: no answer after {ATTEMPTS} attempts")

    def send(self, method: str, path: str, body: Any, key: str | None) -> http.client.HTTPResponse:
        connection = getattr(self.local, "connection", None)
        if connection is None:
            connection = self.local.connection = connect()
        headers = headers_with(key)
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        return connection.getresponse()

    def put_sale(self, units: int) -> None:
        item = {"sku": SKU, "initial_stock": units, "price": {"amount": 39900, "currency": "EUR"}}
        times = {"opens_at": "2026-01-01T00:00:00Z", "closes_at": "2036-01-01T00:00:00Z"}
        rules = {"hold_seconds": HOLD_SECONDS, "late_confirm_seconds": LATE_SECONDS, "customer_limit": LIMIT}
        self.call("PUT", f"/v1/sales/{self.sale}", {"name": "Console drop", **times, **rules, "items": [item]})

    def close(self) -> None:
        self.call("POST", f"/v1/sales/{self.sale}/close")

    def item(self) -> dict[str, Any]:
        [item] = self.call("GET", f"/v1/sales/{self.sale}")["items"]
        return item

    def reserve(self, customer: str, units: int, attempt: str) -> str:
        body = {"customer": customer, "lines": lines(units)}
        return self.call("POST", f"/v1/sales/{self.sale}/reservations", body, key=attempt)["id"]

    def command(self, reservation: str, verb: str, body: Any, key: str | None = None) -> dict[str, Any]:
        return self.call("POST", f"/v1/reservations/{reservation}/{verb}", body, key)


def connect() -> http.client.HTTPConnection:
    kind = http.client.HTTPSConnection if API.scheme == "https" else http.client.HTTPConnection
    assert API.hostname is not None, "API_URL must be a URL such as http://127.0.0.1:8080"
    return kind(API.hostname, API.port, timeout=TIMEOUT_SECONDS)


def headers_with(key: str | None = None, accept: str = "application/json") -> dict[str, str]:
    headers = {"Accept": accept, "Content-Type": "application/json"}
    if key:
        headers["Idempotency-Key"] = key
    if api_key := os.environ.get("API_KEY"):
        headers["Authorization"] = f"Bearer {api_key}"
    return headers


def lines(units: int) -> list[dict[str, Any]]:
    return [{"sku": SKU, "quantity": units}]


def units_of(lines: list[dict[str, Any]]) -> int:
    return sum(line["quantity"] for line in lines)


class Stage:
    """Calls functions at their times, on a few threads."""

    def __init__(self, threads: int = 16) -> None:
        self.pool = ThreadPoolExecutor(threads)
        self.changed = threading.Condition()
        self.due: list[tuple[float, int, Callable[[], None]]] = []
        self.count = self.running = 0
        self.failure: BaseException | None = None

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        with self.changed:
            self.count += 1
            heapq.heappush(self.due, (time.monotonic() + seconds, self.count, act))
            self.changed.notify_all()

    def play(self) -> None:
        """Until nothing is due or running any more."""
        with self.changed:
            while (self.due or self.running) and self.failure is None:
                wait = self.due[0][0] - time.monotonic() if self.due else None
                if wait is None or wait > 0:
                    self.changed.wait(wait)
                    continue
                self.running += 1
                self.pool.submit(self.run, heapq.heappop(self.due)[2])
        self.pool.shutdown(cancel_futures=True)
        if self.failure is not None:
            raise self.failure

    def run(self, act: Callable[[], None]) -> None:
        try:
            act()
        except BaseException as failure:
            self.failure = failure
        finally:
            with self.changed:
                self.running -= 1
                self.changed.notify_all()


@dataclass
class Payment:
    """A payment for some units of a reservation. Its id is the reference of the confirm."""

    id: str
    reservation: str
    units: int
    captured: bool = False
    refunded: int = 0

    def kept(self) -> int:
        return self.units - self.refunded if self.captured else 0


@dataclass
class Provider:
    """Captures payments and reports them when it likes, as often as it likes."""

    stage: Stage
    report: Callable[[Payment], None]
    payments: dict[str, Payment] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def pay(self, dice: random.Random, reservation: str, units: int, seconds: float) -> Payment:
        """Will be captured after so many seconds. It is reported once to three times, the last time long after."""
        with self.lock:
            payment = Payment(f"payment-{len(self.payments)}-{dice.randrange(10**6)}", reservation, units)
            self.payments[payment.id] = payment

        def capture() -> None:
            payment.captured = True
            self.report(payment)

        self.stage.after(seconds, capture)
        for _ in range(dice.randint(0, 2)):
            self.stage.after(seconds + dice.uniform(0.01, 3.0), lambda: self.report(payment))
        return payment

    def refund(self, payment_id: str, units: int | None = None) -> None:
        """So many units, or all that are left of it."""
        with self.lock:
            payment = self.payments[payment_id]
            assert payment.captured, f"{payment_id} was never captured"
            payment.refunded += payment.kept() if units is None else units
            assert payment.refunded <= payment.units, f"{payment_id} was refunded twice"


class Refunds(threading.Thread):
    """Reads the feed, and refunds every payment that keeps no units. It needs no answer of the API.

    A real service handles an event and saves its cursor in one transaction.
    """

    def __init__(self, sale: str, provider: Provider) -> None:
        super().__init__(daemon=True)
        self.sale, self.provider = sale, provider
        self.cursor: str | None = None
        self.started, self.ended = threading.Event(), threading.Event()
        # The payment that a reservation was confirmed with.
        self.paid_by: dict[str, str] = {}
        self.refused: dict[str, str] = {}
        self.cancelled: Counter[str] = Counter()
        self.left_stock = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        while not self.ended.is_set():
            try:
                self.read(events=100)
            except (OSError, http.client.HTTPException):
                time.sleep(0.1)
            except BaseException as failure:
                self.failure = failure
                self.ended.set()

    def read(self, events: int) -> None:
        """Some events, as if the connection broke behind them."""
        connection = connect()
        query = f"?after={urllib.parse.quote(self.cursor)}" if self.cursor else ""
        connection.request("GET", f"/v1/events{query}", headers=headers_with(accept="application/x-ndjson"))
        stream = connection.getresponse()
        assert stream.status == 200, stream.read()
        self.cursor = self.cursor or stream.getheader("Event-Cursor")
        self.started.set()
        while events > 0 and not self.ended.is_set():
            line = stream.readline()
            if not line:
                break
            if not line.strip():
                continue  # a heartbeat
            event = json.loads(line)
            if event["type"] == "stream.ended":
                break
            if event["data"].get("sale") == self.sale:
                self.handle(event["type"], event["data"])
            self.cursor = event["cursor"]
            events -= 1
        connection.close()

    def handle(self, kind: str, data: dict[str, Any]) -> None:
        match kind:
            case "reservation.confirmed":
                self.paid_by[data["id"]] = data["reference"]
            case "reservation.confirm_refused":
                self.refused[data["reference"]] = data["cause"]
                # A callback that is repeated after the cancellation: what was cancelled is refunded already.
                if self.paid_by.get(data["id"]) != data["reference"]:
                    self.provider.refund(data["reference"])
            case "reservation.cancelled":
                payment, units = self.paid_by[data["id"]], units_of(data["lines"])
                self.cancelled[payment] += units
                self.left_stock += 0 if data["restock"] else units
                self.provider.refund(payment, units)
            case "stock.adjusted" if data.get("reason") == "the end":
                self.ended.set()


class Checkout:
    def __init__(self, api: Doorbuster, stage: Stage, seed: int) -> None:
        self.api, self.stage, self.seed = api, stage, seed
        self.provider = Provider(stage, self.paid)
        # What became of each report of a payment: its last answer.
        self.answers: dict[str, str] = {}
        self.ends: Counter[str] = Counter()

    def paid(self, payment: Payment) -> None:
        """The provider reports a captured payment. It may be the first report of it or the fifth."""
        confirm = {"reference": payment.id, "lines": lines(payment.units)}
        try:
            self.api.command(payment.reservation, "confirm", confirm)
            self.answers[payment.id] = "confirmed"
        except Refused as refused:
            # Not sold. The event says so, too, and refunds the payment even if this process dies here.
            self.answers[payment.id] = refused.code

    def buy(self, number: int) -> None:
        """One customer's order, and how its payments go."""
        dice = random.Random(f"{self.seed}/{number}")
        [way] = dice.choices(list(WAYS), list(WAYS.values()))
        customer, units = f"customer-{number}", dice.randint(2 if "part" in way else 1, LIMIT)
        if way == "bought again":
            units = 2
        try:
            held = self.api.reserve(customer, units, f"{customer}-cart")
            self.ends[f"{way}: held"] += 1
        except Refused as refused:
            assert refused.code in ("sold_out", "insufficient_stock", "sale_ended"), refused
            self.ends[f"{way}: {refused.code}"] += 1
            return
        self.pay(dice, way, customer, held, units)

    def pay(self, dice: random.Random, way: str, customer: str, held: str, units: int) -> None:
        soon, late = dice.uniform(0.05, 0.6), dice.uniform(1.05, 2.6)
        after, pay = self.stage.after, self.provider.pay
        match way:
            case "in time":
                pay(dice, held, units, soon)
            case "late":
                pay(dice, held, units, late)
            case "too late":
                pay(dice, held, units, dice.uniform(3.1, 4.5))
            case "refused":
                after(soon, lambda: self.release(held, "payment refused"))
            case "twice":
                for seconds in (soon, dice.uniform(0.05, 0.9)):
                    pay(dice, held, units, seconds)
            case "for a part":
                pay(dice, held, dice.randint(1, units - 1), soon)
            case "in two parts":
                part = dice.randint(1, units - 1)
                pay(dice, held, part, soon)
                pay(dice, held, units - part, dice.uniform(0.05, 0.9))
            case "unknown":
                # The provider gives no answer: hold the units for longer, and ask again later.
                payment = pay(dice, held, units, dice.choice([soon, late, 3.5]))
                self.ask(lambda: self.api.command(held, "extend", {"hold_seconds": 2 * HOLD_SECONDS}))
                after(1.5, lambda: self.paid(payment) if payment.captured else self.release(held, "not paid"))
            case "after release":
                pay(dice, held, units, soon)
                after(dice.uniform(0.05, soon + 0.05), lambda: self.release(held, "the customer left"))
            case "cancelled":
                pay(dice, held, units, soon)
                restock = dice.random() < 0.7
                # One unit first, with a key; later all that are left.
                one = {"lines": lines(1), "restock": restock, "reason": "one came back"}
                after(soon + dice.uniform(0, 1.5), lambda: self.cancel(held, one, f"return-{held}"))
                after(soon + dice.uniform(1, 3), lambda: self.cancel(held, {"restock": restock}))
            case "cart changed":
                # The payment is for what the answer says, whether the change was granted or not.
                fewer = dice.randint(1, LIMIT)
                changed = self.ask(lambda: self.api.command(held, "change", {"lines": lines(fewer)}))
                pay(dice, held, fewer if changed else units, soon)
            case "bought again":
                pay(dice, held, units, dice.uniform(1.8, 2.6))
                after(1.2, lambda: self.buy_again(dice, customer, units))

    def buy_again(self, dice: random.Random, customer: str, units: int) -> None:
        """The hold is over and the customer tries again, while the first payment is under way."""
        if again := self.ask(lambda: self.api.reserve(customer, units, f"{customer}-again")):
            self.provider.pay(dice, again, units, 0.1)

    def release(self, held: str, reason: str) -> None:
        self.ask(lambda: self.api.command(held, "release", {"reason": reason}))

    def cancel(self, held: str, body: dict[str, Any], key: str | None = None) -> None:
        """Twice, as if the first answer had been lost: it takes effect once."""
        first = self.ask(lambda: self.api.command(held, "cancel", body, key))
        second = self.ask(lambda: self.api.command(held, "cancel", body, key))
        assert first is None or second is not None, f"{held}: a repeated cancellation is refused"

    def ask(self, call: Callable[[], Any]) -> Any:
        """The answer, or None if it is a refusal. What follows from a refusal, the feed tells."""
        try:
            return call()
        except Refused as refused:
            self.ends[f"answer {refused.code}"] += 1
            return None


def check(api: Doorbuster, checkout: Checkout, refunds: Refunds, units: int) -> str:
    payments = list(checkout.provider.payments.values())
    item = api.item()
    kept = sum(payment.kept() for payment in payments)
    assert item["confirmed"] == kept, f"{item['confirmed']} units are sold, and payments for {kept} are kept"
    stock = units - refunds.left_stock + 1
    assert item["stock"] == stock == item["available"] + item["confirmed"], f"{item}, and {stock} in stock by the feed"

    by_reservation: Counter[str] = Counter()
    for payment in payments:
        by_reservation[payment.reservation] += payment.kept()
        has_event = payment.id in refunds.refused or refunds.cancelled[payment.id] > 0
        assert payment.captured and payment.id in checkout.answers, f"{payment} was never reported"
        assert payment.refunded == 0 or has_event, f"{payment} has no event to refund it by"
        answer = checkout.answers[payment.id]
        assert answer == "confirmed" or payment.id in refunds.refused, (
            f"{payment} was answered {answer}, without an event"
        )
    for reservation, paid in by_reservation.items():
        shown = api.call("GET", f"/v1/reservations/{reservation}")
        sold = units_of(shown["lines"]) if shown["state"] == "confirmed" else 0
        assert sold == paid, f"payments for {paid} units are kept, and sold were {sold}: {shown}"
    causes = Counter(refunds.refused.values())
    assert CAUSES <= causes.keys(), f"not played: {sorted(CAUSES - causes.keys())}; play more orders or another seed"

    for name, count in sorted((checkout.ends + Counter({f"event {cause}": n for cause, n in causes.items()})).items()):
        print(f"{name:30} {count}")
    refunded = sum(payment.refunded for payment in payments)
    return f"{kept} units sold and paid for; {len(payments)} payments, {refunded} units refunded, each by an event"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--orders", type=int, default=300)
    asked = parser.parse_args()

    api, stage = Doorbuster(f"payments-{uuid.uuid4().hex[:8]}"), Stage()
    # Fewer than the orders want, so that units which come back are taken again.
    units = asked.orders * 2 // 5
    api.put_sale(units)
    checkout = Checkout(api, stage, asked.seed)
    refunds = Refunds(api.sale, checkout.provider)
    refunds.start()
    assert refunds.started.wait(30), f"the feed did not begin: {refunds.failure}"

    dice = random.Random(asked.seed)
    for number in range(asked.orders):
        stage.after(dice.uniform(0, SELLING_SECONDS), partial(checkout.buy, number))
    stage.after(SELLING_SECONDS, api.close)
    stage.play()

    deadline = time.monotonic() + 10
    while api.item()["held"] > 0:
        assert time.monotonic() < deadline, "holds do not expire"
        time.sleep(0.1)
    api.call("POST", f"/v1/sales/{api.sale}/items/{SKU}/adjustments", {"delta": 1, "reason": "the end"}, key="the-end")
    assert refunds.ended.wait(30), "the feed does not end"
    if refunds.failure is not None:
        raise refunds.failure
    print(check(api, checkout, refunds, units))


if __name__ == "__main__":
    main()
