"""The usage of many contracts in few queries: each asks for many customers and for stretches of time that some share.

An answer holds more than was wanted where customers who want different stretches are asked about together; what is
wanted of it is known by span (`Pair.becomes`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from penstock.kernel.contract import ContractTerms
from penstock.kernel.usage import UsageQuery
from penstock.rater.backtest.pair import Pair
from penstock.rater.quantity_source import layers
from penstock.rater.rate import Source

KEYS_MAX = 1_000  # the engine's time for one array parameter grows faster than its length


def questions(asked: Sequence[tuple[ContractTerms, Pair]]) -> Iterator[tuple[Source, UsageQuery]]:
    """Rows come back by customer id. The contracts are of one tenant."""
    for source in dict.fromkeys(source for _, pair in asked for source in pair.wanted):
        wanted = [(terms, pair.wanted[source]) for terms, pair in asked if source in pair.wanted]
        for layer in layers(set().union(*(spans for _, spans in wanted))):
            inside = frozenset(layer)
            for keys, owners in _packed([terms for terms, spans in wanted if spans & inside]):
                query = UsageQuery(wanted[0][0].tenant, source[0], keys, layer, group_by=source[1], owners=owners)
                yield source, query


def _packed(all_terms: Sequence[ContractTerms]) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Customer keys and their owners, all of a customer's together: a figure that does not add up is of all its keys.
    """
    keys: list[str] = []
    owners: list[str] = []
    for customer_id, customer_keys in {terms.customer_id: terms.customer_keys for terms in all_terms}.items():
        if keys and len(keys) + len(customer_keys) > KEYS_MAX:
            yield tuple(keys), tuple(owners)
            keys, owners = [], []
        keys += customer_keys
        owners += [customer_id] * len(customer_keys)
    if keys:
        yield tuple(keys), tuple(owners)

