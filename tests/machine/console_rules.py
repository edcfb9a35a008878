"""What the console shows of a sale's rules: phases, pools, warnings, and what reservations say of them."""

from __future__ import annotations

import json
from typing import Any

from browser import Browser

from service import ROOT, Service

SALE = "early-access"
ITEM = "parka-m"


def document() -> dict[str, Any]:
    """The example, running since long ago: its second phase and its set-aside are over."""
    text = (ROOT / "examples" / "sales" / f"{SALE}.json").read_text()
    sale = json.loads(text.replace("2099-11-27T08", "2024-11-27T08").replace("2099-11-27T09", "2024-11-27T09"))
    sale["phases"][1]["closes_at"] = "2025-01-01T00:00:00Z"
    sale["phases"][0] |= {"tiers": ["gold", "silver"], "customer_limit": 200}
    return sale


def check(page: Browser, service: Service) -> None:
    creates_from_a_document(page, service)
    shows_phases(page)
    shows_pools(page, service)
    moves_stock(page, service)
    shows_where_units_came_from(page, service)
    reports_by_group(page, service)
    warns_of_changes(page, service)
    is_told_in_the_trail(page, service)


def creates_from_a_document(page: Browser, service: Service) -> None:
    page.find("#create").click()
    page.button("Document").click()
    page.check_accessibility("a sale as a document")
    wanted = document()
    page.fill({"Document": "{"})
    page.button("Create the sale").click()
    page.says("dialog .wrong", "The document is not JSON")
    page.fill({"Document": json.dumps(wanted | {"hold_seconds": 20})})
    page.button("Create the sale").click()
    page.says("dialog .wrong", "/hold_seconds")
    page.says("dialog .wrong", "short_hold")
    page.check_accessibility("a warning")
    assert not [it for it in service.get("/v1/sales", "viewer")["sales"] if it["id"] == SALE], "a warning comes before"
    page.button("Create the sale anyway")
    # Another document is another question.
    page.fill({"Document": json.dumps(wanted)})
    page.button("Create the sale").click()
    page.says("#sale-title", wanted["name"])
    sale = service.get(f"/v1/sales/{SALE}", "viewer")
    assert [pool["id"] for pool in sale["items"][0]["pools"]] == ["members", "everyone"], sale


def shows_phases(page: Browser) -> None:
    told = page.run("return [...document.querySelectorAll('.phases li')].map((it) => it.innerText)")
    assert len(told) == 4, told
    gold, members, everyone, shared = told
    assert "gold" in gold and "running" in gold and "at most 200 of each item per customer" in gold, gold
    assert "over" in members and "tier gold or silver" in members, members
    assert "later" in everyone and "everybody" in everyone, everyone
    assert f"Pool members of {ITEM}" in shared and "open to everybody from" in shared, shared
    left = page.run("return document.querySelector('.track .now').style.left")
    assert left.endswith("%") and 0 < float(left[:-1]) < 100, left


def pool_rows(page: Browser) -> dict[str, list[str]]:
    rows = page.run(
        "return [...document.querySelectorAll('#sale tr.pool')].map((row) => [row.querySelector('th span').innerText,"
        " [...row.querySelectorAll('td:not(.act)')].map((cell) => cell.innerText)])"
    )
    return dict(rows)


def as_in_the_api(page: Browser, service: Service) -> bool:
    item, shown = service.get(f"/v1/sales/{SALE}", "viewer")["items"][0], pool_rows(page)
    names = ("stock", "available", "held", "confirmed")
    return {id: row[1:5] for id, row in shown.items()} == {
        pool["id"]: [f"{pool[name]:,}" for name in names] for pool in item["pools"]
    }


def shows_pools(page: Browser, service: Service) -> None:
    path = f"/v1/sales/{SALE}/reservations"
    line = {"lines": [{"sku": ITEM, "quantity": 100}]}
    service.send("POST", path, line | {"customer": "ann", "tier": "silver"}, "checkout")
    page.until(lambda: as_in_the_api(page, service), "the pools to be as the API")
    rows = pool_rows(page)
    assert rows["members"][0] == "€249.00" and rows["members"][6] == "empty", rows
    about = page.text("tr.pool .about")
    assert "tier gold or silver; everybody from" in about, about
    page.button("Hide 2 pools").click()
    assert not page.shown("tr.pool")
    page.button("Show 2 pools").click()
    page.until(lambda: len(page.shown("tr.pool")) == 2, "the pools again")
    for theme in ("light", "dark"):
        for width in (360, 1280):
            page.show(theme, width)
            page.until(lambda width=width: page.run("return innerWidth") == width, "the width")
            wide = page.run("return document.documentElement.scrollWidth")
            assert wide <= width, f"pools and phases are {wide} wide at {width}"
            page.check_accessibility(f"pools and phases, {theme} at {width}")
    page.show("light", 1280)


def choose(page: Browser, values: dict[str, str]) -> None:
    for name, value in values.items():
        label = next(it for it in page.shown("dialog[open] label") if it.text == name)
        select = page.find(f"#{label.get_attribute('for')}")
        page.run(
            "arguments[0].value = arguments[1];arguments[0].dispatchEvent(new Event('input', { bubbles: true }))",
            select,
            value,
        )


