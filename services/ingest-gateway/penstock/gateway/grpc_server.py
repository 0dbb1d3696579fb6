"""A gRPC server around `UsageApi`: limits, truthful health, reflection, and an end that loses no receipt."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import msgspec
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from penstock.gateway.grpc_api import SERVICE, UsageApi
from penstock.gateway.ingest import Gateway
from penstock.web.route import Principal

# From the last receipt to the closed connection: what is under way then is the end of a call, or a health watch.
LAST_WORDS_S = 1


class GrpcSettings(msgspec.Struct, frozen=True):
    """The limits of one server. A message may have as many bytes as a request of the gateway."""

    batches_in_flight_max: int = 8  # of one stream
    calls_max: int = 1_000
    connection_idle_ms_max: int = 600_000
    handshake_ms_max: int = 10_000  # for a client that connects and then says nothing
    drain_ms_max: int = 10_000


class GrpcServer:
    """One server on one port. `start` once the gateway is started; `drain` before the gateway drains."""

    def __init__(
        self,
        gateway: Gateway,
        authenticate: Callable[[str | None], Principal],
        settings: GrpcSettings = GrpcSettings(),  # noqa: B008  # frozen
    ) -> None:
        self._settings = settings
        self._api = UsageApi(gateway, authenticate, settings.batches_in_flight_max)
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(
            maximum_concurrent_rpcs=settings.calls_max,
            options=[
                ("grpc.max_receive_message_length", gateway.settings.request_bytes_max),
                ("grpc.so_reuseport", 0),  # a port that another process serves is an error, not half of the calls
                ("grpc.max_connection_idle_ms", settings.connection_idle_ms_max),
                ("grpc.server_handshake_timeout_ms", settings.handshake_ms_max),
                # A stream may be quiet for long: find out whether its client is still there, and let it ask too.
                ("grpc.keepalive_time_ms", 60_000),
                ("grpc.keepalive_timeout_ms", 20_000),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
            ],
        )
        self._server.add_generic_rpc_handlers((self._api.handler(),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server)

    async def start(self, host: str, port: int, credentials: grpc.ServerCredentials | None = None) -> int:
        """Serve on `port`, any free one for 0; return it. Raise `OSError` where it cannot be had."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if credentials is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, credentials)
        except RuntimeError as exc:
            raise OSError(f"cannot listen on {address} for gRPC: {exc}") from exc
        await self._server.start()
        await self._health.set(SERVICE, health_pb2.HealthCheckResponse.SERVING)
        return port

    async def drain(self) -> None:
        """Say NOT_SERVING, refuse new calls, answer the batches under way, close. The gateway must still be running."""
        await self._health.enter_graceful_shutdown()
        await self._api.drain(self._settings.drain_ms_max / 1_000)
        await self._server.stop(LAST_WORDS_S)
