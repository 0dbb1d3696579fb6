"""The draw-down: in which order balances pay, what they may pay, and that no cent appears or is lost."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.contracts.balance import Balance, BalanceKind, Segment
from penstock.contracts.draw_down import Draw, after, draw_down
from penstock.kernel.charge import Charge
from penstock.kernel.money import Unit, is_bookable
from penstock.kernel.window import Span
from unit.contracts.contract_world import a_charge, day

JANUARY = Span(day(1), day(1, 2))
YEAR = Span(day(1), day(31, 12))
CENT = Decimal("0.01")


def a_balance(
    id: str,
    dollars: str,
    *,
    priority: int | None = None,
    kind: BalanceKind = BalanceKind.PREPAID,
    span: Span = YEAR,
    created_at: datetime = JANUARY.start,
    contract_id: str | None = "contract-1",
    product_ids: tuple[str, ...] = (),
    product_tags: tuple[str, ...] = (),
) -> Balance:
    return Balance(
        id=id,
        kind=kind,
        product_id="api",
        segments=(Segment(f"{id}-1", span, Decimal(dollars)),),
        created_at=created_at,
        free=kind is BalanceKind.CREDIT,
        contract_id=contract_id,
        priority=None if priority is None else Decimal(priority),
        product_ids=product_ids,
        product_tags=product_tags,
    )


def spent(dollars: str, product: str = "api", tags: tuple[str, ...] = ()) -> Charge:
    """A charge of January for `dollars`."""
    return a_charge(product, [(JANUARY, Decimal(dollars))], Decimal(1), tags=tags)


def granted(*balances: Balance) -> dict[str, Decimal]:
    return {segment.id: segment.amount for balance in balances for segment in balance.segments}


def paid(charges: list[Charge], *balances: Balance) -> list[tuple[str, Decimal]]:
    """What each balance pays, in order."""
    sums: defaultdict[str, Decimal] = defaultdict(Decimal)
    for draw in draw_down(charges, balances, granted(*balances)):
        sums[draw.balance_id] += draw.amount
    return list(sums.items())


def overage(charges: list[Charge], draws: list[Draw]) -> Decimal:
    """What no balance paid."""
    return sum((c.list_amount for c in charges), Decimal(0)) - sum((d.amount for d in draws), Decimal(0))


def test_the_lower_priority_pays_first_and_the_next_pays_the_rest() -> None:
    credit = a_balance("A", "100", priority=1, kind=BalanceKind.CREDIT, product_ids=("api",))
    commit = a_balance("B", "500", priority=2)

    assert paid([spent("382.25")], commit, credit) == [("A", Decimal(100)), ("B", Decimal("282.25"))]


def test_what_no_balance_pays_is_overage() -> None:
    commit = a_balance("B", "50")
    charges = [spent("60")]

    draws = draw_down(charges, [commit], granted(commit))

    assert draws == [Draw("B", "B-1", 0, JANUARY, Decimal(50))]
    assert overage(charges, draws) == Decimal(10)
    assert after(granted(commit), draws) == {"B-1": Decimal(0)}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (a_balance("z", "5", priority=9), a_balance("a", "5")),
        (a_balance("z", "5", kind=BalanceKind.CREDIT), a_balance("a", "5")),
        (a_balance("z", "5", product_ids=("api", "gpu")), a_balance("a", "5")),
        (a_balance("z", "5", product_ids=("api",)), a_balance("a", "5", product_ids=("api", "gpu"))),
        (a_balance("z", "5", span=Span(day(1), day(1, 3))), a_balance("a", "5", span=Span(day(1), day(1, 4)))),
        (
            a_balance("z", "5", span=Span(datetime.fromisoformat("2025-01-01T00:00Z"), day(1, 3))),
            a_balance("a", "5", span=Span(day(1), day(1, 3))),
        ),
        (a_balance("z", "5"), a_balance("a", "5", contract_id=None)),
        (a_balance("z", "5", created_at=day(1)), a_balance("a", "5", created_at=day(2))),
        (a_balance("a", "5"), a_balance("z", "5")),
    ],
    ids=["priority", "free", "names products", "fewest", "end", "start", "contract", "older", "id"],
)
def test_each_sort_key_decides_where_those_before_it_tie(first: Balance, second: Balance) -> None:
    assert paid([spent("7")], second, first) == [(first.id, Decimal(5)), (second.id, Decimal(2))]


def test_a_balance_pays_only_its_products_and_tags() -> None:
    by_id = a_balance("ids", "50", product_ids=("gpu",))
    by_tag = a_balance("tags", "50", product_tags=("llm", "vision"))
    charges = [spent("10", "api", ("llm",)), spent("20", "gpu"), spent("30", "disk")]

    assert paid(charges, by_id, by_tag) == [("ids", Decimal(20)), ("tags", Decimal(10))]


def test_only_the_segment_that_covers_the_usage_pays_it() -> None:
    first, second = Span(day(1), day(16)), Span(day(16), day(1, 2))
    segments = (Segment("early", first, Decimal(30)), Segment("late", second, Decimal(30)))
    balance = Balance("B", BalanceKind.PREPAID, "api", segments, day(1), False, "contract-1")
    charge = a_charge("api", [(first, Decimal(50)), (second, Decimal(10))], Decimal(1))

    draws = draw_down([charge], [balance], granted(balance))

    assert [(draw.segment_id, draw.amount) for draw in draws] == [("early", Decimal(30)), ("late", Decimal(10))]
    assert overage([charge], draws) == Decimal(20)


def test_inside_a_balance_earlier_usage_is_paid_first_then_the_line_order() -> None:
    first, second = Span(day(1), day(16)), Span(day(16), day(1, 2))
    a = a_charge("api", [(first, Decimal(4)), (second, Decimal(4))], Decimal(1))
    b = a_charge("gpu", [(first, Decimal(4)), (second, Decimal(4))], Decimal(1))
    balance = a_balance("B", "10")

    draws = draw_down([a, b], [balance], granted(balance))

    assert [(draw.line, draw.span, draw.amount) for draw in draws] == [
        (0, first, Decimal(4)),
        (1, first, Decimal(4)),
        (0, second, Decimal(2)),
    ]


def test_a_negative_charge_draws_nothing_and_a_negative_slice_is_not_paid_around() -> None:
    first, second = Span(day(1), day(16)), Span(day(16), day(1, 2))
    refund = a_charge("gpu", [(JANUARY, Decimal(-5))], Decimal(1))
    corrected = a_charge("api", [(first, Decimal(15)), (second, Decimal(-5))], Decimal(1))

    assert paid([refund, corrected], a_balance("B", "100")) == [("B", Decimal(10))]


def test_a_usd_balance_never_pays_a_charge_in_another_unit() -> None:
    balance = a_balance("B", "100")
    foreign = Balance("T", BalanceKind.CREDIT, "api", balance.segments, day(1), True, None, unit=Unit("t", "Tokens", 0))

    assert paid([spent("10")], foreign) == []


def test_a_slice_across_a_segment_boundary_is_a_bug() -> None:
    balance = a_balance("B", "100", span=Span(day(1), day(16)))

    with pytest.raises(AssertionError, match="crosses a boundary"):
        draw_down([spent("10")], [balance], granted(balance))


MONTHS = [Span(day(1, month), day(1, month + 1)) for month in range(1, 5)]
CENTS = st.integers(-500, 2_000).map(lambda cents: cents * CENT)


@st.composite
def charges_of_months(draw: st.DrawFn) -> list[Charge]:
    products = draw(st.lists(st.sampled_from(["api", "gpu", "disk"]), min_size=1, max_size=4))
    return [a_charge(p, [(month, draw(CENTS)) for month in MONTHS], Decimal(1), tags=(p[0],)) for p in products]


@st.composite
def some_balances(draw: st.DrawFn) -> list[Balance]:
    found = []
    for number in range(draw(st.integers(0, 5))):
        spans = sorted(draw(st.sets(st.sampled_from(MONTHS), max_size=4)))
        segments = tuple(
            Segment(f"{number}-{place}", span, draw(st.integers(0, 3_000)) * CENT) for place, span in enumerate(spans)
        )
        kind = draw(st.sampled_from(BalanceKind))
        priority = draw(st.none() | st.integers(0, 2).map(Decimal))
        ids = tuple(draw(st.sets(st.sampled_from(["api", "gpu"]))))
        tags = tuple(draw(st.sets(st.sampled_from(["a", "g"]))))
        free = kind is BalanceKind.CREDIT
        found.append(Balance(str(number), kind, "api", segments, day(1), free, "c", priority, None, None, ids, tags))
    return found


@given(charges_of_months(), some_balances(), st.randoms(use_true_random=False))
def test_draws_conserve_money_whatever_the_order_of_balances(
    charges: list[Charge], balances: list[Balance], random: Random
) -> None:
    left = granted(*balances)
    draws = draw_down(charges, balances, left)

    assert all(amount >= 0 for amount in after(left, draws).values())
    for line, charge in enumerate(charges):
        assert sum(draw.amount for draw in draws if draw.line == line) <= max(charge.list_amount, Decimal(0))
    assert all(draw.amount > 0 and is_bookable(draw.amount, charges[draw.line].unit) for draw in draws)
    assert sum(draw.amount for draw in draws) + overage(charges, draws) == sum(c.list_amount for c in charges)
    shuffled = list(balances)
    random.shuffle(shuffled)
    assert draw_down(charges, shuffled, left) == draws
