"""The console, in a real browser, against the built binary: what is done on the page is done in the service, and what
the page shows is what the API says.

`--screenshots` makes the pictures of docs/console/ anew, and checks nothing.
"""

from __future__ import annotations

import re
import sys
import threading
import time
import urllib.error
from datetime import datetime, timedelta
from itertools import count
from typing import Any
from urllib.parse import unquote

import console_rules
from browser import Browser

from service import ROOT, Receiver, Service

SALE = "night-drop"
PICTURES = ROOT / "docs" / "console"
ITEMS = ("tv-55", "radio", "<b>bold</b>")
# A machine may answer in less than a millisecond, or not.
DURATIONS = re.compile(r"[\d.,]+ (µs|ms|s) / [\d.,]+ (µs|ms|s)")


class Shoppers:
    """Real traffic: reserves and confirms, over HTTP, until told to stop or for so many tries."""

    def __init__(self, service: Service, pause: float = 0.004) -> None:
        self.service, self.pause = service, pause
        self.numbers, self.going = count(), threading.Event()
        self.threads: list[threading.Thread] = []

    def shop(self, sale: str, sku: str, quantity: int = 1) -> dict[str, Any] | None:
        body = {"customer": f"c{next(self.numbers)}", "lines": [{"sku": sku, "quantity": quantity}]}
        try:
            return self.service.send("POST", f"/v1/sales/{sale}/reservations", body, "checkout")
        except urllib.error.HTTPError as refused:
            assert refused.code == 409, refused.read()
            return None

    def run(self, sale: str, skus: tuple[str, ...]) -> None:
        for number in count():
            if not self.going.is_set():
                return
            held = self.shop(sale, skus[number % len(skus)])
            if held and number % 3 == 0:
                self.service.send("POST", f"/v1/reservations/{held['id']}/confirm", {}, "checkout")
            time.sleep(self.pause)

    def start(self, sale: str, skus: tuple[str, ...]) -> None:
        self.going.set()
        self.threads.append(threading.Thread(target=self.run, args=(sale, skus), daemon=True))
        self.threads[-1].start()

    def stop(self) -> None:
        self.going.clear()
        for thread in self.threads:
            thread.join(10)
        self.threads.clear()


def give_key(page: Browser, key: str) -> None:
    page.write(page.until(lambda: next(iter(page.shown("#key-text")), None), "the field of the key"), key)
    page.button("Use this key").click()


def asks_for_a_key(page: Browser, service: Service) -> None:
    page.chrome.get(f"{service.url}/console")
    page.says("#key", "This service asks for a key")
    page.check_accessibility("asking for a key")
    give_key(page, "no key at all")
    page.says("#key-wrong", "without spaces")
    give_key(page, service.keys["viewer"][:-1] + "!")
    page.says("#key-wrong", "An API key is required")
    give_key(page, service.keys["viewer"])
    page.says("#sale", "No sales yet")
    assert not page.shown("#create") and "PUT /v1/sales/{sale}" in page.text("#sale"), "a viewer is told how"
    page.button("Forget key").click()
    page.says("#key", "This service asks for a key")
    give_key(page, service.keys["operator"])
    page.says("#caller", "operator, operator")


def creates(page: Browser, service: Service) -> None:
    page.button("Create the first sale").click()
    page.fill({"Id": SALE, "Opens": "2024-01-01T00:00", "Closes": "2090-01-01T00:00", "SKU": ITEMS[0], "Stock": "many"})
    page.button("Create the sale").click()
    page.says("dialog .wrong", "The request is malformed (400 invalid_request)")
    page.says("dialog .wrong", "/items/0/initial_stock")
    assert page.run("return document.activeElement.getAttribute('aria-invalid')") == "true", (
        "the focus is where it is wrong"
    )
    page.check_accessibility("a form that was refused")
    page.fill({"Name": "Night drop", "Stock": "40", "Price": "199.5", "Currency": "eur"})
    for sku, stock in ((ITEMS[1], "500"), (ITEMS[2], "60")):
        page.button("Add an item").click()
        page.fill({"SKU": sku, "Stock": stock}, "dialog[open] fieldset:last-of-type")
    page.button("Create the sale").click()
    page.says("#sale-title", "Night drop")
    sale = service.get(f"/v1/sales/{SALE}", "viewer")
    assert [(item["sku"], item["initial_stock"]) for item in sale["items"]] == list(
        zip(ITEMS, (40, 500, 60), strict=True)
    )
    assert sale["items"][0]["price"] == {"amount": 19950, "currency": "EUR"}, sale
    assert (sale["name"], sale["hold_seconds"], sale["status"]) == ("Night drop", 300, "open")
    assert page.run("return document.querySelectorAll('#sale b').length") == 0, "a SKU is text"
    page.find("#create").click()
    page.fill({"Id": SALE, "Name": "Another", "SKU": "x", "Stock": "1"})
    page.button("Create the sale").click()
    page.says("dialog .wrong", "A sale with this id exists")
    page.button("Cancel").click()
    assert service.get(f"/v1/sales/{SALE}", "viewer")["name"] == "Night drop"