def moves_stock(page: Browser, service: Service) -> None:
    page.button("Move").click()
    page.check_accessibility("a transfer")
    choose(page, {"From": "everyone", "To": "members"})
    page.fill({"Units": "500"})
    page.says("dialog", "everyone has only 400 available.")
    page.button("Move the units").click()
    page.says("dialog .wrong", "409 insufficient_stock")
    page.fill({"Units": "30", "Reason": "a promise"})
    page.says("dialog", "Available then: everyone 370, members 30.")
    page.button("Move the units").click()
    page.until(lambda: not page.shown("dialog"), "the dialog to close")
    page.button("Adjust").click()
    choose(page, {"Pool": "members"})
    page.says("dialog", "Stock 130, of which 30 are available.")
    page.fill({"Units": "-5"})
    page.button("Adjust the stock").click()
    page.until(lambda: as_in_the_api(page, service), "the pools to be as the API")
    pools = {pool["id"]: pool for pool in service.get(f"/v1/sales/{SALE}", "viewer")["items"][0]["pools"]}
    assert (pools["members"]["stock"], pools["everyone"]["stock"]) == (125, 370), pools


def shows_where_units_came_from(page: Browser, service: Service) -> None:
    asked: dict[str, Any] = {"customer": "eve", "tier": "gold", "channel": "app", "allow_partial": True}
    asked |= {"labels": {"campaign": "<b>winter</b>"}, "lines": [{"sku": ITEM, "quantity": 199}]}
    held = service.send("POST", f"/v1/sales/{SALE}/reservations", asked, "checkout")
    short = asked | {"customer": "fay", "lines": [{"sku": ITEM, "quantity": 200}]}
    service.send("POST", f"/v1/sales/{SALE}/reservations", short, "checkout")
    page.find("#find").click()
    page.fill({"Reservation": held["id"]})
    page.button("Find").click()
    page.says("dialog .found", "25 from members at €249.00, 174 from everyone at €249.00")
    found = page.text("dialog .found")
    assert "gold" in found and "app" in found and "campaign = <b>winter</b>" in found, found
    page.button("By customer").click()
    page.fill({"Customer": "fay", "Sale": SALE})
    page.button("Find").click()
    page.says("dialog .found", f"Short: 196 of 200 × {ITEM}")
    page.check_accessibility("where units came from")
    page.button("Close").click()


def reports_by_group(page: Browser, service: Service) -> None:
    def by(what: str) -> list[list[str]]:
        """The groups as the page should show them."""
        groups = service.get(f"/v1/sales/{SALE}/report?by={what}", "viewer")["groups"]
        counts = [[it["reservations"]["granted"], it["units"]["granted"], it["units"]["confirmed"]] for it in groups]
        names = [it.get("value", f"without a {what}") for it in groups]
        return [[name, *map(str, count)] for name, count in zip(names, counts, strict=True)]

    def shown() -> list[list[str]]:
        rows = page.run(
            "const table = document.querySelector('.report .report .report table');"
            "return table && [...table.querySelectorAll('tbody tr')]"
            ".map((row) => [...row.children].map((it) => it.innerText))"
        )
        return [row[:4] for row in rows or []]

    page.until(lambda: len(by("channel")) == 2, "the store", 30)
    page.button("Report").click()
    page.until(lambda: shown() == by("channel"), "groups by channel")
    assert shown()[0] == ["app", "2", "395", "0"], shown()
    page.button("By pool").click()
    page.until(lambda: shown() == by("pool"), "groups by pool")
    assert {row[0] for row in shown()} == {"members", "everyone"}, shown()
    page.check_accessibility("a report by pool")
    page.button("By location").click()
    page.says("dialog .report", "No reservation has a location.")
    page.button("Close").click()


def warns_of_changes(page: Browser, service: Service) -> None:
    page.button("Edit").click()
    page.fill({"A hold lasts": "30"}, "dialog[open] .fields")
    page.button("Save the changes").click()
    page.says("dialog .wrong", "short_hold")
    assert service.get(f"/v1/sales/{SALE}", "viewer")["hold_seconds"] == 300
    page.button("Save the changes anyway").click()
    page.until(lambda: service.get(f"/v1/sales/{SALE}", "viewer")["hold_seconds"] == 30, "the change")
    page.until(lambda: not page.shown("dialog"), "the dialog to close")
    page.button("Edit").click()
    page.button("Document").click()
    assert not page.button("Save the changes").is_enabled(), "nothing was changed yet"
    text = page.run("return document.querySelector('dialog textarea').value")
    sale = json.loads(text)
    assert "status" not in sale and "stock" not in sale["items"][0]["pools"][0], sale
    sale["hold_seconds"], sale["items"][0]["pools"][0]["location"] = 300, "berlin-1"
    page.fill({"Document": json.dumps(sale)})
    page.button("Save the changes").click()
    page.says("tr.pool .about", "berlin-1")


def is_told_in_the_trail(page: Browser, service: Service) -> None:
    def records() -> list[dict[str, Any]]:
        return service.get(f"/v1/audit?sale={SALE}", "operator")["records"]

    page.until(lambda: [it["action"] for it in records()].count("sale.put") == 3, "the store")
    page.button("Audit trail").click()
    page.fill({"Sale": SALE})
    page.button("Show").click()
    page.says("dialog.page tbody", "30 from everyone to members; reason: a promise")
    page.says("dialog.page tbody", "−5 in members: stock")
    page.says("dialog.page tbody", "pools changed")
    page.button("Close").click()
