"""Commits that draw at a rate of their own: from priced usage through the draw-down to the lines of the invoice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.contracts.balance import Balance, BalanceKind, RateType, Segment
from penstock.contracts.booking import bookings
from penstock.contracts.draw_down import after, draw_down
from penstock.contracts.invoicing import Invoice, LineType, write_invoice
from penstock.kernel.charge import COMMIT, LIST, Charge, ChargeSet
from penstock.kernel.money import is_bookable, round_to_step
from penstock.kernel.quantity import exact
from penstock.kernel.window import Span
from unit.rater.rating import JUNE, LONG_AGO, Used, an_interval, charged, graduated_usd, june, usd

LIST_RATE, COMMIT_RATE = RateType.LIST_RATE, RateType.COMMIT_RATE


def a_balance(id: str, dollars: str, rate_type: RateType = COMMIT_RATE, span: Span = JUNE, **fields: Any) -> Balance:
    segment = Segment(f"{id}-1", span, Decimal(dollars))
    values: dict[str, Any] = {"kind": BalanceKind.PREPAID, "free": False, "contract_id": "contract-1"}
    return Balance(
        id=id, product_id="commit", segments=(segment,), created_at=LONG_AGO, rate_type=rate_type, **(values | fields)
    )


def left_of(balances: Iterable[Balance]) -> dict[str, Decimal]:
    return {segment.id: segment.amount for balance in balances for segment in balance.segments}


def invoiced(charges: tuple[Charge, ...], *balances: Balance) -> Invoice:
    draws = draw_down(charges, balances, left_of(balances))
    return write_invoice(
        ChargeSet("contract-1", JUNE, (3,), charges),
        draws,
        balances,
        customer_id="customer-1",
        contract_revision=1,
        net_payment_terms_days=None,
    )


def lines(invoice: Invoice) -> list[tuple[str, str | None, str]]:
    """Of usage its kind, quantity and total; of what was applied the balance and total."""
    return [
        (line.kind, str(line.quantity), f"{line.total:.2f}")
        if line.type is LineType.USAGE
        else (str(line.balance_id), None, f"{line.total:.2f}")
        for line in invoice.lines
    ]


def used(list_price: Any, commit_price: Any, *events: Used, cuts: Sequence[datetime] = ()) -> tuple[Charge, ...]:
    return charged([an_interval(list_price, commit_price=commit_price)], events, cuts)


def test_a_commit_pays_at_the_commit_rate_while_it_lasts_and_the_rest_is_at_list_price() -> None:
    """Example 91: 1500 units at 0.05, 0.03 for commits; 30 dollars pay 1000 units, 500 cost 25."""
    invoice = invoiced(used(usd("0.05"), usd("0.03"), Used(june(3), "1500")), a_balance("C", "30"))

    assert lines(invoice) == [("commit", "1000", "30.00"), ("list", "500", "25.00"), ("C", None, "-30.00")]
    assert str(invoice.total) == "25.00"


def test_an_invoice_with_commit_rates_is_stored_and_booked_as_it_was_decided() -> None:
    invoice = invoiced(used(usd("0.05"), usd("0.03"), Used(june(3), "1500")), a_balance("C", "30"))

    stored = msgspec.json.decode(msgspec.json.encode(invoice), type=Invoice)

    assert stored == invoice
    assert [(each.kind, [str(e.amount) for e in each.entries]) for each in bookings("tenant-1", stored)] == [
        ("DRAW", ["-30 USD (cents)", "30 USD (cents)"]),
        ("OVERAGE", ["-25 USD (cents)", "25 USD (cents)"]),
    ]


def test_a_list_price_of_zero_with_a_commit_rate_guarantees_that_nothing_is_to_pay() -> None:
    """The other half of example 91."""
    invoice = invoiced(used(usd("0"), usd("0.03"), Used(june(3), "500")), a_balance("C", "3"))

    assert lines(invoice) == [("commit", "100", "3.00"), ("list", "400", "0.00"), ("C", None, "-3.00")]
    assert invoice.total == 0


def test_units_that_cost_nothing_under_a_commit_leave_it_whole() -> None:
    invoice = invoiced(used(usd("0.05"), usd("0"), Used(june(3), "500")), a_balance("C", "3"))

    assert lines(invoice) == [("commit", "500", "0.00")]


def test_a_commit_that_ends_inside_a_unit_is_used_up_to_the_cent() -> None:
    """10 dollars at 0.03 are 333.333333333333 units; the other 666.666666666667 cost 33.33."""
    invoice = invoiced(used(usd("0.05"), usd("0.03"), Used(june(3), "1000")), a_balance("C", "10"))

    assert lines(invoice) == [
        ("commit", "333.333333333333", "10.00"),
        ("list", "666.666666666667", "33.33"),
        ("C", None, "-10.00"),
    ]


def test_who_pays_first_takes_the_first_units_each_at_its_own_rate() -> None:
    """A credit of 10 pays 200 units at 0.05, a commit of 6 the next 200 at 0.03, and 100 are left at 0.05."""
    credit = a_balance("A", "10", LIST_RATE, priority=Decimal(1), kind=BalanceKind.CREDIT)
    commit = a_balance("B", "6", priority=Decimal(2))

    invoice = invoiced(used(usd("0.05"), usd("0.03"), Used(june(3), "500")), credit, commit)

    assert lines(invoice) == [
        ("commit", "200", "6.00"),
        ("list", "300", "15.00"),
        ("A", None, "-10.00"),
        ("B", None, "-6.00"),
    ]
    assert [(d.kind, str(d.units.start), str(d.units.end)) for d in invoice.draws if d.units is not None] == [
        ("list", "0", "200"),
        ("commit", "200", "400"),
    ]
    assert str(invoice.total) == "5.00"


def test_tiers_of_both_rates_lie_over_the_units_of_the_period() -> None:
    """100 at 0.08 and 50 at 0.04 are 10 dollars; the last 50 of 200 lie in the second tier of the list, at 0.05."""
    list_price, commit_price = (
        graduated_usd(("100", "0.10"), (None, "0.05")),
        graduated_usd(("100", "0.08"), (None, "0.04")),
    )

    invoice = invoiced(used(list_price, commit_price, Used(june(3), "200")), a_balance("C", "10"))

    assert lines(invoice) == [
        ("commit", "100", "8.00"),
        ("commit", "50", "2.00"),
        ("list", "50", "2.50"),
        ("C", None, "-10.00"),
    ]
    assert [line.tier.level for line in invoice.lines if line.tier is not None] == [1, 2, 2]


def test_only_usage_while_the_commit_may_be_drawn_is_at_its_rate() -> None:
    events = [Used(june(3), "100"), Used(june(20), "100"), Used(june(28), "100")]
    charges = used(usd("0.05"), usd("0.03"), *events, cuts=[june(15), june(25)])

    invoice = invoiced(charges, a_balance("C", "100", span=Span(june(15), june(25))))

    assert lines(invoice) == [("commit", "100", "3.00"), ("list", "200", "10.00"), ("C", None, "-3.00")]
    assert [(str(d.units.start), str(d.units.end)) for d in invoice.draws if d.units is not None] == [("100", "200")]


def test_a_commit_at_list_rate_and_one_for_other_products_know_no_commit_rate() -> None:
    charges = used(usd("0.05"), usd("0.03"), Used(june(3), "100"))

    at_list = invoiced(charges, a_balance("C", "2", LIST_RATE))
    other = invoiced(charges, a_balance("C", "2", product_ids=("other",)))

    assert lines(at_list) == [("list", "100", "5.00"), ("C", None, "-2.00")]
    assert lines(other) == [("list", "100", "5.00")]


def test_a_commit_at_commit_rate_pays_the_list_price_where_there_is_no_other() -> None:
    invoice = invoiced(charged([an_interval(usd("0.05"))], [Used(june(3), "100")]), a_balance("C", "2"))

    assert lines(invoice) == [("list", "100", "5.00"), ("C", None, "-2.00")]


def test_a_charge_that_gives_back_what_it_took_is_at_list_price() -> None:
    events = [Used(june(3), "100"), Used(june(20), "-40")]
    charges = used(usd("0.05"), usd("0.03"), *events, cuts=[june(15)])

    assert lines(invoiced(charges, a_balance("C", "2"))) == [("list", "60", "3.00"), ("C", None, "-2.00")]


PRICES = st.decimals(0, 3, places=3)
DAYS = [june(1), june(8), june(15), june(22), datetime(2026, 7, 1, tzinfo=UTC)]
WEEKS = [Span(a, b) for a, b in pairwise(DAYS)]


@st.composite
def some_charges(draw: st.DrawFn) -> tuple[Charge, ...]:
    def price() -> Any:
        first, second = draw(PRICES), draw(PRICES)
        return draw(st.sampled_from([usd(str(first)), graduated_usd(("50", str(first)), (None, str(second)))]))

    products = draw(st.integers(1, 3))
    intervals = [
        an_interval(price(), commit_price=draw(st.sampled_from([None, price()])), product_id=f"product-{n}")
        for n in range(products)
    ]
    events = draw(st.lists(st.tuples(st.integers(1, 30), st.decimals(0, 100, places=2)), max_size=8))
    return charged(intervals, [Used(june(day), str(value)) for day, value in events], DAYS[1:-1])


@st.composite
def some_balances(draw: st.DrawFn) -> list[Balance]:
    return [
        a_balance(
            str(n),
            str(draw(st.integers(0, 9_000)) * Decimal("0.01")),
            draw(st.sampled_from(RateType)),
            draw(st.sampled_from([*WEEKS, JUNE])),
            priority=draw(st.none() | st.integers(0, 2).map(Decimal)),
            product_ids=draw(st.sampled_from([(), ("product-0",)])),
        )
        for n in range(draw(st.integers(0, 5)))
    ]


@given(some_charges(), some_balances())
def test_every_unit_is_paid_once_and_every_line_is_rounded_once(
    charges: tuple[Charge, ...], balances: list[Balance]
) -> None:
    invoice = invoiced(charges, *balances)

    assert all(left >= 0 for left in after(left_of(balances), invoice.draws).values())
    assert invoice.total >= 0
    for place, charge in enumerate(charges):
        usage = [line for line in invoice.lines if line.charge == place and line.type is LineType.USAGE]
        assert sum(line.quantity or 0 for line in usage) == charge.quantity
        taken = sorted(d.units for d in invoice.draws if d.line == place and d.units is not None)
        assert all(before.end <= behind.start for before, behind in pairwise(taken))
        assert all(0 <= units.start < units.end <= charge.quantity for units in taken)
        for kind in (LIST, COMMIT):
            mine = [line for line in usage if line.kind == kind]
            total = sum((line.total for line in mine), Decimal(0))
            drawn = sum(d.amount for d in invoice.draws if d.line == place and d.kind == kind)
            assert drawn <= total
            assert kind == LIST or drawn == total
            assert total == at_unit_prices(mine, charge)
            assert is_bookable(total, charge.unit)


@exact
def at_unit_prices(usage: Sequence[Any], charge: Charge) -> Decimal:
    exact_total = sum((line.quantity * line.unit_price for line in usage if line.quantity), Decimal(0))
    return round_to_step(exact_total, charge.unit)


@given(some_charges(), some_balances())
def test_a_commit_rate_that_is_the_list_rate_changes_a_line_by_no_more_than_one_step(
    charges: tuple[Charge, ...], balances: list[Balance]
) -> None:
    same = tuple(
        msgspec.structs.replace(
            charge,
            alternatives=(charge.alternatives[0], msgspec.structs.replace(charge.alternatives[0], kind=COMMIT)),
        )
        for charge in charges
    )
    plain = [msgspec.structs.replace(balance, rate_type=LIST_RATE) for balance in balances]

    difference = invoiced(same, *balances).total - invoiced(charges, *plain).total

    assert abs(difference) <= len(charges) * Decimal("0.01")


@pytest.mark.parametrize("kinds", [(COMMIT_RATE, LIST_RATE), (LIST_RATE, COMMIT_RATE)])
def test_the_order_in_which_balances_are_given_changes_nothing(kinds: tuple[RateType, RateType]) -> None:
    charges = used(usd("0.05"), usd("0.03"), Used(june(3), "500"))
    one, two = a_balance("A", "4", kinds[0]), a_balance("B", "5", kinds[1])

    assert invoiced(charges, one, two) == invoiced(charges, two, one)