def shown_items(page: Browser) -> dict[str, list[str]]:
    rows = page.run(
        "return [...document.querySelectorAll('#sale tbody tr')].map((row) => [row.dataset.sku,"
        " [...row.querySelectorAll('td:not(.act)')].map((cell) => cell.innerText)])"
    )
    return dict(rows)


def as_in_the_api(page: Browser, service: Service) -> bool:
    """Every figure of the page's sale against the API, which must stand still."""
    sale, shown = service.get(f"/v1/sales/{SALE}", "viewer"), shown_items(page)
    for item in sale["items"]:
        _price, *figures, _pace, end = shown[item["sku"]]
        expected = [f"{item[name]:,}" for name in ("stock", "available", "held", "confirmed")]
        if figures != expected or ("sold out" in end) != (item["available"] == 0):
            return False
    sums = [sum(item[name] for item in sale["items"]) for name in ("available", "held", "confirmed")]
    tiles = [page.text(f".tile.{name} dd > span") for name in ("available", "held", "confirmed")]
    return tiles == [f"{it:,}" for it in sums] and page.text("#sale .head .chip") == sale["status"]


def shows_what_the_api_says(page: Browser, service: Service) -> None:
    page.until(lambda: as_in_the_api(page, service), "the page to be as the API")
    figures = service.get("/v1/status", "viewer")["service"]
    grants = f"{figures['reservations']['held']:,} since the start"
    page.until(lambda: grants in tile_of(page, "Grants per second")[1], grants)
    expiring = f"{figures['holds']['expiring_next_minute']:,}"
    page.until(lambda: tile_of(page, "Ending in a minute")[0] == expiring, "holds that end")


def tile_of(page: Browser, name: str) -> list[str]:
    return page.run(
        "const named = (it) => it.querySelector('dt').innerText === arguments[0];"
        "const tile = [...document.querySelectorAll('.tile')].find(named);"
        "return [...tile.querySelectorAll('dd > *')].map((it) => it.innerText)",
        name,
    )


def drains(page: Browser, service: Service) -> None:
    shoppers = Shoppers(service)
    for _ in range(2):
        shoppers.start(SALE, ITEMS[:2])
    try:
        page.says(f"tr[data-sku='{ITEMS[0]}']", "sold out")
        page.says("#sale .log", f"{ITEMS[0]} is sold out.")
        page.until(lambda: number(tile_of(page, "Grants per second")[0]) > 5, "grants per second")
        page.until(lambda: number(tile_of(page, "Refusals per second")[0]) > 5, "refusals per second")
        assert tile_of(page, "Refusals per second")[1] == "Mostly sold_out"
        page.until(lambda: DURATIONS.fullmatch(tile_of(page, "Calls, p50 / p99")[0]), "percentiles")
        page.until(lambda: tile_of(page, "Sells out")[0].startswith("in "), "an estimate of the end")
        page.until(lambda: number(tile_of(page, "Taken per second")[0]) > 5, "a pace")
        figures = service.get("/v1/status", "viewer")["service"]
        assert figures["holds"]["live"] > 0 and figures["store"]["state"] == "following", figures
    finally:
        shoppers.stop()
    shows_what_the_api_says(page, service)
    assert page.run("return document.querySelectorAll('.chart canvas').length") == 2


def number(text: str) -> float:
    return float(text.replace(",", "")) if text[:1].isdigit() else -1.0


