"""The socket board: which parts a process has, and which of them is whose sibling. Nothing else puts services together.

`penstock up` is every part in one process, in which siblings call each other as objects. A role is one part, and what
stands in for its siblings calls them. (docs/adr/0015)
"""

from __future__ import annotations

from collections.abc import Mapping

from penstock.app.adapters import EMBEDDED, open_log
from penstock.app.aggregator_part import AggregatorPart
from penstock.app.common import Common
from penstock.app.contracts_part import ContractsPart
from penstock.app.forward import Forwarder
from penstock.app.forward_part import ForwardPart
from penstock.app.gateway_part import GatewayPart
from penstock.app.log_part import LogPart
from penstock.app.measured_log import MeasuredLog
from penstock.app.pressure import FoldPressure
from penstock.app.rater_part import RaterPart
from penstock.app.route_table import every_route
from penstock.app.runtime import Assemble, Assembly
from penstock.app.services import BACKTESTING, CUSTOMERS, EVENTS, LAYERS, MEMORY, RATING, USAGE
from penstock.app.settings import AGGREGATOR, CONTRACTS, GATEWAY, RATER, UP
from penstock.app.siblings_part import CallsPart, KeysPart, SiblingsPart
from penstock.kernel.problems import Refused


class NotShared(Refused):
    """A role was told to use what only one process can have open. Refused: its siblings would work on another."""


async def everything(common: Common) -> Assembly:
    """The whole pipeline."""
    config = common.config
    log = await _log(common)  # first: its lock keeps a second process out of the whole folder
    aggregator = await AggregatorPart.open(common, log, range(log.identity.partitions), None)
    rater = await RaterPart.open(common, aggregator.usage, aggregator.events)
    contracts = await ContractsPart.open(common, rater.rating, rater.backtesting, aggregator.usage)
    room = FoldPressure(aggregator.runtime.owners, common.clock, config.fold_lag_ms_max).room
    gateway = await GatewayPart.open(common, log, aggregator.backfills, room)
    aggregator.meet(contracts.customers, gateway.gateway.memory)
    parts = [LogPart(config, log), gateway, aggregator, rater, contracts]
    return Assembly("Penstock", parts, gateway.authenticate, log, gateway.gateway)


async def gateway_alone(common: Common) -> Assembly:
    """Takes events; forwards what it does not own."""
    config = common.config
    # Only events of backfills need the aggregator, so live ones do not wait for it.
    siblings = SiblingsPart(common, called=(AGGREGATOR,))
    log = await _shared_log(common)
    gateway = await GatewayPart.open(common, log, siblings[AGGREGATOR].port(LAYERS))
    urls = {AGGREGATOR: config.aggregator_url, RATER: config.rater_url, CONTRACTS: config.contracts_url}
    forwarder = Forwarder(urls, config.forward_timeout_ms)
    calls = CallsPart(common, GATEWAY, [gateway])
    parts = [LogPart(config, log), siblings, gateway, calls, ForwardPart(forwarder, tuple(urls))]
    elsewhere = [route for route in every_route() if forwarder.owns(route.owner)]
    return Assembly("Penstock gateway", parts, gateway.authenticate, log, gateway.gateway, forwarder, elsewhere)


async def aggregator_alone(common: Common) -> Assembly:
    """Folds its partitions; answers usage, transactions and audits."""
    config = common.config
    # It is needed by the contracts service, so it does not wait for it: it folds and answers siblings without.
    siblings = SiblingsPart(common, needed=(), told=(GATEWAY, CONTRACTS))
    keys = KeysPart(common, siblings[GATEWAY])
    log = await _shared_log(common)
    drain_s = config.fold_drain_ms_max / 1000
    aggregator = await AggregatorPart.open(common, log, config.partitions_owned(), drain_s)
    aggregator.meet(siblings[CONTRACTS].port(CUSTOMERS), siblings[GATEWAY].port(MEMORY))
    calls = CallsPart(common, AGGREGATOR, [aggregator])
    parts = [LogPart(config, log), siblings, keys, aggregator, calls]
    return Assembly("Penstock aggregator", parts, keys.authenticate, log)


async def rater_alone(common: Common) -> Assembly:
    """Prices usage."""
    siblings = SiblingsPart(common, needed=(AGGREGATOR,), told=(GATEWAY,))
    keys = KeysPart(common, siblings[GATEWAY])
    aggregator = siblings[AGGREGATOR]
    rater = await RaterPart.open(common, aggregator.port(USAGE), aggregator.port(EVENTS))
    calls = CallsPart(common, RATER, [rater])
    return Assembly("Penstock rater", [siblings, keys, rater, calls], keys.authenticate)


async def contracts_alone(common: Common) -> Assembly:
    """Customers, contracts, balances and invoices."""
    siblings = SiblingsPart(common, needed=(AGGREGATOR, RATER), told=(GATEWAY,))
    keys = KeysPart(common, siblings[GATEWAY])
    rating, backtesting = siblings[RATER].port(RATING), siblings[RATER].port(BACKTESTING)
    contracts = await ContractsPart.open(common, rating, backtesting, siblings[AGGREGATOR].port(USAGE))
    calls = CallsPart(common, CONTRACTS, [contracts])
    return Assembly("Penstock contracts", [siblings, keys, contracts, calls], keys.authenticate)


ASSEMBLIES: Mapping[str, Assemble] = {
    UP: everything,
    GATEWAY: gateway_alone,
    AGGREGATOR: aggregator_alone,
    RATER: rater_alone,
    CONTRACTS: contracts_alone,
}


async def _log(common: Common) -> MeasuredLog:
    return MeasuredLog(await open_log(common.config), common.telemetry)


async def _shared_log(common: Common) -> MeasuredLog:
    """Raise `NotShared` for the embedded log."""
    if common.config.event_log == EMBEDDED:
        raise NotShared(
            "a gateway and an aggregator of their own need a log that both reach: set event_log to kafka://"
        )
    return await _log(common)
