"""A charge, as an invoice's explanation shows it, as the explanation of a price: what it cost is computed again. Pure.

Nothing is looked up: the price, what was used before the charge, and what was used in it are all in the charge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from penstock.kernel.money import CURRENCIES
from penstock.kernel.problems import BadRequest, Unprocessable

_CODES = {unit.id: code for code, unit in CURRENCIES.items()}


def is_charge(asked: Any) -> bool:
    return isinstance(asked, dict) and "alternatives" in asked


def explanation_of(charge: Mapping[str, Any]) -> dict[str, Any]:
    """What `POST /v1/price` takes, from a charge as `decode_exact` gives it.

    Raise `BadRequest` for what is no charge, `Unprocessable` where its events are not in it.
    """
    try:
        listed = charge["alternatives"][0]
        before, used = _used(charge, listed)
        return {
            "price": _without_unit(listed["price"]),
            "currency": _currency(charge["unit"]),
            "before": before,
            "used": used,
        }
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError) as exc:
        raise BadRequest("this is no charge of an invoice's explanation", field="alternatives") from exc


def _used(charge: Mapping[str, Any], listed: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was used before the charge, and in it."""
    events = listed.get("events")
    if events is not None:
        if len(events["listed"]) < events["count"]:
            why = f"the charge has read {events['count']} events and does not list them: read them from events.source"
            raise Unprocessable(f"{why} by POST /v1/price/events", field="alternatives[0].events.listed")
        shown = [_event(event) for event in events["listed"]]
        return {"events": shown[: events["before"]]}, {"events": shown[events["before"] :]}
    groups = listed.get("groups")
    if groups:
        return {"groups": _groups(groups, "before")}, {"groups": _groups(groups, "quantity")}
    return {"quantity": listed["counter"]}, {"quantity": charge["quantity"]}


def _groups(groups: Sequence[Mapping[str, Any]], what: str) -> list[dict[str, Any]]:
    """A group that was not yet used is none: a price may have a minimum for each."""
    shown = [{"values": dict(group["values"]), "quantity": group[what]} for group in groups]
    return [group for group in shown if group["quantity"] is not None]


def _event(event: Mapping[str, Any]) -> dict[str, Any]:
    shown = {"id": event["id"], "timestamp": event["at"], "quantity": event["quantity"]}
    if "groups" in event:
        shown["values"] = dict(event["groups"])
    return shown | ({"rate": event["rate"]} if event.get("rate") is not None else {})


def _currency(unit: Mapping[str, Any]) -> Any:
    return _CODES.get(unit["id"], {"name": unit["name"], "decimals": unit["decimals"]})


def _without_unit(price: Any) -> Any:
    """The unit of a price, and of those that it holds, is the charge's."""
    if isinstance(price, dict):
        return {key: _without_unit(item) for key, item in price.items() if key != "unit"}
    return [_without_unit(item) for item in price] if isinstance(price, list) else price
