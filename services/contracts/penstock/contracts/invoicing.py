"""The verb: the charges and draws of a period -> an invoice, whose total is the sum of its lines."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import Enum

import msgspec

from penstock.contracts.balance import Balance, BalanceKind
from penstock.contracts.draw_down import Draw
from penstock.contracts.shares import Share, shares
from penstock.contracts.units import Units
from penstock.kernel.card_units import CardUnits
from penstock.kernel.charge import COMMIT, LIST, Charge, ChargeSet, Part
from penstock.kernel.money import Unit, round_to_step
from penstock.kernel.price import Graduated, GroupValues, PerUnit
from penstock.kernel.quantity import ZERO, canonical, exact
from penstock.kernel.record import Vector
from penstock.kernel.window import Span

# Which rules wrote an invoice: raised whenever the same usage and contract would give another invoice.
ENGINE_VERSION = 1
_INVOICE_IDS = uuid.UUID("0b5f5e5e-7e0c-5a6d-9d0e-3a1f7f0c2b10")


class LineType(Enum):
    """What a line is, in Metronome's words."""

    USAGE = "usage"
    APPLIED = "applied_commit_or_credit"
    CONVERSION = "cpu_conversion"


class InvoiceStatus(Enum):
    DRAFT = "DRAFT"
    FINALIZED = "FINALIZED"


class LineTier(msgspec.Struct, frozen=True):
    """Which tier priced the line: `start` and `size` (None = open-ended) in units, `level` counted from 1."""

    level: int
    start: Decimal
    size: Decimal | None


class InvoiceLine(msgspec.Struct, frozen=True):
    """One line; `total` in major units, negative for what a balance paid.

    `charge` is the place of its charge, in whose unit it is, and `kind` names which of its prices a usage line is at; a
    conversion has no charge, and is in the invoice's unit.
    """

    type: LineType
    name: str
    charge: int | None
    product_id: str | None
    product_tags: tuple[str, ...]
    group_values: GroupValues
    span: Span
    total: Decimal
    quantity: Decimal | None = None
    unit_price: Decimal | None = None
    tier: LineTier | None = None
    balance_id: str | None = None
    segment_id: str | None = None
    balance_kind: BalanceKind | None = None
    kind: str = LIST


class Invoice(msgspec.Struct, frozen=True):
    """The usage invoice of a contract's period with all that proves it: vector, layers, units, charges and draws.

    `total` is what the lines in `unit` come to; what was used in other units is converted by some of them. A draft is
    never stored. `finalized_at` is when it was decided; `booked` says that the ledger has it.
    """

    id: str
    customer_id: str
    contract_id: str
    contract_revision: int
    engine_version: int
    period: Span
    unit: Unit
    vector: Vector
    charges: tuple[Charge, ...]
    draws: tuple[Draw, ...]
    lines: tuple[InvoiceLine, ...]
    total: Decimal
    net_payment_terms_days: Decimal | None = None
    status: InvoiceStatus = InvoiceStatus.DRAFT
    finalized_at: datetime | None = None
    booked: bool = False
    layers: tuple[str, ...] = ()  # the ids of the backfills that were in force
    units: CardUnits = CardUnits()

    def unit_of(self, line: InvoiceLine) -> Unit:
        return self.unit if line.charge is None else self.charges[line.charge].unit


def invoice_id(contract_id: str, period_start: datetime) -> str:
    """A draft and the final invoice of its period have the same id."""
    return str(uuid.uuid5(_INVOICE_IDS, f"{contract_id}/{period_start.isoformat()}"))


@exact
def write_invoice(
    charge_set: ChargeSet,
    draws: Sequence[Draw],
    balances: Iterable[Balance],
    *,
    customer_id: str,
    contract_revision: int,
    net_payment_terms_days: Decimal | None,
) -> Invoice:
    """The draft of a period, in the card's currency; a charge in no unit of the card is a bug of the card's checks."""
    invoice = Invoice(
        id=invoice_id(charge_set.contract_id, charge_set.period.start),
        customer_id=customer_id,
        contract_id=charge_set.contract_id,
        contract_revision=contract_revision,
        engine_version=ENGINE_VERSION,
        period=charge_set.period,
        unit=charge_set.units.fiat,
        vector=charge_set.vector,
        charges=charge_set.charges,
        draws=tuple(draws),
        lines=(),
        total=ZERO,
        net_payment_terms_days=net_payment_terms_days,
        layers=charge_set.layers,
        units=charge_set.units,
    )
    applied = applied_lines(invoice.charges, draws, {balance.id: balance for balance in balances})
    used = (*usage_lines(invoice.charges, draws), *applied)
    lines = (*used, *_conversion_lines(invoice, used))
    return msgspec.structs.replace(invoice, lines=lines, total=_in_unit(invoice, lines, invoice.unit))


