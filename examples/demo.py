"""`make demo`: a small LLM vendor's day from event to invoice, in one process, every figure held against the truth."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from decimal import Decimal
from http.client import HTTPException
from pathlib import Path
from typing import Any

from examples.bill import Bill, await_final, balances, check_invoices, first_invoices
from examples.money_story import show_all, show_charges, show_explanation, show_invoice, show_ledger, show_prepaid
from examples.price_list import NEGOTIATOR, Shop, open_shop
from examples.terminal import Progress, heading, number, say, table
from examples.truth import DoesNotAddUp, adds_up, expect
from examples.vendor_day import CONFLICTS, CUSTOMERS, LATE, LATE_BY, MEASURES, REPEATS, Event, VendorDay, yesterday
from loadtest.server import Server

REQUESTS_AT_ONCE = 4
VISIBLE_WITHIN_S = 60
VERDICTS = ("accepted", "duplicate", "conflict", "rejected")
# A tick gives an idle log its clock, for which a final invoice waits.
OPTIONS = ("--test-clock", "--tick-interval-ms", "500", "--finalize-interval-ms", "500", "--log-level", "ERROR")
# On any date the contracts start before the late events, and the first month has weeks to go.
SIGNED_BEFORE = timedelta(days=7)


class Sent:
    """What the gateway answered, over all requests."""

    def __init__(self) -> None:
        self.verdicts: Counter[str] = Counter()
        self.offsets: dict[int, int] = {}
        self.conflict: dict[str, Any] = {}

    def add(self, answer: dict[str, Any]) -> None:
        self.verdicts.update({verdict: answer[verdict] for verdict in VERDICTS})
        for receipt in answer["receipts"]:
            self.offsets[receipt["partition"]] = max(receipt["offset"], self.offsets.get(receipt["partition"], -1))
        self.conflict = next((event for event in answer["events"] if event["verdict"] == "conflict"), self.conflict)


def main(arguments: Sequence[str] | None = None) -> int:
    argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__).parse_args(arguments)
    began = time.monotonic()
    try:
        play()
    except DoesNotAddUp as found:
        say(f"\nDOES NOT ADD UP: {found}")
        return 1
    except (OSError, HTTPException, RuntimeError) as failure:
        say(f"\nThe demo failed: {failure}")
        return 1
    except KeyboardInterrupt:
        say("\nStopped.")
        return 130
    say()
    say(f"Everything adds up, in {time.monotonic() - began:.0f} s. The demo's server is stopped and its data deleted.")
    say()
    say("To leave a server running:  make up      (or: .venv/bin/penstock up; --help lists its options)")
    say("It prints an API key once. With that as $KEY, the first thing to ask it:")
    say()
    say("""  curl -s http://127.0.0.1:8600/v1/customers -H "Authorization: Bearer $KEY" \\""")
    say("""    -d '{"name": "Acme Robotics", "ingest_aliases": ["acme"]}'""")
    return 0


def play() -> None:
    """The day, from an empty folder to final invoices."""
    day = VendorDay(yesterday())
    bills = {customer: Bill.of(day, customer) for customer in CUSTOMERS}
    say(f"A day of a small LLM vendor: {day.date:%A, %d %B %Y}, {len(CUSTOMERS)} customers.")
    say("Starting Penstock in one process on an empty folder ...")
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder) / "data", *OPTIONS) as server:
        shop = open_shop(server, day.date - SIGNED_BEFORE)
        say(f"  ready: {len(shop.metrics)} metrics, {len(shop.products)} products, a rate card, {len(bills)} contracts")
        before = balances(server)
        names = {balance["id"]: name for name, balance in before.items()}
        sent = send(server, day)
        show_events(server, day, sent)
        show_usage(server, day, shop)
        drafts = first_invoices(server, "DRAFT")
        check_invoices(drafts, bills, names)
        show_charges(server, shop, drafts, bills)
        show_prepaid(before, balances(server), bills[NEGOTIATOR])
        show_invoice("The draft invoice", drafts[NEGOTIATOR])
        final = finalize(server, drafts[NEGOTIATOR])
        check_invoices(final, bills, names)
        expect("the final lines", final[NEGOTIATOR]["line_items"], drafts[NEGOTIATOR]["line_items"])
        show_invoice("The final invoice", final[NEGOTIATOR])
        show_all(final, bills)
        adds_up("drafts = final invoices = what the events cost by the price list, for every customer and line")
        show_explanation(server, shop, final[NEGOTIATOR], names)
        show_ledger(server, names, bills[NEGOTIATOR])


