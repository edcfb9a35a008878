"""One television, two customers: the first buys it, the second is told that it is sold out."""

import datetime
import os
import uuid

from doorbuster_client import AuthenticatedClient
from doorbuster_client.api.reservations import confirm_reservation, reserve
from doorbuster_client.api.sales import put_sale
from doorbuster_client.models import (
    ConfirmRequest,
    ItemSettings,
    Price,
    Reservation,
    ReserveLine,
    ReserveRequest,
    SaleSettings,
    SoldOutProblem,
)

SALE = f"television-{uuid.uuid4()}"


def main() -> None:
    client = AuthenticatedClient(base_url=os.environ["API_URL"], token=os.environ["API_KEY"])
    open_sale(client)

    bought = buy(client, "ann")
    assert isinstance(bought, Reservation)
    assert bought.state == "confirmed"
    print(f"{bought.customer} has {bought.lines[0].quantity} {bought.lines[0].sku}, for order {bought.reference}")

    refused = buy(client, "bob")
    assert isinstance(refused, SoldOutProblem)
    print(f"bob has none: {refused.lines[0].sku} has {refused.lines[0].available} left")


def open_sale(client: AuthenticatedClient) -> None:
    now = datetime.datetime.now(datetime.UTC)
    settings = SaleSettings(
        name="Television doorbuster",
        opens_at=now - datetime.timedelta(hours=1),
        closes_at=now + datetime.timedelta(hours=1),
        hold_seconds=300,
        items=[ItemSettings(sku="tv-55", initial_stock=1, price=Price(amount=19900, currency="EUR"))],
    )
    put = put_sale.sync(SALE, client=client, body=settings)
    assert isinstance(put, SaleSettings), put


def buy(client: AuthenticatedClient, customer: str) -> Reservation | SoldOutProblem:
    """Holds a television, and confirms it as paid."""
    request = ReserveRequest(customer=customer, lines=[ReserveLine(sku="tv-55", quantity=1)])
    # The key makes it safe to repeat the request when no answer comes.
    held = reserve.sync(SALE, client=client, body=request, idempotency_key=str(uuid.uuid4()))
    match held:
        case Reservation():
            paid = ConfirmRequest(reference=f"order-of-{customer}")
            confirmed = confirm_reservation.sync(held.id, client=client, body=paid)
            assert isinstance(confirmed, Reservation), confirmed
            return confirmed
        case SoldOutProblem():
            return held
        case _:
            raise RuntimeError(f"not reserved: {held}")


if __name__ == "__main__":
    main()
