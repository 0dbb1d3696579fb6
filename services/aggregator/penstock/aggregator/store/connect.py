"""How a usage store finds a ClickHouse server: clients of one URL, with time-outs and settings that do not forget.

`ClickHouseUsageStore(server("clickhouse://user:password@host:8123/penstock"))` is the store on a server.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import clickhouse_connect
import msgspec
from clickhouse_connect.driver.binding import quote_identifier

DEFAULT_DATABASE = "default"
CONNECT_TIMEOUT_S = 5
ANSWER_TIMEOUT_S = 30
# In process and on a server: a reader of one page must not take the memory of all.
SETTINGS: dict[str, Any] = {"max_threads": 2, "max_insert_threads": 1, "max_memory_usage": 2 * 2**30}
_PORTS = {False: 8123, True: 8443}
_SECURE_OF = {"clickhouse": False, "http": False, "clickhouses": True, "https": True}


class Address(msgspec.Struct, frozen=True):
    """Where a server is and as whom to speak to it. Shown without its password."""

    host: str
    port: int
    secure: bool
    username: str
    password: str
    database: str

    def __repr__(self) -> str:
        scheme = "https" if self.secure else "http"
        return f"{scheme}://{self.username}@{self.host}:{self.port}/{self.database}"


def parse_address(url: str) -> Address:
    """Read `clickhouse://user:password@host:port/database`, `http://...` or `https://...`; `?secure=true` is TLS too.

    Raise `ValueError` saying what is wrong, without the password.
    """
    parts = urlsplit(url)
    if parts.scheme not in _SECURE_OF or not parts.hostname:
        raise ValueError("a ClickHouse URL is clickhouse://user:password@host:port/database, http:// or https://")
    asked = parse_qs(parts.query)
    unknown = sorted(asked.keys() - {"secure"})
    if unknown:
        raise ValueError(f"a ClickHouse URL takes ?secure=true, not {', '.join(unknown)}")
    secure = _SECURE_OF[parts.scheme] or asked.get("secure", ["false"])[-1].lower() in ("1", "true")
    return Address(
        parts.hostname,
        parts.port or _PORTS[secure],
        secure,
        unquote(parts.username or "default"),
        unquote(parts.password or ""),
        unquote(parts.path.strip("/")) or DEFAULT_DATABASE,
    )


def server(
    url: str,
    database: str | None = None,
    *,
    is_replicated: bool = False,
    compress: bool = True,
    answer_timeout_s: int = ANSWER_TIMEOUT_S,
) -> Callable[[], Any]:
    """What opens one client of the server at `url`, for `ClickHouseUsageStore`. `database` stands before the URL's.

    The database is made where it is absent, before the first client. `is_replicated` makes an insert wait for most
    replicas and a read see every such insert. What is not answered in `answer_timeout_s` raises the driver's error;
    its outcome is unknown. Raise `ValueError` for what is no such URL.
    """
    address = parse_address(url)
    name = database or address.database
    settings = SETTINGS | (_replicated(answer_timeout_s) if is_replicated else {})
    made = name == DEFAULT_DATABASE

    def client(within: str) -> Any:
        return clickhouse_connect.get_client(
            host=address.host,
            port=address.port,
            secure=address.secure,
            username=address.username,
            password=address.password,
            database=within,
            settings=settings,
            compress=compress,
            connect_timeout=CONNECT_TIMEOUT_S,
            send_receive_timeout=answer_timeout_s,
            # A session would let one statement at a time through, and an interrupted one would hold it.
            autogenerate_session_id=False,
        )

    def connect() -> Any:
        nonlocal made
        if not made:
            with client(DEFAULT_DATABASE) as first:
                first.command(f"CREATE DATABASE IF NOT EXISTS {quote_identifier(name)}")
            made = True
        return client(name)

    return connect


def _replicated(answer_timeout_s: int) -> dict[str, Any]:
    """A marker on one replica must not outlive cells on another: CORE.md, hole 10."""
    return {
        "insert_quorum": "auto",
        "insert_quorum_parallel": 0,  # sequential reads need it so
        "insert_quorum_timeout": answer_timeout_s * 1000,
        "select_sequential_consistency": 1,
    }