def operates(page: Browser, service: Service) -> None:
    def status() -> str:
        return str(service.get(f"/v1/sales/{SALE}", "viewer")["status"])

    page.button("Pause").click()
    page.says("dialog", "Pause “Night drop”?")
    page.check_accessibility("a dialog")
    page.button("Cancel").click()
    assert status() == "open", "nothing happens without the second word"
    page.button("Pause").click()
    page.button("Pause the sale").click()
    page.says("#sale .head .chip", "paused")
    assert status() == "paused"
    page.says("#sales li", "paused")
    page.button("Resume").click()
    page.button("Resume the sale").click()
    page.says("#sale .head .chip", "open")
    assert status() == "open"
    adjusts(page, service)
    # What the key may not do any more: the service's own words, whatever the page offers.
    page.button("Pause").click()
    page.run("sessionStorage.setItem('doorbuster-key', arguments[0])", service.keys["viewer"])
    page.button("Pause the sale").click()
    page.says("dialog .wrong", "The key does not allow this call (403 forbidden)")
    page.says("dialog .wrong", "the key's role is viewer; this call needs operator")
    page.button("Cancel").click()
    page.until(lambda: not page.shown("#sale [data-verb]"), "the buttons to go with the role")
    page.run("sessionStorage.setItem('doorbuster-key', arguments[0])", service.keys["operator"])
    page.button("Pause")
    assert status() == "open"


def adjusts(page: Browser, service: Service) -> None:
    page.find(f"tr[data-sku='{ITEMS[1]}'] td.act button").click()
    page.fill({"Units": "-100000"})
    page.button("Adjust the stock").click()
    page.says("dialog .wrong", "Not enough stock (409 insufficient_stock)")
    page.button("Cancel").click()
    before = {item["sku"]: item for item in service.get(f"/v1/sales/{SALE}", "viewer")["items"]}
    page.find(f"tr[data-sku='{ITEMS[0]}'] td.act button").click()
    page.fill({"Units": "+25", "Reason": "second delivery"})
    page.says("dialog", f"The stock will be {before[ITEMS[0]]['stock'] + 25}")
    page.button("Adjust the stock").click()
    page.says("#sale .log", f"Stock of {ITEMS[0]}: +25, now 65.")
    page.says("#sale .log", f"{ITEMS[0]} is available again: 25.")
    after = {item["sku"]: item for item in service.get(f"/v1/sales/{SALE}", "viewer")["items"]}
    assert after[ITEMS[0]]["stock"] == before[ITEMS[0]]["stock"] + 25 and after[ITEMS[1]] == before[ITEMS[1]]
    shows_what_the_api_says(page, service)


def edits(page: Browser, service: Service) -> None:
    page.button("Edit").click()
    page.check_accessibility("the form that edits a sale")
    assert not page.button("Save the changes").is_enabled(), "nothing was changed yet"
    page.fill({"Name": "Late night drop", "Limit per customer": "7"}, "dialog[open] .fields")
    # Somebody else was faster.
    service.send("PATCH", f"/v1/sales/{SALE}", {"hold_seconds": 240}, "operator")
    page.button("Save the changes").click()
    page.says("dialog .wrong", "412 precondition_failed")
    page.button("Cancel").click()
    assert service.get(f"/v1/sales/{SALE}", "viewer")["name"] == "Night drop"
    page.button("Edit").click()
    page.fill({"Name": "Late night drop", "Limit per customer": "7"}, "dialog[open] .fields")
    page.fill({"Price": "209.00"}, "dialog[open] fieldset:first-of-type")
    page.button("Save the changes").click()
    page.says("#sale-title", "Late night drop")
    page.says(f"tr[data-sku='{ITEMS[0]}']", "€209.00")
    sale = service.get(f"/v1/sales/{SALE}", "viewer")
    assert (sale["hold_seconds"], sale["customer_limit"]) == (240, 7), sale
    assert sale["items"][0]["price"] == {"amount": 20900, "currency": "EUR"}, sale
    service.send("PATCH", f"/v1/sales/{SALE}", {"name": "Night drop", "customer_limit": None}, "operator")
    page.says("#sale-title", "Night drop")


