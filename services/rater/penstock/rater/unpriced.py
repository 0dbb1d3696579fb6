"""Usage that no charge holds, since no entitled rate prices its group at its time. Never billed in silence: listed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

import msgspec

from penstock.kernel.meter import GroupValue
from penstock.kernel.price import GroupValues, PriceInterval
from penstock.kernel.window import Span
from penstock.rater.definitions import Product
from penstock.rater.rate import Metered, Source


class Unpriced(msgspec.Struct, frozen=True):
    """What was used of a product in a span, by a group that has no price there."""

    product_id: str
    product_name: str
    group_values: GroupValues
    span: Span
    quantity: Decimal


def unpriced(
    products: Iterable[Product], intervals: Iterable[PriceInterval], usage: Mapping[Source, Metered]
) -> tuple[Unpriced, ...]:
    """Usage of `products` without a price, by product, then as the rows of `usage` are ordered.

    A metric that does not add up is listed per span that was asked for; such spans may overlap.
    """
    priced: dict[tuple[str, tuple[GroupValue, ...]], list[Span]] = {}
    for interval in intervals:
        groups = tuple(value for _, value in interval.group_values)
        priced.setdefault((interval.product_id, groups), []).append(interval.span)
    out = []
    for product in products:
        assert product.metric_id is not None, "only usage can lack a price"
        for row in usage[product.metric_id, product.pricing_group_key].rows:
            covered = any(row.span.start in span for span in priced.get((product.id, row.groups), ()))
            if row.value is not None and not covered:
                named = tuple(zip(product.pricing_group_key, row.groups, strict=True))
                name = product.at(row.span.start).name
                out.append(Unpriced(product.id, name, named, row.span, row.value))
    return tuple(out)
