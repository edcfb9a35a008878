"""Makes a data directory as a release leaves it: a sale, reservations in each state, what operators do, a clean stop.

    python3 tests/golden/make_data.py RELEASED_BINARY tests/golden/data-N

N is the store's format. To be run with each release that wrote another format or another directory than the one before.
"""

import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.request

API, OPS = "127.0.0.1:18080", "127.0.0.1:18081"


def call(method: str, path: str, body: object = None) -> dict:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"http://{API}{path}", method=method, data=data, headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def reserve(customer: str, lines: dict[str, int], **more: object) -> str:
    asked = [{"sku": sku, "quantity": quantity} for sku, quantity in lines.items()]
    return call("POST", "/v1/sales/drop/reservations", {"customer": customer, "lines": asked, **more})["id"]


def act(reservation: str, what: str, body: dict) -> None:
    call("POST", f"/v1/reservations/{reservation}/{what}", body)


def live() -> dict:
    items = [
        {"sku": "tv", "initial_stock": 10, "price": {"amount": 19900, "currency": "EUR"}},
        {"sku": "mat", "initial_stock": 50},
    ]
    window = {"opens_at": "2026-01-01T00:00:00Z", "closes_at": "2126-01-01T00:00:00Z"}
    call(
        "PUT",
        "/v1/sales/drop",
        {"name": "The drop", **window, "hold_seconds": 86400, "customer_limit": 5, "items": items},
    )
    held = reserve("ann", {"tv": 1, "mat": 2}, reference="cart-1")
    confirmed = reserve("bob", {"tv": 3})
    act(confirmed, "confirm", {"reference": "order-7"})
    released = reserve("cem", {"mat": 4})
    act(released, "release", {"reason": "too late"})
    expired = reserve("dee", {"mat": 1}, hold_seconds=1)
    act(held, "extend", {"hold_seconds": 86400})
    call("POST", "/v1/sales/drop/items/mat/adjustments", {"delta": 5, "reason": "found", "reference": "count-1"})
    call("POST", "/v1/sales/drop/pause")
    call("POST", "/v1/sales/drop/resume")
    time.sleep(2)
    reservations = [call("GET", f"/v1/reservations/{each}") for each in (held, confirmed, released, expired)]
    return {"sale": call("GET", "/v1/sales/drop"), "reservations": reservations}


def main() -> None:
    binary, to = sys.argv[1], pathlib.Path(sys.argv[2])
    settings = {"DOORBUSTER_JOURNAL__SEGMENT_BYTES": "1048576", "DOORBUSTER_STORE__LINGER_MS": "10"}
    arguments = [binary, "serve", "--data", str(to), "--listen", API, "--ops-listen", OPS]
    service = subprocess.Popen(arguments, env={**os.environ, **settings}, stdout=subprocess.PIPE)
    service.stdout.readline()  # it listens
    told = live()
    service.terminate()
    assert service.wait(30) == 0
    (to / "lock").unlink()
    (to / "told.json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