def reports(page: Browser, service: Service) -> None:
    line = {"sku": ITEMS[2], "quantity": 2}
    held = service.send("POST", f"/v1/sales/{SALE}/reservations", {"customer": "ann", "lines": [line]}, "checkout")
    service.send("POST", f"/v1/reservations/{held['id']}/confirm", {"reference": "order-7"}, "checkout")
    page.find("#find").click()
    page.fill({"Reservation": "none"})
    page.button("Find").click()
    page.says("dialog .wrong", "404 reservation_not_found")
    page.fill({"Reservation": held["id"]})
    page.button("Find").click()
    page.says("dialog .found", "order-7")
    assert "confirmed" in page.text("dialog .found") and f"2 × {ITEMS[2]}" in page.text("dialog .found")
    page.check_accessibility("a reservation")
    finds_by_customer(page, service)
    page.button("Close").click()
    # The report is read from the store, and kept for some seconds.
    page.until(lambda: service.get(f"/v1/sales/{SALE}/report", "viewer")["units"]["confirmed"] > 0, "the store", 30)
    report = service.get(f"/v1/sales/{SALE}/report", "viewer")
    page.button("Report").click()
    page.says(".report", "Sell-through")
    page.check_accessibility("a report")
    assert tile_of(page, "Sold")[0] == f"{report['units']['confirmed']:,}"
    saved = page.run("return document.querySelector('.report a.button').href")
    lines = unquote(saved.removeprefix("data:text/csv;charset=utf-8,")).splitlines()
    assert lines[0] == "item,granted,confirmed,released,expired,held" and len(lines) > len(ITEMS) + 3, saved
    page.button("Close").click()


def cancels(page: Browser, service: Service) -> None:
    """A reservation that was confirmed late and in part: a part of it, and then the rest."""
    service.send("PATCH", f"/v1/sales/{SALE}", {"late_confirm_seconds": 60}, "operator")
    asked = {"customer": "kim", "hold_seconds": 1, "lines": [{"sku": ITEMS[2], "quantity": 4}]}
    held = service.send("POST", f"/v1/sales/{SALE}/reservations", asked, "checkout")
    path = f"/v1/reservations/{held['id']}"
    page.until(lambda: service.get(path, "viewer")["state"] == "expired", "the hold's end")
    paid = {"reference": "payment-8", "lines": [{"sku": ITEMS[2], "quantity": 3}]}
    service.send("POST", f"{path}/confirm", paid, "checkout")
    stock = stock_of(service)
    page.find("#find").click()
    page.fill({"Reservation": held["id"]})
    page.button("Find").click()
    page.says("dialog .found", "confirmed, late")
    told = page.text("dialog .found")
    assert f"Returned 1 × {ITEMS[2]}" in " ".join(told.split()), told
    page.button("Cancel units").click()
    page.says("dialog", "Cancel the reservation of kim?")
    page.fill({ITEMS[2]: "4"})
    assert not page.button("Cancel the units").is_enabled(), "more than are confirmed"
    page.fill({ITEMS[2]: "1", "Reason": "arrived torn"})
    page.button("Take them out of the sale").click()
    page.says("dialog", "Taken out of the sale's stock: 1. The rest stays sold.")
    page.check_accessibility("a cancellation")
    page.button("Cancel the units").click()
    page.says("dialog .found", f"Cancelled\n1 × {ITEMS[2]}")
    shown = service.get(path, "viewer")
    assert (shown["state"], shown["lines"][0]["quantity"]) == ("confirmed", 2), shown
    assert stock_of(service) == stock - 1, "the unit left the sale"
    page.button("Cancel units").click()
    page.says("dialog", "Available to other customers at once: 2. Nothing of this reservation stays sold.")
    page.button("Cancel the units").click()
    page.says("dialog .found", "cancelled, late")
    assert service.get(path, "viewer")["state"] == "cancelled" and stock_of(service) == stock - 1
    assert not [it for it in page.shown("dialog button") if it.text == "Cancel units"], "nothing is left"
    page.check_accessibility("a cancelled reservation")
    page.button("Close").click()
    service.send("PATCH", f"/v1/sales/{SALE}", {"late_confirm_seconds": None}, "operator")


def stock_of(service: Service) -> int:
    return int(service.get(f"/v1/sales/{SALE}", "viewer")["items"][2]["stock"])


