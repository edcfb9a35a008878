"""A checkout that reserves, charges and confirms, and handles late and refused payments. See examples/README.md."""

from __future__ import annotations

import json
import os
import random
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import requests

API = os.environ.get("API_URL", "http://127.0.0.1:8080")
HOLD_SECONDS = 2
ATTEMPTS = 5
TIMEOUT_SECONDS = 5.0


class Refused(Exception):
    """A business answer: sold out, limit reached, hold expired. A retry would get the same one."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(problem["code"])
        self.code: str = problem["code"]
        self.problem = problem


class Doorbuster:
    """The API, with retries. A repeated call carries the same idempotency key, so it takes effect once."""

    def __init__(self) -> None:
        self.session = requests.Session()
        if key := os.environ.get("API_KEY"):
            self.session.headers["Authorization"] = f"Bearer {key}"

    def call(self, method: str, path: str, body: Any = None, key: str | None = None) -> dict[str, Any]:
        headers = {"Idempotency-Key": key} if key else {}
        for attempt in range(ATTEMPTS):
            wait = 0.0
            try:
                answer = self.session.request(method, API + path, json=body, headers=headers, timeout=TIMEOUT_SECONDS)
                if answer.ok:
                    return answer.json()
                if answer.status_code not in (429, 503):
                    raise Refused(answer.json())
                wait = float(answer.headers.get("Retry-After", 0))
            except (requests.ConnectionError, requests.Timeout):
                pass  # the outcome is unknown: repeat with the same key
            # Full jitter, so that callers that failed together do not retry together.
            time.sleep(max(wait, random.uniform(0, min(1.0, 0.05 * 2**attempt))))
        raise RuntimeError(f"{method} {path}: no answer after {ATTEMPTS} attempts")

    def put_sale(self, sale: str, units: int) -> None:
        item = {"sku": "console", "initial_stock": units, "price": {"amount": 39900, "currency": "EUR"}}
        times = {"opens_at": "2026-01-01T00:00:00Z", "closes_at": "2036-01-01T00:00:00Z"}
        rules = {"hold_seconds": HOLD_SECONDS, "max_extensions": 1, "customer_limit": 1}
        self.call("PUT", f"/v1/sales/{sale}", {"name": "Console drop", **times, **rules, "items": [item]})

    def reserve(self, sale: str, customer: str, attempt: str) -> dict[str, Any]:
        body = {"customer": customer, "lines": [{"sku": "console", "quantity": 1}]}
        return self.call("POST", f"/v1/sales/{sale}/reservations", body, key=attempt)

    def extend(self, reservation: str) -> dict[str, Any]:
        return self.call("POST", f"/v1/reservations/{reservation}/extend", {"hold_seconds": 2 * HOLD_SECONDS})

    def confirm(self, reservation: str, order: str) -> dict[str, Any]:
        return self.call("POST", f"/v1/reservations/{reservation}/confirm", {"reference": order})

    def release(self, reservation: str, reason: str) -> dict[str, Any]:
        return self.call("POST", f"/v1/reservations/{reservation}/release", {"reason": reason})


@dataclass
class Payments:
    """A simulated payment provider. `seconds`: how long each customer's bank takes; None means that it refuses."""

    seconds: dict[str, float | None]
    pending: set[str]
    """Customers whose bank reports at once that the payment will take longer."""
    charged: set[str] = field(default_factory=set)
    refunded: set[str] = field(default_factory=set)

    def charge(self, customer: str, payment: str) -> bool:
        seconds = self.seconds[customer]
        if seconds is None:
            return False
        time.sleep(seconds)
        self.charged.add(payment)
        return True

    def refund(self, payment: str) -> None:
        self.refunded.add(payment)

    def kept(self) -> int:
        return len(self.charged - self.refunded)


