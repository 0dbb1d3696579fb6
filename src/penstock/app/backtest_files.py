"""A backtest as JSON, with everything, and as CSV, a line for each contract and billing period."""

from __future__ import annotations

import csv
import io

import msgspec

from penstock.app.backtest_result import Result, totals

COLUMNS = (
    "customer_id",
    "customer_name",
    "contract_id",
    "rate_card_id",
    "currency",
    "starting_at",
    "ending_before",
    "old",
    "new",
    "difference",
)


def as_json(result: Result) -> str:
    """Amounts are decimal strings in major units."""
    whole = {"asked": result.asked, "totals": totals(result.rows), "contracts": result.rows}
    return msgspec.json.format(msgspec.json.encode(whole), indent=1).decode() + "\n"


def as_csv(result: Result) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in result.rows:
        names = (row.customer_id, row.customer_name, row.contract_id, row.rate_card_id, row.currency)
        for each in row.periods:
            when = each.starting_at.isoformat(), each.ending_before.isoformat()
            writer.writerow((*names, *when, each.old, each.new, each.difference))
    return text.getvalue()