def extends(page: Browser, service: Service) -> None:
    """All holds. The first answer is lost, after the service has done what was asked."""
    line = {"sku": ITEMS[2], "quantity": 1}
    held = service.send("POST", f"/v1/sales/{SALE}/reservations", {"customer": "zoe", "lines": [line]}, "checkout")
    page.run(
        "const real = window.fetch; let lost = false;"
        "window.fetch = async (path, options) => {"
        "  const answer = await real(path, options);"
        "  if (!`${path}`.includes('holds/extend') || lost) return answer;"
        "  lost = true; throw new TypeError('lost');"
        "}"
    )
    page.button("Extend all holds").click()
    assert not page.button("Extend all holds", "dialog").is_enabled(), "it is to be confirmed"
    page.fill({"Extend by": "900", "Reason": "the provider is down", f"Type {SALE} to confirm": SALE})
    page.says("dialog", "Every hold will end 15 min later.")
    page.check_accessibility("extending all holds")
    page.requests()
    page.button("Extend all holds", "dialog").click()
    page.says("dialog", "No answer yet.")
    page.says("dialog", "Holds extended")
    assert re.search(r"[\d,]+ holds? ends? 15 min later", page.text("dialog")), page.text("dialog")
    page.check_accessibility("extended holds")
    sent = [it["headers"] for it in page.requests() if "holds/extend" in it["url"]]
    keys = [headers["Idempotency-Key"] for headers in sent]
    assert len(keys) == 2 and len(set(keys)) == 1, f"repeated with its key: {keys}"
    page.button("Close").click()
    shown = service.get(f"/v1/reservations/{held['id']}", "viewer")
    ends = [datetime.fromisoformat(it["expires_at"]) for it in (held, shown)]
    assert ends[1] - ends[0] == timedelta(seconds=900) and shown["extensions"] == 0, "once"


def finds_by_customer(page: Browser, service: Service) -> None:
    """In the dialog that finds reservations: all of a customer, as the API tells it."""
    service.send("PATCH", f"/v1/sales/{SALE}", {"customer_limit": 3}, "operator")
    path = f"/v1/sales/{SALE}/reservations"
    line = {"sku": ITEMS[2], "quantity": 1}
    held = service.send("POST", path, {"customer": "a & b/c+d", "lines": [line], "reference": "cart-9"}, "checkout")
    page.button("By customer").click()
    page.fill({"Customer": "a & b/c+d"})
    page.button("Find").click()
    page.says("dialog .found", held["id"])
    told = page.text("dialog .found")
    assert "1 reservation, the newest first" in told and f"1 × {ITEMS[2]}" in told and "cart-9" in told, told
    assert "held until" in told and "Of 2 other items" in told, told
    cells = page.run("return [...document.querySelectorAll('.found tbody tr > *')].map((it) => it.innerText)")
    assert cells == [ITEMS[2], "1", "3", "2"], cells
    page.check_accessibility("a customer's reservations")
    page.fill({"Customer": "nobody"})
    page.button("Find").click()
    page.says("dialog .found", "No reservations")
    page.fill({"Customer": "x" * 65})
    page.button("Find").click()
    page.says("dialog .wrong", "/customer: must be text of 1 to 64 bytes")
    fits_on_a_phone(page, "a customer's reservations")
    page.button("By its id").click()
    service.send("PATCH", f"/v1/sales/{SALE}", {"customer_limit": None}, "operator")


def fits_on_a_phone(page: Browser, what: str) -> None:
    for theme in ("light", "dark"):
        page.show(theme, 360)
        page.until(lambda: page.run("return innerWidth") == 360, "the width")
        wide = page.run(
            "const it = document.querySelector('dialog[open]'); return [it.scrollWidth, it.clientWidth, it.offsetWidth]"
        )
        assert wide[0] <= wide[1] and wide[2] <= 360, f"{what} is {wide}"
        page.check_accessibility(f"{what} on a phone, {theme}")
    page.show("light", 1280)


