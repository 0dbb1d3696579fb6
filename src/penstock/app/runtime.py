"""Start, drain and stop: one process with the whole pipeline in it.

Ready means that requests are served and every partition is restored. SIGTERM stops taking, acknowledges what was taken,
folds it, and exits 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable
from typing import Any

import uvloop
from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server

from penstock.app import allocators
from penstock.app.config import Config
from penstock.app.logs import tell_loop_error
from penstock.app.open_files import connections_max, raise_open_files_limit
from penstock.app.server import HttpApp
from penstock.app.tls import grpc_credentials, http_options
from penstock.app.wiring import Penstock
from penstock.gateway.grpc_server import GrpcServer, GrpcSettings
from penstock.kernel.problems import Problem
from penstock.web.route import Request, Response, Route, Router, Scope

PENDING_INTERVAL_S = 5
GIVE_BACK_INTERVAL_S = 10

logger = logging.getLogger(__name__)


def run(config: Config, announce: Callable[[str], None]) -> None:
    """Run until SIGTERM or SIGINT. `announce` gets the lines that a person at the terminal should read."""
    raise_open_files_limit()
    allocators.settle()
    uvloop.run(_serve(config, announce))


async def _serve(config: Config, announce: Callable[[str], None]) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(tell_loop_error)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    tls, grpc_tls = http_options(config), grpc_credentials(config)  # refused before a file is opened
    parts = await asyncio.to_thread(Penstock, config, loop)
    made = await asyncio.to_thread(parts.keys.bootstrap, config.bootstrap_api_key)
    if made is not None:
        announce(f"API key (shown this once): {made}")
    await parts.gateway.start()
    for owner in parts.owners:
        await owner.restore()
    folding = [asyncio.create_task(owner.run()) for owner in parts.owners]
    await asyncio.to_thread(parts.contracts.recover)
    chores = [
        asyncio.create_task(_every(config.finalize_interval_ms / 1000, parts.contracts.finalize_due)),
        asyncio.create_task(_every(PENDING_INTERVAL_S, parts.metrics.send_pending)),
        asyncio.create_task(_every(GIVE_BACK_INTERVAL_S, allocators.give_back)),
    ]
    if config.audit_interval_ms:
        chores.append(asyncio.create_task(_every(config.audit_interval_ms / 1000, parts.audit)))
    ready = asyncio.Event()
    router = Router([*parts.routes(), *_own_routes(parts, ready)])
    app = HttpApp(parts.gateway, router, parts.keys.authenticate, parts.telemetry, config.body_timeout_ms)
    server = _server(config, app, tls)
    serving = asyncio.create_task(server.serve())
    grpc = GrpcServer(parts.gateway, parts.keys.authenticate, GrpcSettings(drain_ms_max=config.grpc_drain_ms_max))
    grpc_port = await grpc.start(config.host, config.grpc_port, grpc_tls)
    ready.set()
    scheme = "http" if config.tls_cert is None else "https"
    announce(
        f"Penstock is ready on {scheme}://{config.host}:{config.http_port} and for gRPC on port {grpc_port}"
        f" (data in {config.data_dir})"
    )
    await _until_stopped(stopping, [*folding, serving])
    ready.clear()
    announce("draining")
    await grpc.drain()
    await _stop(parts, server, serving, folding, chores, app)
    announce("stopped")


def _server(config: Config, app: HttpApp, tls: dict[str, Any]) -> Any:
    return Server(
        app,
        **tls,
        address=config.host,
        port=config.http_port,
        interface=Interfaces.RSGI,
        websockets=False,
        log_level=LogLevels.error,
        backlog=1024,
        backpressure=connections_max(),  # despite its name these are connections, idle ones too
        http1_settings=HTTP1Settings(max_buffer_size=1024 * 1024, header_read_timeout=10_000),
    )


async def _until_stopped(stopping: asyncio.Event, vital: list[asyncio.Task[Any]]) -> None:
    """Wait for a signal. A part that ends by itself has failed: its error ends the process."""
    signalled = asyncio.create_task(stopping.wait())
    done, _ = await asyncio.wait([signalled, *vital], return_when=asyncio.FIRST_COMPLETED)
    for task in done - {signalled}:
        task.result()
        raise RuntimeError("a part of the pipeline ended by itself")


async def _stop(
    parts: Penstock,
    server: Any,
    serving: asyncio.Task[Any],
    folding: list[asyncio.Task[None]],
    chores: list[asyncio.Task[None]],
    app: HttpApp,
) -> None:
    await parts.gateway.drain()
    server.signal_handler_interrupt()
    await serving
    app.close()
    for owner in parts.owners:
        owner.stop()
    await asyncio.gather(*folding)
    for task in chores:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await parts.log.close()
    await asyncio.to_thread(parts.close)


async def _every(interval_s: int | float, chore: Callable[[], object]) -> None:
    """Do a chore again and again, in a worker thread. Whatever fails is told and waits for the next time."""
    while True:
        try:
            await asyncio.to_thread(chore)
        except Problem as exc:
            logger.warning("%s: %s", chore.__qualname__, exc)
        except Exception:
            logger.exception("%s failed", chore.__qualname__)
        await asyncio.sleep(interval_s)


def _own_routes(parts: Penstock, ready: asyncio.Event) -> list[Route]:
    """Health, metrics, and how far the pipeline is."""

    def healthz(_request: Request) -> object:
        return {"status": "ok"}

    def readyz(_request: Request) -> object:
        return Response({"status": "ok" if ready.is_set() else "not ready"}, 200 if ready.is_set() else 503)

    def metrics(_request: Request) -> object:
        parts.observe()
        return Response(parts.telemetry.exposition(), content_type="text/plain; version=0.0.4; charset=utf-8")

    def pipeline(_request: Request) -> object:
        """How far each partition is folded; a receipt's offset at or below `folded` is visible in usage."""
        return {"data": [{"partition": o.partition, "folded": o.offset, "clock_us": o.clock_us} for o in parts.owners]}

    table: list[tuple[str, Scope, Callable[[Request], object]]] = [
        ("/healthz", Scope.OPEN, healthz),
        ("/readyz", Scope.OPEN, readyz),
        ("/metrics", Scope.OPEN, metrics),
        ("/v1/pipeline", Scope.READ, pipeline),
    ]
    return [Route("GET", path, scope, handler, "app") for path, scope, handler in table]


