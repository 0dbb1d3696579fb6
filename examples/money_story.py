"""The money part of the demo's story: charges, prepaid balances, invoices and the explanation of a line."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from examples.bill import ZERO, Bill, Invoices, group_of
from examples.price_list import (
    COMMIT,
    COMMIT_CENTS,
    CREDIT,
    CREDIT_CENTS,
    NEGOTIATED_GROUP,
    NEGOTIATED_PRODUCT,
    NEGOTIATOR,
    PRODUCTS,
    Prices,
    Shop,
    Tier,
    lines,
)
from examples.terminal import dollars, heading, number, say, table
from examples.truth import adds_up, expect
from examples.vendor_day import CUSTOMERS
from loadtest.server import Server

Balances = Mapping[str, Mapping[str, Any]]
_NUMBERS = ("quantity", "unit_price", "amount")
_GRANTED = {CREDIT: CREDIT_CENTS, COMMIT: COMMIT_CENTS}


def explain(server: Server, invoice: Mapping[str, Any]) -> dict[str, Any]:
    path = f"/v1/customers/{NEGOTIATOR}/invoices/{invoice['id']}/explain"
    explained: dict[str, Any] = server.call("GET", path)["data"]
    return explained


def show_charges(server: Server, shop: Shop, drafts: Invoices, bills: Mapping[str, Bill]) -> None:
    """The negotiator's charges at list prices, and at its own."""
    heading(f"The charges of {CUSTOMERS[NEGOTIATOR]} so far, in USD")
    names, rows, saved = {id: name for name, id in shop.products.items()}, [], ZERO
    listed = _list_prices(server, shop, names)
    expect("list prices", listed, {(n, g): p for n, product in PRODUCTS.items() for g, p in product.prices.items()})
    for charge in explain(server, drafts[NEGOTIATOR])["charges"]:
        product, [[_, group]], [price] = charge["product_name"], charge["group_values"], charge["alternatives"]
        quantity, charged = Decimal(charge["quantity"]), Decimal(price["amount"]).scaleb(2)
        at_list = sum((line.cents for line in lines(quantity, listed[product, group])), ZERO)
        own = _prices(product, _explained_tiers(price["price"])) if "override_id" in price["origin"] else "as listed"
        list_price = _prices(product, listed[product, group])
        rows.append((product, group, list_price, own, number(quantity), dollars(at_list), dollars(charged)))
        saved += at_list - charged
    table(("product", "for", "list price", "negotiated price", "quantity", "at list", "charged"), rows, texts=4)
    say(f"  Negotiated: {NEGOTIATED_PRODUCT.lower()} of {NEGOTIATED_GROUP}; it saves {dollars(saved)}.")
    total = sum((bill.usage for bill in bills.values()), ZERO)
    adds_up(f"{dollars(total)} over all customers, every line as computed here from what was sent")


def _list_prices(server: Server, shop: Shop, names: Mapping[str, str]) -> dict[tuple[str, str], Prices]:
    body = {"rate_card_id": shop.rate_card, "at": shop.start.isoformat()}
    found = {}
    for listed in server.call("POST", "/v1/contract-pricing/rate-cards/getRates", body)["data"]:
        tiers = listed["rate"]["tiers"] or [{"price": listed["rate"]["price"], "size": None}]
        prices = tuple(Tier(tier["size"], Decimal(tier["price"])) for tier in tiers)
        found[names[listed["product_id"]], group_of(listed)] = prices
    return found


def _explained_tiers(price: Mapping[str, Any]) -> Prices:
    """Of an explanation, whose prices are in major units."""
    tiers = price.get("tiers") or [{"up_to": None, "unit_price": price["unit_price"]}]
    return tuple(Tier(tier["up_to"], Decimal(tier["unit_price"]).scaleb(2)) for tier in tiers)


def _prices(product: str, tiers: Prices) -> str:
    first, *others = (_unit_price(product, tier.cents) for tier in tiers)
    over = "".join(f", {price} over {number(tiers[0].size or 0)}" for price in others)
    return first + over


def _unit_price(product: str, cents: Decimal) -> str:
    """In dollars for as many units as the product shows; at least two digits after the point."""
    price = (cents * PRODUCTS[product].shown_per).scaleb(-2)
    digits = max(2, -int(price.normalize().as_tuple().exponent))
    return f"{price:.{digits}f}{PRODUCTS[product].shown_unit}"


def show_prepaid(before: Balances, after: Balances, bill: Bill) -> None:
    heading(f"What {CUSTOMERS[NEGOTIATOR]} has prepaid or been given, in USD")
    rows = []
    for name, balance in sorted(before.items(), key=lambda item: Decimal(item[1]["priority"])):
        was, left = Decimal(balance["balance"]), Decimal(after[name]["balance"])
        expect(f"{name} before", was, Decimal(_GRANTED[name]))
        expect(f"{name} after", left, was - bill.paid[name])
        rows.append((str(balance["priority"]), name, dollars(was), dollars(left - was), dollars(left)))
    table(("priority", "balance", "before", "drawn", "after"), rows, texts=2)
    adds_up(f"the credit is emptied first, then the commit; both pay for {NEGOTIATED_PRODUCT.lower()} only")