def audits(page: Browser, service: Service) -> None:
    other = {"name": "Other", "opens_at": "2024-01-01T00:00:00Z", "closes_at": "2090-01-01T00:00:00Z"}
    other |= {"hold_seconds": 60, "items": [{"sku": "x", "initial_stock": 1}]}
    service.send("PUT", "/v1/sales/other", other, "operator")
    for number in range(60):
        service.send("PATCH", "/v1/sales/other", {"hold_seconds": 61 + number}, "operator")
    page.until(lambda: len(service.get("/v1/audit?limit=200", "operator")["records"]) > 60, "the store")
    page.button("Audit trail").click()
    page.until(lambda: len(trail_of(page)) == 50, "a page")
    page.says("dialog", "As of")
    page.button("Load more").click()
    records = service.get("/v1/audit?limit=200", "operator")["records"]
    page.until(lambda: len(trail_of(page)) == len(records), "the rest")
    page.until(lambda: not [it for it in page.shown("dialog button") if it.text == "Load more"], "nothing more to load")
    assert [row[3] for row in trail_of(page)] == [it.get("sale", "–") for it in records]
    assert trail_of(page)[0][1:] == ["operator", "Sale saved", "other", "–", "seconds of a hold 119 → 120"]
    page.check_accessibility("the audit trail")
    page.fill({"Sale": SALE})
    page.button("Show").click()
    page.until(lambda: {row[3] for row in trail_of(page)} == {SALE}, "the sale's records alone")
    rows = trail_of(page)
    adjusted = next(row for row in rows if row[2] == "Stock adjusted")
    assert adjusted[1] == "operator" and adjusted[4] == ITEMS[0], adjusted
    assert adjusted[5].startswith("+25: stock 65,") and adjusted[5].endswith("reason: second delivery"), adjusted
    assert rows[-1][5] == "created, with 3 items" and [row[2] for row in rows].count("Paused") == 1, rows
    assert any(row[2] == "Holds extended" and "15 min later; reason: the provider" in row[5] for row in rows), rows
    assert any("limit per customer none → 7" in row[5] and "price €199.50 → €209.00" in row[5] for row in rows), rows
    fits_on_a_phone(page, "the audit trail")
    page.fill({"Sale": "No sale"})
    page.button("Show").click()
    page.says("dialog .wrong", "must match")
    page.button("Close").click()


def trail_of(page: Browser) -> list[list[str]]:
    return page.run(
        "return [...document.querySelectorAll('dialog.page tbody tr')].map((row) =>"
        " [...row.children].map((cell) => cell.innerText))"
    )


def warns() -> None:
    """The journal's disk is nearly full, by what the configuration takes for that."""
    reserve = {"journal.disk_reserve_bytes": 1 << 50}
    with Browser() as page, Service((), reserve) as service:
        page.chrome.get(f"{service.url}/console")
        page.says("#notices", "The journal's disk is nearly full: new reservations are refused")
        page.check_accessibility("a notice")
        assert service.get("/v1/status", None)["service"]["disk_low"] is True
        service.stop()


def resumes_webhooks() -> None:
    """A parked webhook is seen by a viewer, and resumed by an operator."""
    with Receiver() as receiver:
        receiver.status = 503
        unstarted = Service(("operator", "viewer"))
        receiver.configure(unstarted, "orders", park_after_seconds=1)
        with Browser() as page, unstarted as service:
            settings = {"name": "Drop", "opens_at": "2024-01-01T00:00:00Z", "closes_at": "2090-01-01T00:00:00Z"}
            settings |= {"hold_seconds": 60, "items": [{"sku": "tv", "initial_stock": 1}]}
            service.send("PUT", "/v1/sales/drop", settings, "operator")
            page.chrome.get(f"{service.url}/console")
            give_key(page, service.keys["viewer"])
            page.button("Webhooks").click()
            page.says("dialog.page tbody", "parked")
            page.says("dialog.page tbody", "last failure: answered 503")
            page.check_accessibility("webhooks")
            assert not page.shown("dialog.page tbody button"), "a viewer resumes nothing"
            page.button("Close", "dialog.page").click()
            page.button("Forget key").click()
            give_key(page, service.keys["operator"])
            receiver.status = 204
            page.button("Webhooks").click()
            page.button("Resume", "dialog.page").click()
            page.button("Resume", "dialog form").click()
            page.says("dialog.page tbody", "active")
            [webhook] = service.get("/v1/webhooks", "viewer")["webhooks"]
            assert webhook["state"] == "active", webhook
            service.stop()


def explains_the_api(page: Browser, service: Service) -> None:
    page.chrome.get(f"{service.url}/docs")
    page.until(lambda: len(page.shown(".opblock")) > 15, "the calls")
    page.says("#api", "/v1/sales/{sale}/reservations")


def looks_well(page: Browser) -> None:
    for theme in ("light", "dark"):
        for width in (360, 1280):
            page.show(theme, width)
            page.until(lambda width=width: page.run("return innerWidth") == width, "the width")
            wide = page.run("return document.documentElement.scrollWidth")
            assert wide <= width, f"{wide} wide at {width}"
            page.check_accessibility(f"{theme} at {width}")
    page.show("light", 360)
    page.find("#create").click()
    wide = page.run("const it = document.querySelector('dialog'); return [it.scrollWidth, it.clientWidth]")
    assert wide[0] <= wide[1], f"the form is {wide}"
    page.check_accessibility("the form on a phone")
    page.button("Cancel").click()
    page.show("light", 1280)


