"""The usage routes on a world in memory: pages that stay whole while cells change, and errors that name the field."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from builders import TENANT, Body, a_sum_body, an_event, rfc3339, to_json
from penstock.aggregator.usage_api import UsageApi
from penstock.kernel.clock import SystemClock
from penstock.kernel.problems import BadRequest, NotFound, Problem
from penstock.kernel.usage import Usage, UsageQuery
from penstock.web.route import Principal, Request, Scope
from unit.aggregator.test_usage import DAY, World

HOLDERS = {"acme": "c1", "acme-alias": "c1", "other": "c2", "c1": "c1", "c2": "c2", "c3": "c3"}


class Holders:
    """Customers by key, as the contracts service would tell."""

    def keys_of(self, tenant: str, customer_id: str) -> tuple[str, ...]:
        return tuple(key for key, holder in HOLDERS.items() if holder == customer_id)

    def customer_of(self, tenant: str, key: str) -> str | None:
        return HOLDERS.get(key)

    def name_of(self, tenant: str, customer_id: str) -> str:
        return customer_id


class Shop(World):
    """A world with the usage routes; a metric by model and region."""

    def __init__(self) -> None:
        super().__init__()
        self.api = UsageApi(self.metrics, self.service, self.store, Holders(), SystemClock())
        self.metric = self.define(a_sum_body("units", group_keys=[["model", "region"]]))
        self.sent = 0

    def use(self, units: int, model: str | None, hour: int = 0, customer: str = "acme", region: str = "eu") -> None:
        properties = {"units": units, "model": model, "region": region}
        at = DAY + timedelta(hours=hour)
        self.send([an_event(f"e{self.sent}", customer_id=customer, at=at, properties=properties)])
        self.sent += 1
        self.fold()

    def ask(self, path: str, query: dict[str, str] | None = None, **fields: Any) -> Body:
        [route] = [route for route in self.api.routes() if route.path == path]
        body = {"starting_on": rfc3339(DAY), "ending_before": rfc3339(DAY + timedelta(hours=3)), **fields}
        who = Principal(TENANT, "key", frozenset({Scope.READ}))
        answer: Body = route.answer(Request(who, {}, query or {}, to_json(body)))
        return answer

    def groups(self, query: dict[str, str] | None = None, **fields: Any) -> Body:
        who = {} if "customer_ids" in fields else {"customer_id": "c1"}
        return self.ask("/v1/usage/groups", query, billable_metric_id=self.metric, **who, **fields)


def a_shop() -> Shop:
    shop = Shop()
    shop.use(1, "a")
    shop.use(2, "c", customer="acme-alias")
    shop.use(4, None, hour=1)
    shop.use(8, "b", hour=1, region="us")
    shop.use(16, "a", hour=2, customer="other")
    return shop


def shown(answer: Body) -> list[tuple[Any, ...]]:
    return [
        ((row["starting_on"] - DAY) // timedelta(hours=1), row["group"].get("model"), row["value"])
        for row in answer["data"]
    ]


def test_groups_are_paged_by_key_and_stay_whole_while_cells_change() -> None:
    shop = a_shop()
    asked = {"group_key": ["model"], "window_size": "HOUR"}
    first = shop.groups({"limit": "2"}, **asked)
    shop.use(32, "a")  # changes a row that was shown, and no other
    shop.use(64, "b")  # before the cursor: a page that counted rows would show `c` again
    shop.use(128, "d")  # behind it

    second = shop.groups({"limit": "2", "next_page": first["next_page"]}, **asked)
    third = shop.groups({"limit": "2", "next_page": second["next_page"]}, **asked)

    assert shown(first) == [(0, "a", 1), (0, "c", 2)]
    assert shown(second) == [(0, "d", 128), (1, None, 4)]
    assert shown(third) == [(1, "b", 8)]
    assert third["next_page"] is None


def test_a_cursor_outlives_the_rows_it_points_between() -> None:
    shop = a_shop()
    first = shop.groups({"limit": "4"}, group_key=["model"], window_size="HOUR")
    assert first["next_page"] is None

    page = shop.groups({"limit": "3"}, group_key=["model"], window_size="HOUR")
    later = {"next_page": page["next_page"]}
    assert shown(shop.groups(later, group_key=["model"], window_size="HOUR")) == [(1, "b", 8)]
    assert shown(shop.groups(later, group_key=["model"], window_size="HOUR", group_filters={"model": ["c"]})) == []


def figures(answer: Body) -> list[tuple[Any, ...]]:
    return [(row["customer_id"], row["start_timestamp"].hour, row["value"]) for row in answer["data"]]


def test_figures_are_paged_by_customer_and_window_while_customers_come() -> None:
    shop = a_shop()
    page = shop.ask("/v1/usage", {"limit": "4"}, window_size="HOUR")
    shop.use(32, "a", customer="c3")

    rest = shop.ask("/v1/usage", {"next_page": page["next_page"]}, window_size="HOUR")

    assert figures(page) == [("c1", 0, 3), ("c1", 1, 12), ("c1", 2, 0), ("c2", 0, 0)]
    assert figures(rest) == [("c2", 1, 0), ("c2", 2, 16), ("c3", 0, 32), ("c3", 1, 0), ("c3", 2, 0)]
    assert rest["next_page"] is None


def test_a_page_is_one_cut_however_many_metrics_and_customers_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    shop = a_shop()
    second = shop.define(a_sum_body("units"))
    shop.fold()
    asked: list[tuple[UsageQuery, ...]] = []
    ask = shop.service.usage

    def counted(*queries: UsageQuery) -> tuple[Usage, ...]:
        asked.append(queries)
        return ask(*queries)

    monkeypatch.setattr(shop.service, "usage", counted)

    answer = shop.ask("/v1/usage", window_size="NONE")

    assert [len(queries) for queries in asked] == [2]
    assert [(row["billable_metric_id"], row["customer_id"], row["value"]) for row in answer["data"]] == [
        (shop.metric, "c1", 15), (shop.metric, "c2", 16), (second, "c1", 15), (second, "c2", 16),
    ]  # fmt: skip


def test_values_that_were_named_and_not_used_are_null() -> None:
    shop = a_shop()
    wanted = [{"id": shop.metric, "group_by": {"key": "model", "values": ["a", "z"]}}]

    [row] = shop.ask("/v1/usage", customer_ids=["acme"], billable_metrics=wanted)["data"]

    assert row["groups"] == {"a": 1, "z": None}


def test_the_greatest_come_in_order_of_rank_with_the_rest_behind_them() -> None:
    shop = a_shop()

    answer = shop.groups(customer_ids=["c1", "other"], group_key=["model"], top=2, other=True)

    rows = [(row["customer_id"], row["group"], row["value"], row["is_other"]) for row in answer["data"]]
    assert rows == [("c2", {"model": "a"}, 16, False), ("c1", {"model": "b"}, 8, False), (None, {}, 7, True)]
    merged = shop.groups(customer_ids=["c1", "other"], by_customer=False, group_key=["model"], top=1)
    assert [(row["group"], row["value"]) for row in merged["data"]] == [({"model": "a"}, 17)]


def test_filters_may_name_keys_that_are_not_grouped_by() -> None:
    shop = a_shop()

    inside = shop.groups(group_key=["model"], group_filters={"region": ["eu"]})
    outside = shop.groups(group_filters_not_in={"region": ["eu"], "model": [None]})

    assert [row["value"] for row in inside["data"]] == [4, 1, 2]
    assert [row["value"] for row in outside["data"]] == [8]


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("time_zone", {"time_zone": "Mars/Olympus"}),
        ("window_size", {"window_size": "FORTNIGHT"}),
        ("group_key", {"group_key": ["model", "model"]}),
        ("group_key", {"group_key": ["color"]}),
        ("group_filters", {"group_filters": {"color": ["red"]}}),
        ("group_filters_not_in", {"group_filters_not_in": {"color": ["red"]}}),
        ("group_by", {"group_key": ["model"], "group_by": {"key": "model"}}),
        ("group_filters", {"group_filters": {"model": [str(n) for n in range(201)]}}),
        ("group_filters_not_in", {"group_filters_not_in": {"model": [str(n) for n in range(201)]}}),
        ("top", {"top": 0, "group_key": ["model"]}),
        ("top", {"top": 1}),
        ("top", {"top": 1_000, "group_key": ["model"], "window_size": "QUARTER"}),
        ("other", {"other": True, "group_key": ["model"]}),
        ("customer_ids", {"customer_ids": []}),
        ("customer_id", {"customer_ids": ["c1"], "customer_id": "c1"}),
        ("customer_ids", {"customer_ids": ["c1", "nobody"]}),
        ("ending_before", {"ending_before": rfc3339(DAY)}),
    ],
)
def test_an_error_names_the_field(field: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(Problem) as refused:
        a_shop().groups(**wrong)

    assert isinstance(refused.value, BadRequest | NotFound)
    assert refused.value.field == field


@pytest.mark.parametrize("cursor", ["x", "bm90IGpzb24", "WzEsMl0", "é", "W10"])
@pytest.mark.parametrize("path", ["/v1/usage", "/v1/usage/groups"])
def test_a_made_up_cursor_is_refused(path: str, cursor: str) -> None:
    shop = a_shop()
    named = {"billable_metric_id": shop.metric, "customer_id": "c1"} if path.endswith("groups") else {}

    with pytest.raises(BadRequest) as refused:
        shop.ask(path, {"next_page": cursor}, **named)

    assert refused.value.field == "next_page"