def show_invoice(title: str, invoice: Mapping[str, Any]) -> None:
    """The negotiator's invoice, line by line."""
    start, end = (invoice[f"{edge}_timestamp"][:10] for edge in ("start", "end"))
    heading(f"{title}: {CUSTOMERS[NEGOTIATOR]}, {start} to {end}, {invoice['status']}, in USD")
    rows: list[tuple[str, ...]] = []
    for item in invoice["line_items"]:
        group, total = group_of(item), dollars(Decimal(item["total"]))
        if item["type"] == "usage":
            price = _unit_price(item["name"], Decimal(item["unit_price"]))
            tier = "" if item["tier"] is None else f"tier {item['tier']['level']}"
            rows.append((item["name"], group, tier, number(Decimal(item["quantity"])), price, total))
        else:
            rows.append((item["name"], group, "", "", "", total))
    rows += [(), ("Total due", "", "", "", "", dollars(Decimal(invoice["total"])))]
    table(("line", "for", "", "quantity", "unit price", "total"), rows, texts=3)


def show_all(invoices: Invoices, bills: Mapping[str, Bill]) -> None:
    """One row per customer."""
    rows: list[tuple[str, ...]] = [
        (CUSTOMERS[customer], invoice["status"], dollars(bill.usage), dollars(bill.due - bill.usage), dollars(bill.due))
        for customer, invoice in invoices.items()
        for bill in [bills[customer]]
    ]
    usage, due = (sum((getattr(bill, part) for bill in bills.values()), ZERO) for part in ("usage", "due"))
    rows += [(), ("Total", "", dollars(usage), dollars(due - usage), dollars(due))]
    say()
    table(("customer", "invoice", "usage", "prepaid", "due"), rows, texts=2)


def show_explanation(server: Server, shop: Shop, invoice: Mapping[str, Any], balance_names: Mapping[str, str]) -> None:
    """The negotiated charge: its price's origin, its tiers, its quantity as the cells have it, and who paid it."""
    heading(f"One charge of it explained: {NEGOTIATED_PRODUCT} of {NEGOTIATED_GROUP}")
    explained = explain(server, invoice)
    [place] = [n for n, c in enumerate(explained["charges"]) if c["group_values"] == [["model", NEGOTIATED_GROUP]]]
    charge = explained["charges"][place]
    [price] = charge["alternatives"]
    quantity, amount, exact = (Decimal(text) for text in (charge["quantity"], price["amount"], price["exact"]))
    cells = _cells_total(server, shop, invoice)
    expect("the quantity of the charge", quantity, cells)
    expect("its override", price["origin"].get("override_id"), shop.override)
    tiers = [part | {name: Decimal(part[name]) for name in _NUMBERS} for part in price["parts"]]
    expect("the quantity of its tiers", sum((tier["quantity"] for tier in tiers), ZERO), quantity)
    expect("the amount of its tiers", sum((tier["amount"] for tier in tiers), ZERO), amount)
    say(f"  quantity  {number(quantity)}, the total of the metric's cells in the period, as /v1/usage/groups answers")
    say(f"  price     by override {shop.override},")
    say(f"            in place of rate {price['origin']['rate_id']} of the card")
    for t in tiers:
        say(f"  tier {t['level']}    {number(t['quantity'])} x {t['unit_price']:f} = {dollars(t['amount'] * 100)}")
    say(f"  amount    {exact.normalize():f}, rounded once to {amount:.2f}")
    paid = dict.fromkeys(_GRANTED, ZERO)
    for draw in explained["draws"]:
        if draw["line"] == place:
            paid[balance_names[draw["balance_id"]]] += Decimal(draw["amount"])
    say("  paid by   " + ", ".join(f"{name} {dollars(value * 100)}" for name, value in paid.items() if value))
    expect("what was paid of it", sum(paid.values()), amount)
    say(f"  as of     offset {', '.join(map(str, explained['vector']))} of the event log")
    adds_up("cells = tiers = charge, and what was paid of it")


def _cells_total(server: Server, shop: Shop, invoice: Mapping[str, Any]) -> Decimal:
    body = {
        "billable_metric_id": shop.metrics[NEGOTIATED_PRODUCT],
        "customer_id": NEGOTIATOR,
        "window_size": "NONE",
        "starting_on": invoice["start_timestamp"],
        "ending_before": invoice["end_timestamp"],
        "group_key": ["model"],
        "group_filters": {"model": [NEGOTIATED_GROUP]},
    }
    [row] = server.call("POST", "/v1/usage/groups", body)["data"]
    return Decimal(row["value"])


def show_ledger(server: Server, names: Mapping[str, str], bill: Bill) -> None:
    """The double-entry proof of every balance."""
    heading(f"The ledger of {CUSTOMERS[NEGOTIATOR]}, in USD")
    ledger = server.call("GET", f"/v1/customers/{NEGOTIATOR}/ledger")["data"]
    rows = []
    for proof in ledger["proofs"]:
        name = names[proof["balance_id"]]
        granted, drawn, expired, left = (Decimal(proof[p]) for p in ("granted", "drawn", "expired", "remaining"))
        expect(f"what was drawn of {name} in the ledger", drawn, bill.paid[name])
        expect(f"what was granted of {name} in the ledger", granted, drawn + expired + left)
        rows.append((name, *map(dollars, (granted, drawn, expired, left))))
    table(("balance", "granted", "drawn", "expired", "remaining"), rows, texts=1)
    for transaction in ledger["transactions"]:
        total = sum((Decimal(entry["amount"]) for entry in transaction["entries"]), ZERO)
        expect(f"the sum of ledger transaction {transaction['id']}", total, ZERO)
    adds_up(f"granted = drawn + expired + remaining, and {len(ledger['transactions'])} transactions sum to zero each")