def is_done_by_keyboard(page: Browser) -> None:
    """Each button is reached with Tab, and is seen to be."""
    page.run("document.activeElement.blur(); scrollTo(0, 0)")
    wanted = {"Pause", "Close for good", "New sale", "Forget key", "Adjust"}
    for _ in range(40):
        page.chrome.switch_to.active_element.send_keys("\ue004")
        at = page.run(
            "const it = document.activeElement; return [it.innerText, getComputedStyle(it).outlineStyle, it.tagName]"
        )
        assert at[2] == "BODY" or at[1] != "none", f"{at} has the focus and does not show it"
        wanted.discard(at[0])
        if not wanted:
            return
    raise AssertionError(f"not reached with Tab: {wanted}")


def rests_while_hidden(page: Browser) -> None:
    hide = "Object.defineProperty(document, 'hidden', { configurable: true, get: () => arguments[0] });"
    hide = hide.replace("arguments[0]", "window.isHidden") + "document.dispatchEvent(new Event('visibilitychange'))"
    page.run(f"window.isHidden = true; {hide}")
    time.sleep(0.7)
    page.requests()
    time.sleep(2)
    sent = page.requests()
    assert not sent, f"asked while nobody looks: {[it['url'] for it in sent]}"
    page.run(f"window.isHidden = false; {hide}")
    page.until(lambda: page.requests(), "the next question")


def comes_back(page: Browser, service: Service) -> None:
    service.listen = service.url.removeprefix("http://")
    service.stop()
    page.says("#banner", "The service does not answer.")
    page.says("#link", "Away")
    page.check_accessibility("a service that is away")
    assert page.text("#sale-title") == "Night drop", "what was known stays"
    service.start()
    page.says("#link", "Live", 30)
    page.until(lambda: not page.shown("#banner"), "the banner to go")
    shows_what_the_api_says(page, service)


def views(page: Browser, service: Service) -> None:
    page.button("Forget key").click()
    give_key(page, service.keys["viewer"])
    page.says("#sale-title", "Night drop")
    shows_what_the_api_says(page, service)
    buttons = {each.text for each in page.shown("button")}
    offered = buttons & {"Pause", "Resume", "Close for good", "Adjust", "New sale", "Audit trail", "Extend all holds"}
    assert not offered, f"a viewer is offered {offered}"
    page.check_accessibility("a viewer's page")
    held = {"customer": "lee", "lines": [{"sku": ITEMS[2], "quantity": 1}]}
    held = service.send("POST", f"/v1/sales/{SALE}/reservations", held, "checkout")
    service.send("POST", f"/v1/reservations/{held['id']}/confirm", {}, "checkout")
    page.find("#find").click()
    page.fill({"Reservation": held["id"]})
    page.button("Find").click()
    page.says("dialog .found", "confirmed")
    assert not [it for it in page.shown("dialog button") if it.text == "Cancel units"], "a viewer may not cancel"
    page.button("Close").click()


def closes(page: Browser, service: Service) -> None:
    page.button("Forget key").click()
    give_key(page, service.keys["operator"])
    page.button("Close for good").click()
    assert not page.button("Close the sale").is_enabled()
    page.fill({f"Type {SALE} to confirm": SALE})
    page.button("Close the sale").click()
    page.says("#sale .head .chip", "closed")
    assert service.get(f"/v1/sales/{SALE}", "viewer")["status"] == "closed"
    offered = lambda: [each.text for each in page.shown("#sale [data-verb]")]  # noqa: E731
    page.until(lambda: offered() == ["Extend all holds"], "only the last holds to be left")


def keeps_to_itself(page: Browser, service: Service, sent: list[dict[str, Any]]) -> None:
    assert len(sent) > 30, "requests are seen"
    for request in sent:
        url = request["url"]
        assert url.startswith(f"{service.url}/") or url.startswith("data:"), f"another origin: {url}"
    stored = page.run("return JSON.stringify([localStorage, document.cookie])")
    for key in service.keys.values():
        assert all(key not in request["url"] for request in sent), "a key in a URL"
        assert key not in stored and key not in service.log.read_text()
    assert (complaints := page.complaints()) == [], complaints


