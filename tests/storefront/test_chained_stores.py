"""Two whole stores, one of which resells what the other sells, over HTTP in both dialects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.processes import eventually
from tests.running import UNLIMITED, Running, run

pytestmark = pytest.mark.process

DIALECTS = ("panel", "rest")
# Buys from the first store in both dialects; prints a service of each that can be cancelled and
# refilled, by the first store's ids and by our own.
RESELL = """
import json, os
from catalog.models import Provider, Service
from catalog.sync import sync
sold = {}
for dialect, path in (("panel", "/api/v2"), ("rest", "/api/v1")):
    provider = Provider.objects.create(
        name=dialect, dialect=dialect, base_url=os.environ["UPSTREAM"] + path,
        api_key=os.environ["UPSTREAM_KEY"], currency="USD", markup_percent=50,
    )
    sync(provider)
    service = Service.objects.filter(
        provider=provider, type="Default", refill=True, cancel=True, min_quantity__lte=100,
        max_quantity__gte=1000, category__network="instagram", name="",
        provider_name__icontains="followers",
    ).order_by("pk").first()
    sold[dialect] = service.pk
print(json.dumps(sold))
"""
# Refills are asked about every five minutes.
HURRY = """
from django.db.models.functions import Now
from orders.models import Refill
Refill.objects.filter(next_check_at__isnull=False).update(next_check_at=Now())
"""
SPENT = """
import json
from decimal import Decimal
from django.db.models import Sum
from catalog.models import Provider
from orders.models import Order
print(json.dumps({
    name: [
        [order.external_id, str(order.upstream_charge), str(order.refunded), order.status]
        for order in Order.objects.filter(provider__name=name).order_by("pk")
    ]
    for name in ("panel", "rest")
}))
"""


@pytest.fixture
def second(tmp_path: Path) -> Iterator[Running]:
    """Another store, with data of its own."""
    with run(tmp_path, SANDBOX_SERVICES="20", WORKERS="2", **UNLIMITED) as running:
        yield running


def test_one_store_resells_what_another_sells(store, second):
    sold = json.loads(second.shell(RESELL, UPSTREAM=store.site, UPSTREAM_KEY=store.key))
    listed = {row["service"]: row for row in second.panel(action="services")}
    before = Decimal(second.panel(action="balance")["balance"])

    def order(dialect: str, name: str) -> str:
        placed = second.panel(
            action="add",
            service=str(sold[dialect]),
            link=f"https://www.instagram.com/{name}.{dialect}",
            quantity="1000",
        )
        return str(placed["order"])

    def status(number: str) -> dict[str, str]:
        return second.panel(action="status", order=number)

    def reaches(number: str, *words: str) -> bool:
        return eventually(lambda: status(number)["status"] in words, within=120, every=0.5)

    # --- placed and tracked to each end
    whole = {dialect: order(dialect, "somebody") for dialect in DIALECTS}
    part = {dialect: order(dialect, "partial") for dialect in DIALECTS}
    none = {dialect: order(dialect, "fail") for dialect in DIALECTS}
    slow = {dialect: order(dialect, "slow") for dialect in DIALECTS}

    for dialect in DIALECTS:
        assert reaches(whole[dialect], "Completed")
        assert reaches(part[dialect], "Partial")
        assert reaches(none[dialect], "Failed", "Canceled")
        assert reaches(slow[dialect], "Processing", "In progress")

    # --- cancelled: asked of the other store, which asks its own provider
    for dialect in DIALECTS:
        assert second.panel(action="cancel", orders=slow[dialect]) == [
            {"order": int(slow[dialect]), "cancel": 1}
        ]

    # --- refilled
    refills = {}
    for dialect in DIALECTS:
        asked = second.panel(action="refill", order=whole[dialect])
        assert asked["status"] == "completed"
        refills[dialect] = asked["refill"]

    def are_refilled() -> bool:
        for each in (store, second):
            each.shell(HURRY)
        states = [second.panel(action="refill_status", refill=one) for one in refills.values()]
        return [state["status"] for state in states] == ["completed", "completed"]

    assert eventually(are_refilled, within=120, every=3)
    for dialect in DIALECTS:
        assert reaches(slow[dialect], "Canceled", "Partial")

    # --- and every millionth is where it belongs, in both stores
    for dialect in DIALECTS:
        rate = Decimal(listed[sold[dialect]]["rate"])
        assert Decimal(status(whole[dialect])["charge"]) == rate
        partly = status(part[dialect])
        assert Decimal(partly["charge"]) == rate * (1000 - int(partly["remains"])) / 1000
        assert Decimal(status(none[dialect])["charge"]) == 0
    numbers = [*whole.values(), *part.values(), *none.values(), *slow.values()]
    paid = sum(Decimal(status(number)["charge"]) for number in numbers)
    assert Decimal(second.panel(action="balance")["balance"]) == before - paid
    for orders in json.loads(second.shell(SPENT)).values():
        assert len(orders) == 4
        for external_id, taken, _, word in orders:
            upstream = store.panel(action="status", order=external_id)
            assert Decimal(upstream["charge"]) == Decimal(taken), word
