"""The gateway in a process: ingest over HTTP and gRPC, the keys, and the log that they share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import grpc

from penstock.app.adapters import SQLITE, Tables
from penstock.app.common import Common
from penstock.app.config import Config
from penstock.app.followed_keys import KEY_BOOK, REFRESH_EVERY_S, CatalogKeys, FollowedKeys
from penstock.app.health import Check
from penstock.app.measured_log import MeasuredLog
from penstock.app.part import Chore, Part
from penstock.app.route_table import gateway_routes
from penstock.app.services import MEMORY
from penstock.app.tls import grpc_credentials
from penstock.gateway.coalescer import CoalescerSettings, Room, room_always
from penstock.gateway.grpc_server import GrpcServer, GrpcSettings
from penstock.gateway.ingest import Gateway, GatewaySettings
from penstock.gateway.keys import Keys
from penstock.gateway.loops import LOOPS
from penstock.gateway.rate_limit import RateLimits
from penstock.kernel.ports.catalog import Catalog
from penstock.kernel.ports.siblings import OpenLayers
from penstock.rpc.server import Served
from penstock.web.route import Principal, Route


class GatewayPart(Part):
    """`log` is the process's; the part neither opens nor closes it."""

    def __init__(
        self,
        common: Common,
        tables: Tables,
        catalog: Catalog,
        log: MeasuredLog,
        layers: OpenLayers,
        room: Room = room_always,
    ) -> None:
        config = self._config = common.config
        self._telemetry, self._tables = common.telemetry, tables
        self._grpc_tls: grpc.ServerCredentials | None = grpc_credentials(config)
        self._key_book = CatalogKeys(catalog)
        self.keys = Keys(catalog, common.clock)
        # A file is read when a request needs it. A server may be slow or away, and requests must not wait for that.
        self._followed = (
            None if config.tables == SQLITE else FollowedKeys(self._key_book, common.clock, config.key_age_ms_max)
        )
        self.gateway = Gateway(log, common.clock, gateway_settings(config), common.telemetry, room, layers)
        self._grpc = GrpcServer(self.gateway, self._authenticate, GrpcSettings(drain_ms_max=config.grpc_drain_ms_max))

    @classmethod
    async def open(
        cls, common: Common, log: MeasuredLog, layers: OpenLayers, room: Room = room_always
    ) -> GatewayPart:
        tables = Tables(common.config, "gateway")
        return cls(common, tables, await tables.catalog(), log, layers, room)

    async def authenticate(self, header: str | None) -> Principal:
        """Who presents this header. Never waits for more than a look for a key that is not known."""
        if self._followed is None:
            return self.keys.authenticate(header)
        return await self._followed.authenticate_anew(header)

    def _authenticate(self, header: str | None) -> Principal:
        return (self._followed or self.keys).authenticate(header)

    def routes(self) -> Sequence[Route]:
        return gateway_routes(self.keys)

    def served(self) -> Sequence[Served]:
        return [(KEY_BOOK, self._key_book), (MEMORY, self.gateway.memory)]

    def checks(self) -> Sequence[Check]:
        # The tables are told and not needed while the keys are known: events go on being taken.
        if self._followed is None:
            return []
        return [Check("keys", self._followed.look), Check("gateway tables", self._tables.look, is_needed=False)]

    def chores(self) -> Sequence[Chore]:
        return [] if self._followed is None else [Chore(REFRESH_EVERY_S, self._followed.refresh)]

    def observe(self) -> None:
        self._telemetry.queue_bytes.set(self.gateway.budget.held_bytes)

    async def start(self, announce: Callable[[str], None]) -> None:
        made = await asyncio.to_thread(self.keys.bootstrap, self._config.bootstrap_api_key)
        if made is not None:
            announce(f"API key (shown this once): {made}")
        if self._followed is not None:
            await asyncio.to_thread(self._followed.refresh)
        if self._config.compile_after_bytes:
            LOOPS.load_after(self._config.compile_after_bytes)
        else:  # before the doors open: beside traffic it holds everyone up for a second
            await asyncio.to_thread(LOOPS.load)
        await self.gateway.start()

    async def open_doors(self) -> str:
        port = await self._grpc.start(self._config.host, self._config.grpc_port, self._grpc_tls)
        return f"for gRPC on port {port}"

    async def close_doors(self) -> None:
        await self._grpc.drain()
        await self.gateway.drain()

    def close(self) -> None:
        self._tables.close()


def gateway_settings(config: Config) -> GatewaySettings:
    return GatewaySettings(
        request_bytes_max=config.request_bytes_max,
        request_events_max=config.request_events_max,
        arrow_events_max=config.arrow_events_max,
        window_ids_max=config.dedupe_ids_max,
        tick_interval_ms=config.tick_interval_ms,
        coalescer=CoalescerSettings(
            linger_ms=config.ingest_linger_ms,
            queue_bytes_max=config.ingest_queue_bytes_max,
            properties_bytes_max=config.event_properties_bytes_max,
        ),
        tenant=RateLimits(config.tenant_events_per_s_max, config.tenant_bytes_per_s_max),
    )
