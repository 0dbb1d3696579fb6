"""A draft laid over a contract's terms: which card with which rates, and which overrides, would be in force."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

import msgspec

from penstock.kernel.backtest import Draft
from penstock.kernel.contract import ContractTerms
from penstock.kernel.money import Unit
from penstock.kernel.ports.siblings import UsageReader
from penstock.kernel.problems import Unprocessable
from penstock.rater.definitions import DRAFT_CARD_ID, Rate, RateCard
from penstock.rater.http_price_reads import PriceReads
from penstock.rater.http_prices import Scale
from penstock.rater.http_rates import DatedRateBody, rates_of
from penstock.rater.shelf import Shelf
from penstock.web.instant import EARLIEST
from penstock.web.route import decode_json


class _Rates(msgspec.Struct):
    rates: Annotated[list[DatedRateBody], msgspec.Meta(min_length=1)]


class DraftCard:
    """The card of a draft, read once. Without one, each contract's own stays.

    Raise `NotFound`, `BadRequest` or `Unprocessable` naming the field of the request.
    """

    def __init__(self, shelf: Shelf, usage: UsageReader, tenant: str, draft: Draft) -> None:
        self._draft = draft
        self.rates: list[Rate] | None = None
        card = RateCard(DRAFT_CARD_ID, "", created_at=EARLIEST, created_by="", units=draft.units)
        if draft.rate_card_id is not None:
            card = shelf.rate_card(tenant, draft.rate_card_id)
            self.rates = [shelved.rate for shelved in shelf.rates(tenant, card.id)]
        if draft.rates is not None:
            bodies = decode_json(draft.rates, _Rates).rates
            written = rates_of(shelf, tenant, card, bodies, Scale.CENTS, PriceReads(usage, tenant))
            self.rates = [*(self.rates or ()), *written]

    def over(self, terms: ContractTerms, rates: Sequence[Rate]) -> tuple[ContractTerms, Sequence[Rate]]:
        """The terms that the draft makes of a contract's, whose card has `rates`, and the rates of its card then."""
        own = terms.overrides if self._draft.keeps_overrides else ()
        changed = msgspec.structs.replace(terms, overrides=(*own, *self._draft.overrides))
        if self.rates is None:
            return changed, rates
        card_id = self._draft.rate_card_id or DRAFT_CARD_ID
        return msgspec.structs.replace(changed, rate_card_id=card_id), self.rates


def check_units(contract_id: str, old: Iterable[Unit], new: Iterable[Unit]) -> None:
    """Raise `Unprocessable` where the draft prices in a unit that the contract's own terms do not know."""
    known, named = set(old), set(new)
    if known and named - known:
        theirs, mine = (", ".join(sorted(unit.name for unit in units)) for units in (named, known))
        raise Unprocessable(
            f"the draft's prices are in {theirs}, those of contract {contract_id} in {mine}", field="rate_card_id"
        )