def _in_unit(invoice: Invoice, lines: Iterable[InvoiceLine], unit: Unit) -> Decimal:
    return sum((line.total for line in lines if invoice.unit_of(line) == unit), ZERO)


@exact
def usage_lines(charges: Iterable[Charge], draws: Iterable[Draw] = ()) -> Iterator[InvoiceLine]:
    """A line per charge and price that is paid, or one per tier where the price is graduated."""
    at_commit_rate: dict[int, list[Units]] = {}
    for draw in draws:
        if draw.units is not None and draw.kind == COMMIT:
            at_commit_rate.setdefault(draw.line, []).append(draw.units)
    for place, charge in enumerate(charges):
        for share in shares(charge, at_commit_rate.get(place, ())):
            yield from _share_lines(charge, place, share)


def _share_lines(charge: Charge, place: int, share: Share) -> Iterator[InvoiceLine]:
    price = share.alternative.price
    if isinstance(price, Graduated) and share.parts:
        lines = [_tier_line(charge, place, part, price) for part in share.parts]
    else:
        unit_price = price.unit_price if isinstance(price, PerUnit) else None
        lines = [_usage_line(charge, place, share.quantity, unit_price, share.amount)]
    for line in lines:
        yield msgspec.structs.replace(line, kind=share.alternative.kind)


def _tier_line(charge: Charge, place: int, part: Part, price: Graduated) -> InvoiceLine:
    assert part.level is not None, "a tier's part has its level"
    assert part.start is not None, "and where it begins"
    up_to = price.tiers[part.level - 1].up_to
    tier = LineTier(part.level, part.start, None if up_to is None else up_to - part.start)
    line = _usage_line(charge, place, part.quantity, part.unit_price, part.amount)
    return msgspec.structs.replace(line, tier=tier)


def _usage_line(
    charge: Charge, place: int, quantity: Decimal, unit_price: Decimal | None, total: Decimal
) -> InvoiceLine:
    return InvoiceLine(
        type=LineType.USAGE,
        name=charge.product_name,
        charge=place,
        product_id=charge.product_id,
        product_tags=charge.product_tags,
        group_values=charge.group_values,
        span=charge.span,
        total=total,
        quantity=quantity,
        unit_price=unit_price,
    )


@exact
def applied_lines(
    charges: Sequence[Charge], draws: Iterable[Draw], balances: Mapping[str, Balance]
) -> Iterator[InvoiceLine]:
    """A negative line for what each balance segment paid of each charge, in the order of the draws."""
    paid: dict[tuple[str, str, int], Decimal] = {}
    for draw in draws:
        key = (draw.balance_id, draw.segment_id, draw.line)
        paid[key] = paid.get(key, ZERO) + draw.amount
    for (balance_id, segment_id, place), amount in paid.items():
        balance, charge = balances[balance_id], charges[place]
        if not amount:
            continue
        yield InvoiceLine(
            type=LineType.APPLIED,
            name=f"{charge.product_name} ({balance.label} applied)",
            charge=place,
            product_id=charge.product_id,
            product_tags=charge.product_tags,
            group_values=charge.group_values,
            span=charge.span,
            total=-amount,
            balance_id=balance_id,
            segment_id=segment_id,
            balance_kind=balance.kind,
        )


def _conversion_lines(invoice: Invoice, used: Sequence[InvoiceLine]) -> Iterator[InvoiceLine]:
    """For each custom unit a line for what no balance paid in it, in the card's currency, rounded once."""
    units = invoice.units
    assert all(units.find(c.unit.id) == c.unit for c in invoice.charges), "a charge is in a unit of its card"
    for conversion in units.conversions:
        unpaid = _in_unit(invoice, used, conversion.unit)
        if unpaid:
            yield InvoiceLine(
                type=LineType.CONVERSION,
                name=f"{conversion.unit.name} in {units.fiat.name}",
                charge=None,
                product_id=None,
                product_tags=(),
                group_values=(),
                span=invoice.period,
                total=round_to_step(unpaid * conversion.fiat_per_unit, units.fiat),
                quantity=canonical(unpaid),
                unit_price=conversion.fiat_per_unit,
            )
