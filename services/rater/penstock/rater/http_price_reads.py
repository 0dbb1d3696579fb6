"""What a rate's price reads, held against the metric of its product when the rate is added, and refused by name.

What reads events needs a metric that is a sum of its events. What reads groups takes any metric: each combination of
values has a figure of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

from penstock.kernel.meter import Aggregation, Metric
from penstock.kernel.ports.siblings import UsageReader
from penstock.kernel.price import AnyPrice, Dynamic
from penstock.kernel.problems import NotFound, Unprocessable
from penstock.rater.definitions import Product
from penstock.rater.priced_quantity import NO_TERMS
from penstock.rater.pricing.catalogue import reads_of
from penstock.rater.pricing.models import EVENTS, TOTALS
from penstock.rater.reading import models_in

SUMS_OF_EVENTS = (Aggregation.SUM, Aggregation.COUNT)


class PriceReads:
    """For one request: every metric is asked for once."""

    def __init__(self, usage: UsageReader, tenant: str) -> None:
        self._usage, self._tenant = usage, tenant
        self._metrics: dict[str, Metric] = {}

    def check(self, price: AnyPrice, product: Product, place: str) -> None:
        """Raise `Unprocessable` that names the parameter, below `place`, which the product's metric cannot answer."""
        if type(price) in TOTALS or reads_of(price) == "quantity":
            return
        if any(state.quantity_terms != NO_TERMS for state in (product, *_updated(product))):
            why = "the product converts or rounds its quantity, and this price reads more than a quantity"
            raise Unprocessable(why, field=place)
        metric = self._metric(product)
        for model in models_in(price):
            _check_model(model, metric, place)
            place += ".price"

    def _metric(self, product: Product) -> Metric:
        assert product.metric_id is not None, "only usage has rates"
        if product.metric_id not in self._metrics:
            metric = self._usage.metric(self._tenant, product.metric_id)
            if metric is None:
                raise NotFound(f"there is no billable metric {product.metric_id}", field="product_id")
            self._metrics[product.metric_id] = metric
        return self._metrics[product.metric_id]


def _updated(product: Product) -> Iterator[Product]:
    return (product.at(update.starting_at) for update in product.updates)


def _check_model(model: AnyPrice, metric: Metric, place: str) -> None:
    for index, key in enumerate(getattr(model, "keys", ())):
        if key not in metric.group_keys:
            named = ", ".join(metric.group_keys) or "none"
            why = f"the billable metric has no group key {key}; it has {named}"
            raise Unprocessable(why, field=f"{place}.keys[{index}]")
    if type(model) in EVENTS and metric.aggregation not in SUMS_OF_EVENTS:
        name, kind = model.__struct_config__.tag, metric.aggregation.value
        why = f"{name} reads events, and only what a SUM or COUNT metric has used is the sum of them: this is {kind}"
        raise Unprocessable(why, field=f"{place}.model")
    if isinstance(model, Dynamic) and model.default_rate is None:
        why = "a rate needs one: an event that brings nothing must not keep an invoice from being written"
        raise Unprocessable(why, field=f"{place}.default_rate")