def buy(api: Doorbuster, payments: Payments, sale: str, customer: str) -> str:
    """Takes one customer through the checkout, and returns the result."""
    # One key for each attempt to buy, also when the request is repeated.
    attempt = f"{customer}-{uuid.uuid4()}"
    try:
        held = api.reserve(sale, customer, attempt)
    except Refused as refused:
        return refused.code
    # As if the answer had been lost: the same request again gives the same reservation, not a second one.
    assert api.reserve(sale, customer, attempt)["id"] == held["id"]

    reservation, order = held["id"], f"order-{customer}"
    if customer in payments.pending:
        api.extend(reservation)  # before the hold expires: afterwards it is too late
    if not payments.charge(customer, payment=reservation):
        api.release(reservation, "payment refused")
        return "payment refused"
    try:
        api.confirm(reservation, order)
        api.confirm(reservation, order)  # the provider repeats its callback: the same answer
        return "sold"
    except Refused as refused:
        if refused.code not in ("reservation_expired", "already_released"):
            raise
    # The payment came too late, and another customer may have the units: reserve others, with a new key.
    try:
        held = api.reserve(sale, customer, f"{customer}-{uuid.uuid4()}")
        api.confirm(held["id"], order)
        return "sold late"
    except Refused:
        payments.refund(reservation)
        return "refunded"


class Follower(threading.Thread):
    """Reads the feed of events. When its connection breaks, it continues after the last event."""

    def __init__(self, sale: str) -> None:
        super().__init__(daemon=True)
        self.sale = sale
        self.told: list[str] = []
        self.cursor: str | None = None
        self.started = threading.Event()
        self.breaks = 1

    def run(self) -> None:
        while True:
            try:
                self.read()
            except requests.RequestException:
                time.sleep(0.1)

    def read(self) -> None:
        headers = {"Accept": "application/x-ndjson"}
        if key := os.environ.get("API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        query = {"after": self.cursor} if self.cursor else {}
        with requests.get(f"{API}/v1/events", query, headers=headers, stream=True, timeout=30) as stream:
            stream.raise_for_status()
            self.cursor = self.cursor or stream.headers["Event-Cursor"]
            self.started.set()
            for line in stream.iter_lines():
                if not line:
                    continue  # a heartbeat
                event = json.loads(line)
                if event["type"] == "stream.ended":
                    return
                # Handle the event first, then save the cursor. A real service does both in one transaction.
                if event["data"].get("sale") == self.sale:
                    self.told.append(event["type"])
                self.cursor = event["cursor"]
                if self.breaks:
                    self.breaks -= 1
                    return  # simulates a broken connection

    def wait_for(self, kind: str, count: int) -> None:
        deadline = time.monotonic() + 30
        while self.told.count(kind) < count:
            assert time.monotonic() < deadline, f"waited in vain for {count} {kind}: {self.told}"
            time.sleep(0.05)


SLOW, LATE = HOLD_SECONDS + 0.5, HOLD_SECONDS + 3.0


def main() -> None:
    api, sale = Doorbuster(), f"console-drop-{uuid.uuid4().hex[:8]}"
    api.put_sale(sale, units=4)
    follower = Follower(sale)
    follower.start()
    assert follower.started.wait(30), "the feed did not begin"

    payments = Payments({"ann": 0.1, "bob": None, "cem": SLOW, "dora": LATE}, pending={"cem"})
    ends = {customer: buy(api, payments, sale, customer) for customer in payments.seconds}
    assert ends == {"ann": "sold", "bob": "payment refused", "cem": "sold", "dora": "sold late"}, ends

    # One unit is left. Eve's payment is late, and meanwhile Finn takes the unit.
    payments.seconds |= {"eve": LATE, "finn": 0.1, "gwen": 0.1}
    eve = threading.Thread(target=lambda: ends.update(eve=buy(Doorbuster(), payments, sale, "eve")))
    eve.start()
    follower.wait_for("reservation.expired", 2)  # dora's, and now eve's
    ends["finn"] = buy(api, payments, sale, "finn")
    eve.join()
    ends["gwen"] = buy(api, payments, sale, "gwen")
    assert (ends["finn"], ends["eve"], ends["gwen"]) == ("sold", "refunded", "sold_out"), ends

    [item] = api.call("GET", f"/v1/sales/{sale}")["items"]
    assert item["confirmed"] == payments.kept() == 4, (item, payments)
    assert item["stock"] == item["available"] + item["held"] + item["confirmed"]
    follower.wait_for("reservation.confirmed", 4)
    assert follower.told.count("reservation.confirmed") == 4, follower.told
    for customer, end in ends.items():
        print(f"{customer:5} {end}")
    print(f"{item['confirmed']} units sold, {payments.kept()} payments kept, {len(payments.refunded)} refunded")


if __name__ == "__main__":
    main()
