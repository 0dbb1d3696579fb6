"""What each setting is for and which role reads it: one table, from which options, help and docs/settings.md come.

A new setting is a field of `Config` and a line here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from penstock.app.config import PORTS, PREFIX, Config

UP, GATEWAY, AGGREGATOR, RATER, CONTRACTS = "up", "gateway", "aggregator", "rater", "contracts"
ROLES = (UP, GATEWAY, AGGREGATOR, RATER, CONTRACTS)
SERVICES = ROLES[1:]
SECRETS = frozenset({"rpc_secret", "bootstrap_api_key"})
HIDDEN = "***"
_PASSWORD = re.compile(r"(?<=://)([^/@:]*:)[^@]*(?=@)|(?<=[?&])(password=)[^&]*")


class Group(msgspec.Struct, frozen=True):
    """Settings that belong together, and the roles that read them."""

    title: str
    roles: tuple[str, ...]
    help: dict[str, str]


GROUPS = (
    Group(
        "Every process",
        ROLES,
        {
            "host": "address to listen on",
            "http_port": "port of the HTTP API",
            "data_dir": "folder that holds what this process keeps on its disk",
            "tables": "each service's own tables: sqlite, or postgresql://user:password@host/database",
            "body_timeout_ms": "milliseconds in which a request's body must arrive, beyond which the answer is 408",
            "request_bytes_max": "bytes of one request's body, packed and unpacked",
            "ingest_queue_bytes_max": "bytes of requests in memory, beyond which the answer is 429",
            "start_timeout_ms": "milliseconds for which a start waits for a log, store or database that is away",
            "tls_cert": "PEM file of the certificate for HTTP and gRPC; TLS is off without it",
            "tls_key": "PEM file of the certificate's private key",
            "tls_ca": "PEM file of the authority whose client certificates are demanded",
            "log_level": "DEBUG, INFO, WARNING or ERROR",
            "log_format": "text, or json for one JSON object a line",
        },
    ),
    Group(
        "The log",
        (UP, GATEWAY, AGGREGATOR),
        {
            "event_log": "embedded, or kafka://user:password@host:port,host:port/topic",
            "partitions": "partitions of the log; fixed for its life (penstock repartition begins another)",
            "kafka_replication": "replicas of each partition of a new topic, and the least that one may have",
            "kafka_retention_hours": "hours that a broker keeps records at most; folded ones go sooner; -1 is no limit",
            "kafka_security_protocol": "PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL",
            "kafka_sasl_mechanism": "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512",
            "kafka_ca": "PEM file of the authority of the brokers' certificates",
            "kafka_cert": "PEM file of the certificate that is shown to the brokers",
            "kafka_key": "PEM file of that certificate's private key",
            "kafka_timeout_ms": "milliseconds after which an append or a request to a broker is given up",
        },
    ),
    Group(
        "Gateway",
        (UP, GATEWAY),
        {
            "grpc_port": "port of the gRPC API",
            "bootstrap_api_key": "the first admin key; made and printed once where it is not given",
            "tick_interval_ms": "milliseconds between the ticks that give an idle partition a clock",
            "ingest_linger_ms": "milliseconds for which a few events wait for others to share their record",
            "request_events_max": "events of one request of JSON or NDJSON",
            "arrow_events_max": "events of one request of Arrow IPC",
            "event_properties_bytes_max": "bytes of one event's properties",
            "tenant_events_per_s_max": "events a second of one tenant, beyond which the answer is 429; 0 is no limit",
            "tenant_bytes_per_s_max": "bytes a second of one tenant's bodies, unpacked; 0 is no limit",
            "dedupe_ids_max": "ids that the gateway's own window remembers; the aggregator's is exact over 37 days",
            "compile_after_bytes": "bytes of bodies after which compiled loops are loaded; 0: before the doors open",
            "grpc_drain_ms_max": "milliseconds that gRPC clients get to read their receipts before the process ends",
        },
    ),
    Group(
        "Gateway by itself",
        (GATEWAY,),
        {
            "aggregator_url": "where the aggregator answers HTTP: the gateway forwards what it does not own",
            "rater_url": "where the rater answers HTTP",
            "contracts_url": "where the contracts service answers HTTP",
            "forward_timeout_ms": "milliseconds for which a forwarded request waits for its answer",
            "aggregator_rpc": "where the aggregator answers its siblings: it knows the backfills that take events",
        },
    ),
    Group(
        "One process with everything",
        (UP,),
        {"fold_lag_ms_max": "milliseconds that usage may lag before ingest is slowed down"},
    ),
    Group(
        "Aggregator",
        (UP, AGGREGATOR),
        {
            "usage_store": "embedded, or clickhouse://user:password@host:port/database",
            "clickhouse_replicated": "make an insert wait for most replicas, and a read see every such insert",
            "clickhouse_timeout_ms": "milliseconds after which a query is given up",
            "memory_ids_max": "ids of the aggregator's window in memory, 26 bytes each; older ones are in files",
            "usage_cache_bytes_max": "bytes of answers to usage questions that are kept; 0 keeps none",
            "group_combinations_max": "group combinations that a metric may have on a day; a new metric takes it",
            "log_retention_hours": "hours that folded records stay in the log",
            "ready_lag_records_max": "records that a partition may be behind its log while the process counts as ready",
            "audit_interval_ms": "milliseconds between two passes of the auditor over a sample of cells; 0 makes none",
            "audit_events_max": "stored events that one pass of the auditor counts again, about",
            "crash_at": "for fault tests: STEP:N kills the process when a flush reaches STEP for the Nth time",
        },
    ),
    Group(
        "Aggregator by itself",
        (AGGREGATOR,),
        {
            "owned_partitions": "what this process folds: what the group gives it; or for good all, or as in 0,2-5",
            "kafka_session_timeout_ms": "milliseconds of silence after which its partitions go to other aggregators",
            "fold_drain_ms_max": "milliseconds that the fold gets to finish before the process ends",
            "gateway_rpc": "where the gateway answers its siblings, host:port",
            "contracts_rpc": "where the contracts service answers its siblings",
        },
    ),
    Group(
        "Rater by itself",
        (RATER,),
        {
            "gateway_rpc": "where the gateway answers its siblings, host:port",
            "aggregator_rpc": "where the aggregator answers its siblings",
        },
    ),
    Group(
        "Contracts",
        (UP, CONTRACTS),
        {
            "test_clock": "let POST /v1/test-clock/advance move the time that contracts see",
            "finalize_interval_ms": "milliseconds between two looks for invoices that are due",
        },
    ),
    Group(
        "Contracts by itself",
        (CONTRACTS,),
        {
            "gateway_rpc": "where the gateway answers its siblings, host:port",
            "aggregator_rpc": "where the aggregator answers its siblings",
            "rater_rpc": "where the rater answers its siblings",
        },
    ),
    Group(
        "Calls between services",
        SERVICES,
        {
            "rpc_port": "port on which siblings call this process",
            "rpc_secret": "the secret by which services know each other, the same for all; or certificates",
            "rpc_cert": "PEM file of the certificate by which siblings know this process",
            "rpc_key": "PEM file of that certificate's private key",
            "rpc_ca": "PEM file of the authority of every sibling's certificate",
            "rpc_timeout_ms": "milliseconds after which a call is given up",
            "rpc_drain_ms_max": "milliseconds that calls under way get before the process ends",
            "key_age_ms_max": "milliseconds for which the API keys last read are good while their source is away",
        },
    ),
)


def of_role(role: str) -> dict[str, str]:
    """What the role reads, by name, with what it is for."""
    return {name: text for group in GROUPS if role in group.roles for name, text in group.help.items()}


def default_of(name: str, role: str) -> Any:
    return PORTS.get(role, {}).get(name, getattr(Config(), name))


def shown(config: Config, role: str) -> Iterator[str]:
    """The role's settings as lines of an environment file; secrets and passwords are hidden, unset ones left out."""
    for name in of_role(role):
        value = getattr(config, name)
        if value is not None:
            text = HIDDEN if name in SECRETS else _PASSWORD.sub(rf"\g<1>\g<2>{HIDDEN}", _text(value))
            yield f"{PREFIX}{name.upper()}={text}"


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def page() -> str:
    """docs/settings.md."""
    lines = [_HEAD]
    for group in GROUPS:
        lines += [f"## {group.title}", f"Read by: {', '.join(f'`penstock {role}`' for role in group.roles)}", ""]
        lines += ["| option | variable | default | meaning |", "|---|---|---|---|"]
        lines += [
            f"| `--{name.replace('_', '-')}` | `{PREFIX}{name.upper()}` | {_default(name)} | {text} |"
            for name, text in group.help.items()
        ]
        lines.append("")
    return "\n".join(lines)


def _default(name: str) -> str:
    value = getattr(Config(), name)
    if value is None:
        return "-"
    others = [f"{role} `{ports[name]}`" for role, ports in PORTS.items() if name in ports]
    return ", ".join([f"`{_text(value)}`", *others])


_HEAD = """\
# Settings

Made from `src/penstock/app/settings.py` by `penstock config --markdown`; a test holds it to the table. An option wins
over the environment, the environment over the default. `penstock config ROLE` prints what a role would run with,
without secrets; passwords in addresses are hidden.
"""
