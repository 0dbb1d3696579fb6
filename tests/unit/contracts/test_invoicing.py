"""The lines of an invoice: tiers, what balances paid, and a total that is their sum."""

from __future__ import annotations

from decimal import Decimal

from penstock.contracts.balance import Balance, BalanceKind, Segment
from penstock.contracts.draw_down import Draw
from penstock.contracts.invoicing import Invoice, LineTier, LineType, invoice_id, write_invoice
from penstock.kernel.charge import Alternative, Charge, ChargeSet, Part
from penstock.kernel.money import USD
from penstock.kernel.price import Graduated, Tier
from penstock.kernel.window import Span
from unit.contracts.contract_world import a_charge, day

JANUARY = Span(day(1), day(1, 2))
FIRST, SECOND = Span(day(1), day(16)), Span(day(16), day(1, 2))


def invoiced(charges: tuple[Charge, ...], draws: list[Draw], balances: list[Balance]) -> Invoice:
    charge_set = ChargeSet("contract-1", JANUARY, (3,), charges)
    return write_invoice(
        charge_set, draws, balances, customer_id="customer-1", contract_revision=2, net_payment_terms_days=None
    )


def test_a_graduated_charge_has_a_line_per_tier() -> None:
    price = Graduated(
        USD,
        (
            Tier(Decimal(100_000), Decimal("0.002")),
            Tier(Decimal(200_000), Decimal("0.0015")),
            Tier(None, Decimal("0.001")),
        ),
    )
    parts = (
        Part("tier", Decimal(100_000), Decimal("0.002"), Decimal(200), 1, Decimal(0)),
        Part("tier", Decimal(100_000), Decimal("0.0015"), Decimal(150), 2, Decimal(100_000)),
        Part("tier", Decimal(30_000), Decimal("0.001"), Decimal(30), 3, Decimal(200_000)),
    )
    listed = Alternative("list", price, {}, Decimal(0), Decimal(380), Decimal(380), parts, ())
    charge = Charge(
        "contract-1", "api", "API", (), "m", (("model", "large"),), JANUARY, USD, Decimal(230_000), (listed,)
    )

    invoice = invoiced((charge,), [], [])

    assert [(line.quantity, line.unit_price, line.total, line.tier) for line in invoice.lines] == [
        (Decimal(100_000), Decimal("0.002"), Decimal(200), LineTier(1, Decimal(0), Decimal(100_000))),
        (Decimal(100_000), Decimal("0.0015"), Decimal(150), LineTier(2, Decimal(100_000), Decimal(100_000))),
        (Decimal(30_000), Decimal("0.001"), Decimal(30), LineTier(3, Decimal(200_000), None)),
    ]
    assert invoice.total == Decimal(380)
    assert invoice.lines[0].group_values == (("model", "large"),)


def test_what_a_segment_paid_of_a_charge_is_one_line_however_many_slices_it_was() -> None:
    charge = a_charge("api", [(FIRST, Decimal(30)), (SECOND, Decimal(20))], Decimal(1))
    balance = Balance("B", BalanceKind.CREDIT, "api", (Segment("s", JANUARY, Decimal(40)),), day(1), True, "contract-1")
    draws = [Draw("B", "s", 0, FIRST, Decimal(30)), Draw("B", "s", 0, SECOND, Decimal(10))]

    invoice = invoiced((charge,), draws, [balance])

    assert [(line.type, line.name, line.total) for line in invoice.lines] == [
        (LineType.USAGE, "API", Decimal(50)),
        (LineType.APPLIED, "API (Credit applied)", Decimal(-40)),
    ]
    assert (invoice.lines[1].balance_id, invoice.lines[1].segment_id) == ("B", "s")
    assert invoice.total == Decimal(10)


def test_a_draft_and_its_final_invoice_have_the_same_id_and_no_other_period_has() -> None:
    invoice = invoiced((), [], [])

    assert invoice.id == invoice_id("contract-1", day(1))
    assert invoice.id not in (invoice_id("contract-1", day(1, 2)), invoice_id("contract-2", day(1)))
    assert invoice.total == 0
