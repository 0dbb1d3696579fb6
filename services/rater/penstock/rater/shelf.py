"""The rater's definitions in its catalog: items in, structs out. The only place that knows how they are stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TypeVar

import msgspec

from penstock.kernel.ports.catalog import Catalog, Item
from penstock.kernel.problems import NotFound
from penstock.rater.definitions import Alias, PricingUnit, Product, ProductUpdate, Rate, RateCard
from penstock.rater.rate_cache import RateCache, Shelved

PRODUCT, RATE_CARD, RATE, PRICING_UNIT = "product", "rate_card", "rate", "pricing_unit"

Definition = TypeVar("Definition", Product, RateCard, Rate, PricingUnit)


class Shelf:
    """Reads and writes definitions of any tenant."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._rates = RateCache(self._rates_after)

    def product(self, tenant: str, product_id: str, field: str = "product_id") -> Product:
        """Raise `NotFound` that names the field by which it was asked for."""
        return _decoded(self._item(tenant, PRODUCT, product_id, field), Product)

    def products(self, tenant: str) -> dict[str, Product]:
        """Every product by id, archived ones too: they go on being billed."""
        return {item.id: _decoded(item, Product) for item in self._catalog.list(tenant, PRODUCT)}

    def products_after(self, tenant: str, sequence: int) -> list[tuple[int, Product]]:
        return [(i.sequence, _decoded(i, Product)) for i in self._catalog.list(tenant, PRODUCT, after=sequence)]

    def add_product(self, tenant: str, product: Product) -> None:
        item = Item(tenant, PRODUCT, product.id, msgspec.json.encode(product))
        self._catalog.put([item], product.created_at)

    def archive_product(self, tenant: str, product_id: str, at: datetime) -> None:
        """Idempotent: the first instant stays."""
        item = self._item(tenant, PRODUCT, product_id, "product_id")
        product = _decoded(item, Product)
        if product.archived_at is None:
            self._put_again(item, msgspec.structs.replace(product, archived_at=at), at)

    def update_product(self, tenant: str, product_id: str, update: ProductUpdate) -> None:
        """Raise `Conflict` where somebody else updated it at the same time."""
        item = self._item(tenant, PRODUCT, product_id, "product_id")
        product = _decoded(item, Product)
        changed = msgspec.structs.replace(product, updates=(*product.updates, update))
        self._put_again(item, changed, update.created_at)

    def _put_again(self, item: Item, definition: Definition, at: datetime) -> None:
        self._catalog.put([msgspec.structs.replace(item, body=msgspec.json.encode(definition))], at)

    def pricing_unit(self, tenant: str, id: str, field: str) -> PricingUnit:
        return _decoded(self._item(tenant, PRICING_UNIT, id, field), PricingUnit)

    def pricing_units(self, tenant: str) -> list[PricingUnit]:
        """Archived ones too, in the order in which they were made."""
        return [_decoded(item, PricingUnit) for item in self._catalog.list(tenant, PRICING_UNIT)]

    def add_pricing_unit(self, tenant: str, made: PricingUnit) -> None:
        """Raise `Conflict` where another one has the name."""
        item = Item(tenant, PRICING_UNIT, made.unit.id, msgspec.json.encode(made), unique=(made.unit.name.upper(),))
        self._catalog.put([item], made.created_at)

    def archive_pricing_unit(self, tenant: str, id: str, at: datetime) -> None:
        """Its name is free again. Idempotent: the first instant stays."""
        item = self._item(tenant, PRICING_UNIT, id, "id")
        made = _decoded(item, PricingUnit)
        if made.archived_at is None:
            self._put_again(msgspec.structs.replace(item, unique=()), msgspec.structs.replace(made, archived_at=at), at)

    def rate_card(self, tenant: str, rate_card_id: str, field: str = "rate_card_id") -> RateCard:
        return _decoded(self._item(tenant, RATE_CARD, rate_card_id, field), RateCard)

    def rate_cards_after(self, tenant: str, sequence: int, limit: int) -> list[tuple[int, RateCard]]:
        items = self._catalog.list(tenant, RATE_CARD, after=sequence, limit=limit)
        return [(item.sequence, _decoded(item, RateCard)) for item in items]

    def rate_card_of_alias(self, tenant: str, alias: str, now: datetime) -> RateCard | None:
        """The card to which the alias was last given, if it is in force now."""
        item = self._catalog.find(tenant, RATE_CARD, alias)
        if item is None:
            return None
        card = _decoded(item, RateCard)
        return card if any(a.name == alias and a.in_force(now) for a in card.aliases) else None

    def add_rate_card(self, tenant: str, card: RateCard, rates: Sequence[Rate] = ()) -> None:
        """All or nothing. An alias that another card holds moves to this one, as Metronome's do."""
        names = tuple(dict.fromkeys(alias.name for alias in card.aliases))
        item = Item(tenant, RATE_CARD, card.id, msgspec.json.encode(card), unique=names)
        items = [*self._without_aliases(tenant, names, card.id), item, *_rate_items(tenant, rates)]
        self._catalog.put(items, card.created_at)

    def change_rate_card(
        self, tenant: str, rate_card_id: str, change: Callable[[RateCard], RateCard], at: datetime
    ) -> None:
        """Raise `Conflict` where somebody else changed it at the same time. Aliases move as in `add_rate_card`."""
        item = self._item(tenant, RATE_CARD, rate_card_id, "rate_card_id")
        card = change(_decoded(item, RateCard))
        names = tuple(dict.fromkeys(alias.name for alias in card.aliases))
        changed = msgspec.structs.replace(item, body=msgspec.json.encode(card), unique=names)
        self._catalog.put([*self._without_aliases(tenant, names, card.id), changed], at)

    def _without_aliases(self, tenant: str, names: Sequence[str], card_id: str) -> list[Item]:
        """The other cards that now hold any of these aliases, each without them."""
        found = [item for name in names if (item := self._catalog.find(tenant, RATE_CARD, name))]
        holders = {item.id: item for item in found if item.id != card_id}
        out = []
        for item in holders.values():
            card = _decoded(item, RateCard)
            aliases: tuple[Alias, ...] = tuple(a for a in card.aliases if a.name not in names)
            body = msgspec.json.encode(msgspec.structs.replace(card, aliases=aliases))
            unique = tuple(name for name in item.unique if name not in names)
            out.append(msgspec.structs.replace(item, body=body, unique=unique))
        return out

    def rates(self, tenant: str, rate_card_id: str) -> list[Shelved]:
        """Every rate of the card, in the order in which they were added."""
        return list(self._rates.rates(tenant, rate_card_id))

    def _rates_after(self, tenant: str, rate_card_id: str, sequence: int) -> list[Shelved]:
        items = self._catalog.list(tenant, RATE, parent=rate_card_id, after=sequence)
        return [Shelved(item.sequence, _decoded(item, Rate)) for item in items]

    def add_rates(self, tenant: str, rates: Sequence[Rate], at: datetime) -> None:
        """All or nothing."""
        self._catalog.put(_rate_items(tenant, rates), at)

    def _item(self, tenant: str, kind: str, id: str, field: str) -> Item:
        item = self._catalog.get(tenant, kind, id)
        if item is None:
            raise NotFound(f"there is no {kind.replace('_', ' ')} {id}", field=field)
        return item


def _decoded(item: Item, shape: type[Definition]) -> Definition:
    return msgspec.json.decode(item.body, type=shape)


def _rate_items(tenant: str, rates: Iterable[Rate]) -> list[Item]:
    return [Item(tenant, RATE, rate.id, msgspec.json.encode(rate), parent=rate.rate_card_id) for rate in rates]