def send(server: Server, day: VendorDay) -> Sent:
    """Every batch, several requests at once; return when all that was accepted is folded."""

    def post(batch: list[Event]) -> dict[str, Any]:
        answer: dict[str, Any] = server.call("POST", "/v1/ingest", [event.body() for event in batch])
        return answer

    sent, progress, began = Sent(), Progress("sent", day.sent), time.monotonic()
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        for wave in day.waves:
            for batch, answer in zip(wave, pool.map(post, wave), strict=True):
                sent.add(answer)
                progress.add(len(batch))
    acknowledged = time.monotonic()
    while any(sent.offsets.get(p["partition"], -1) > p["folded"] for p in server.call("GET", "/v1/pipeline")["data"]):
        if time.monotonic() - acknowledged > VISIBLE_WITHIN_S:
            raise DoesNotAddUp(f"what was acknowledged {VISIBLE_WITHIN_S} s ago is not visible in usage")
        time.sleep(0.02)
    took_s, visible_s = acknowledged - began, time.monotonic() - acknowledged
    say(f"  all acknowledged, on disk, after {took_s:.1f} s; all visible in usage {visible_s:.1f} s later")
    return sent


def show_events(server: Server, day: VendorDay, sent: Sent) -> None:
    heading("Events")
    counted = len(day.counted)
    true = {"accepted": counted, "duplicate": REPEATS, "conflict": CONFLICTS, "rejected": 0}
    expect("verdicts", dict(sent.verdicts), true)
    fates: Counter[str] = Counter()
    for row in server.call("GET", "/v1/usage/conservation")["data"]:
        fates.update({fate: count for fate, count in row.items() if fate != "hour" and count})
    expect("events behind the log", dict(fates), {"counted": counted})
    rows = [
        ("sent", number(day.sent), f"in {sum(map(len, day.waves))} requests, {REQUESTS_AT_ONCE} at a time"),
        ("counted", number(counted), "each exactly once"),
        ("duplicates dropped", number(REPEATS), "sent again, word for word"),
        ("conflicts surfaced", number(CONFLICTS), "a known id with another body: the first stays, the sender is told"),
    ]
    for name, figure, remark in rows:
        say(f"  {name:<18}  {figure:>6}  {remark}")
    say(f"  e.g. {sent.conflict['transaction_id']}: {sent.conflict['reason']}")
    adds_up(f"{number(day.sent)} = {number(counted)} + {number(REPEATS)} + {CONFLICTS}")


def show_usage(server: Server, day: VendorDay, shop: Shop) -> None:
    """By day, model and region, over all customers; each customer is checked by itself, and each hour."""
    heading("Usage by day, model and region")
    found: dict[str, dict[Any, Decimal]] = {}
    for measure in MEASURES:
        found[measure] = _usage(server, day, shop, measure, "DAY", ["model", "region"])
        true = day.tally(measure, lambda e: (e.customer, _midnight(e.at), (e.model, e.region)))
        expect(f"{measure} by day", found[measure], true)
    totals = {m: day.tally(m, lambda e: (f"{e.at:%Y-%m-%d}", e.model, e.region)) for m in MEASURES}
    rows: list[tuple[str, ...]] = [
        (*key, *(number(totals[measure][key]) for measure in MEASURES)) for key in sorted(totals["Requests"])
    ]
    sums = [number(sum(by_group.values(), Decimal(0))) for by_group in found.values()]
    table(("day", "model", "region", *MEASURES), [*rows, (), ("Total", "", "", *sums)], texts=3)
    hours = _usage(server, day, shop, "Requests", "HOUR", [])
    expect("requests by hour", hours, day.tally("Requests", lambda e: (e.customer, _hour(e.at), ())))
    say(f"  The {LATE} events that came {LATE_BY.days} days late are on their own day, {day.date - LATE_BY:%Y-%m-%d}.")
    adds_up(f"every figure of every customer by day, model and region, and {len(hours)} customer-hours of requests")


def _usage(
    server: Server, day: VendorDay, shop: Shop, measure: str, window: str, by: list[str]
) -> dict[tuple[str, datetime, tuple[str, ...]], Decimal]:
    """By customer, start of the window and group."""
    found = {}
    for customer in CUSTOMERS:
        body = {
            "billable_metric_id": shop.metrics[measure],
            "customer_id": customer,
            "window_size": window,
            "starting_on": (day.date - LATE_BY).isoformat(),
            "ending_before": (day.date + timedelta(days=1)).isoformat(),
            "group_key": by,
        }
        for row in server.call("POST", "/v1/usage/groups", body)["data"]:
            start, group = datetime.fromisoformat(row["starting_on"]), tuple(row["group"][key] for key in by)
            found[customer, start, group] = Decimal(row["value"])
    return found


def _midnight(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def finalize(server: Server, draft: dict[str, Any]) -> Any:
    """Let the period and the grace pass, on the clock that contracts see."""
    heading("The month passes")
    to = datetime.fromisoformat(draft["issued_at"]) + timedelta(seconds=1)
    say(f"  The test clock moves to {to:%Y-%m-%d %H:%M:%S} UTC: past the end of the period and 24 hours of grace.")
    server.call("POST", "/v1/test-clock/advance", {"to": to.isoformat()})
    final = await_final(server)
    say(f"  {len(final)} invoices are final.")
    return final


if __name__ == "__main__":
    sys.exit(main())