def waits_as_told() -> None:
    """Without keys, and then with a quota that a poll a second is beyond."""
    quota = {"rate_limits.key": '"4/20s"'}
    with Browser() as page, Service() as service:
        page.chrome.get(f"{service.url}/console")
        page.says("#sale", "No sales yet")
        page.says("#caller", "No keys configured: everybody is an operator")
        service.stop()
        with Service(("viewer",), quota) as limited:
            page.chrome.get(f"{limited.url}/console")
            give_key(page, limited.keys["viewer"])
            page.says("#banner", "Too many requests")
            page.until(lambda: re.search("Trying again in [45] s", page.text("#banner")), "the wait that it was told")
            page.requests()
            time.sleep(2.5)
            assert not page.requests(), "it waits as long as it was told"
            limited.stop()


def check() -> None:
    began = time.monotonic()
    with Browser() as page, Service(("operator", "checkout", "viewer")) as service:
        sent: list[dict[str, Any]] = []
        page.show("light", 1280)
        # What the browser asked for before there was a page.
        page.requests()
        asks_for_a_key(page, service)
        creates(page, service)
        drains(page, service)
        operates(page, service)
        edits(page, service)
        extends(page, service)
        cancels(page, service)
        reports(page, service)
        audits(page, service)
        console_rules.check(page, service)
        page.run("location.hash = arguments[0]", f"sale={SALE}")
        page.says("#sale-title", "Night drop")
        looks_well(page)
        is_done_by_keyboard(page)
        sent += page.requests()
        rests_while_hidden(page)
        comes_back(page, service)
        views(page, service)
        closes(page, service)
        explains_the_api(page, service)
        sent += page.requests()
        keeps_to_itself(page, service, sent)
        service.check_stock("viewer")
        service.stop()
    waits_as_told()
    warns()
    resumes_webhooks()
    seconds = time.monotonic() - began
    print(f"the console: {len(sent)} requests, {seconds:.0f} s")


def picture() -> None:
    items = [("tv-55", 900, 49900), ("tv-65", 240, 89900), ("soundbar", 400, 14900), ("headphones", 1500, 7900)]
    items += [("console-bundle", 60, 39900), ("e-reader", 700, 9900)]
    with Browser() as page, Service(("operator", "checkout", "viewer")) as service:
        for sale, name, opens in (
            ("doorbuster-tv", "Television doorbuster", "2024-01-01T00:00:00Z"),
            ("midnight-drop", "Midnight sneaker drop", "2090-01-01T23:00:00Z"),
            ("outlet", "Outlet clearance", "2024-01-01T00:00:00Z"),
        ):
            settings = {"name": name, "opens_at": opens, "closes_at": "2090-01-02T00:00:00Z", "hold_seconds": 45}
            settings["items"] = [
                {"sku": sku, "initial_stock": stock, "price": {"amount": amount, "currency": "EUR"}}
                for sku, stock, amount in items
            ]
            service.send("PUT", f"/v1/sales/{sale}", settings, "operator")
        service.send("POST", "/v1/sales/outlet/pause", {}, "operator")
        page.show("light", 1280)
        page.chrome.get(f"{service.url}/console#sale=doorbuster-tv")
        give_key(page, service.keys["operator"])
        shoppers = Shoppers(service, 0.03)
        for skus in (("tv-55", "console-bundle", "tv-65"), ("headphones", "soundbar", "e-reader", "tv-55")):
            shoppers.start("doorbuster-tv", skus)
        time.sleep(30)
        stock = {"delta": 120, "reason": "second delivery"}
        service.send("POST", "/v1/sales/doorbuster-tv/items/tv-65/adjustments", stock, "operator")
        time.sleep(40)
        PICTURES.mkdir(exist_ok=True)
        for name, theme, width, height in (
            ("light", "light", 1280, 1500),
            ("dark", "dark", 1280, 1500),
            ("phone", "light", 360, 1500),
        ):
            page.show(theme, width, height)
            time.sleep(1.5)
            page.chrome.save_screenshot(str(PICTURES / f"{name}.png"))
        shoppers.stop()
        service.stop()


if __name__ == "__main__":
    picture() if sys.argv[1:] == ["--screenshots"] else check()
