"""The owners of a process that shares its partitions with others: Faust says which are its own (docs/adr/0014)."""

from __future__ import annotations

from penstock.aggregator.faust_group import GroupSettings
from penstock.aggregator.faust_owners import FaustOwners
from penstock.aggregator.quarantine import Quarantine
from penstock.app.adapters import kafka_settings
from penstock.app.config import Config
from penstock.app.telemetry import Telemetry
from penstock.ids.shelf import Shelf
from penstock.kernel.ports.event_log import EventLog
from penstock.kernel.ports.usage_store import UsageStore

GROUP_SUFFIX = ".aggregator"
US_PER_HOUR = 3_600_000_000


def grouped_owners(config: Config, log: EventLog, store: UsageStore, quarantine: Quarantine) -> FaustOwners:
    """A `FoldRuntime` for a log on Kafka. Ids are kept in files of this process, also of partitions given later."""
    kafka = kafka_settings(config)
    settings = GroupSettings(
        bootstrap_servers=kafka.bootstrap_servers,
        topic=kafka.topic,
        group=kafka.topic + GROUP_SUFFIX,
        session_timeout_ms=config.kafka_session_timeout_ms,
        request_timeout_ms=kafka.request_timeout_ms,
        sasl_mechanism=kafka.sasl_mechanism,
        sasl_username=kafka.sasl_username,
        sasl_password=kafka.sasl_password,
        ssl_context=kafka.connection()["ssl_context"],
    )

    def shelf_of(partition: int) -> Shelf:
        folder = config.data_dir / "ids" / str(partition)
        return Shelf(folder, partition, log.identity.log_id, config.memory_ids_max // config.partitions)

    retention_us = config.log_retention_hours * US_PER_HOUR
    return FaustOwners(log, store, retention_us, shelf_of, settings, quarantine)


def observe(owners: FaustOwners, telemetry: Telemetry) -> None:
    """Bring the gauges of the group up to date."""
    for gauge in (telemetry.folded, telemetry.restores, telemetry.lag_records, telemetry.lag_s, telemetry.marker_age_s):
        gauge.clear()  # of partitions that others have now
    telemetry.owned_partitions.set(len(owners.owners))
    telemetry.stopped_partitions.set(len(owners.stopped))
    telemetry.rebalances.set(owners.rebalances)
    telemetry.group_restarts.set(owners.restarts)
    telemetry.rereads.set(owners.rereads)
