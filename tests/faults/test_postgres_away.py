"""PostgreSQL restarts and dies under load: events go on being taken, definitions wait, balances are exact again."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

import reference
from builders import Body, a_commit_body, a_metric_body, a_rate_body, month_of
from faults.conftest import PARTITIONS, Announce, StartServices
from faults.events import CUSTOMERS, DAY, END
from faults.load import Load, acknowledged, under_load
from faults.shop import Shop
from penstock.app.settings import GATEWAY
from postgres_part import Server
from server import PenstockServer, eventually

CUSTOMER = CUSTOMERS[0]
COMMIT_CENTS = 10_000_000
PRICE_CENTS = 7
BACK_TIMEOUT_S = 60


class Account:
    """A contract of one customer of the shop: its events have a price, and a commit pays for them."""

    def __init__(self, server: PenstockServer, shop: Shop) -> None:
        api, start = server.client.v1, month_of(DAY)[0]
        self._server, self._metric = server, shop.metrics["count"]
        self._customer = shop.customers[CUSTOMER]
        calls = api.contracts.products.create(name="Calls", type="USAGE", billable_metric_id=self._metric).data.id
        prepaid = api.contracts.products.create(name="Prepaid", type="FIXED").data.id
        card = api.contracts.rate_cards.create(name="List").data.id
        rate = a_rate_body(calls, start, price=PRICE_CENTS)
        api.contracts.rate_cards.rates.add(rate_card_id=card, **rate)
        commit = a_commit_body(prepaid, COMMIT_CENTS, start, start + timedelta(days=400), name="Prepaid", priority=1)
        contract: Body = {"starting_at": start, "commits": [commit]}
        api.contracts.create(customer_id=self._customer, rate_card_id=card, **contract)
        self._terms = {"products": {calls: {"billable_metric_id": self._metric}}, "rates": [rate], "contract": contract}

    def balance(self) -> Decimal | None:
        """In cents; None while it cannot be read."""
        answer = self._server.raw.post("/v1/contracts/customerBalances/getNetBalance", {"customer_id": self._customer})
        assert answer.status in (200, 503), answer
        return Decimal(answer.json["data"]["balance"]) if answer.status == 200 else None

    def expected(self, sent: list[Body]) -> Decimal:
        world = reference.World(sent, {CUSTOMER}, {self._metric: a_metric_body("count")}, **self._terms)  # type: ignore[arg-type]  # by their names
        return world.net_balance(datetime.now(UTC))


def define(server: PenstockServer) -> int:
    """The status of the attempt to define one more metric."""
    return server.raw.post("/v1/billable-metrics/create", a_metric_body("one more")).status


def assert_takes_events(load: Load) -> None:
    before = len(load.acknowledged)
    eventually(lambda: len(load.acknowledged) > before, True)


@pytest.mark.faults
def test_a_postgresql_that_restarts_and_dies_stops_no_event_and_bends_no_balance(
    start_services: StartServices,
    kafka_address: str,
    clickhouse_url: str,
    postgres_server: Server,
    announce: Announce,
) -> None:
    chance = announce("PostgreSQL restarts, then dies and stays away, under load; balances and definitions around it")
    services = start_services(kafka_address, clickhouse_url, postgres_server.dsn)
    gateway = services[GATEWAY]
    shop = Shop(gateway, PARTITIONS)
    account = Account(gateway, shop)
    loads = [Load([gateway], random.Random(chance.random()), f"e{n}-") for n in range(2)]
    assert account.balance() == COMMIT_CENTS

    with under_load(loads):
        assert_takes_events(loads[0])
        postgres_server.restart()
        eventually(lambda: define(gateway), 200, BACK_TIMEOUT_S)
        eventually(lambda: (account.balance() or COMMIT_CENTS) < COMMIT_CENTS, True, BACK_TIMEOUT_S)

        postgres_server.kill()
        assert define(gateway) == 503
        assert_takes_events(loads[0])
        postgres_server.restart()
        eventually(lambda: define(gateway), 200, BACK_TIMEOUT_S)

    sent = acknowledged(loads)
    shop.assert_exact(sent, chance)
    eventually(account.balance, account.expected(sent), BACK_TIMEOUT_S)
    late = gateway.client.v1.billable_metrics.create(**a_metric_body("late")).data.id
    counted = sum(event["customer_id"] == CUSTOMER for event in reference.first_of_each_id(sent))
    eventually(lambda: gateway.usage(late, shop.customers[CUSTOMER], DAY, END), {(DAY, ()): counted}, BACK_TIMEOUT_S)
    services.stop()
