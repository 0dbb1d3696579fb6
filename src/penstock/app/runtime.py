"""Start, drain and stop: one process with any number of parts in it.

Ready means that requests are served, every partition is restored, and what the parts need is there (`health.py`).
SIGTERM stops taking, acknowledges what was taken, works it off, and exits 0.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
import uvloop
from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server

from penstock.app import allocators
from penstock.app.body import BodyReader
from penstock.app.common import Common
from penstock.app.config import Config
from penstock.app.forward import Forwarder
from penstock.app.health import Health
from penstock.app.listening import demand_free
from penstock.app.logs import tell_loop_error
from penstock.app.open_files import connections_max, raise_open_files_limit
from penstock.app.part import Chore, Part
from penstock.app.server import Authenticate, HttpApp
from penstock.app.telemetry import Telemetry
from penstock.app.tls import http_options
from penstock.gateway.budget import Budget
from penstock.gateway.ingest import Gateway
from penstock.kernel.clock import SystemClock
from penstock.kernel.ports.event_log import EventLog
from penstock.kernel.problems import Problem
from penstock.web.route import Request, Response, Route, Router, Scope

GIVE_BACK_INTERVAL_S = 10

logger = logging.getLogger(__name__)


class Assembly(msgspec.Struct, frozen=True):
    """A process, made and not yet running. Parts start in their order. `routes_elsewhere` are forwarded."""

    name: str
    parts: Sequence[Part]
    authenticate: Authenticate
    log: EventLog | None = None
    gateway: Gateway | None = None
    forwarder: Forwarder | None = None
    routes_elsewhere: Sequence[Route] = ()


Assemble = Callable[[Common], Awaitable[Assembly]]
Announce = Callable[[str], None]


def run(config: Config, assemble: Assemble, announce: Announce) -> None:
    """Run until SIGTERM or SIGINT. `announce` gets the lines that a person at the terminal should read."""
    raise_open_files_limit()
    allocators.settle()
    uvloop.run(_serve(config, assemble, announce))


async def _serve(config: Config, assemble: Assemble, announce: Announce) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(tell_loop_error)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    demand_free(config.host, config.http_port)
    tls = http_options(config)  # refused before a file is opened
    common = Common(config, loop, SystemClock(), Telemetry())
    starting = asyncio.create_task(_started(assemble, common, announce))
    await _either(stopping, [starting])
    if not starting.done():  # what it waits for is away, and nothing was taken yet
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        announce("stopped before it was started")
        return
    made = starting.result()
    health = Health([check for part in made.parts for check in part.checks()])
    app = _application(made, common, health)
    server = _server(config, app, tls)
    chores = [asyncio.create_task(_every(chore)) for part in made.parts for chore in part.chores()]
    chores.append(asyncio.create_task(_every(Chore(GIVE_BACK_INTERVAL_S, allocators.give_back))))
    vital = [asyncio.create_task(part.run()) for part in made.parts]
    serving = asyncio.create_task(server.serve())
    doors = [words for part in made.parts if (words := await part.open_doors())]
    await health.watch()
    health.phase = None
    announce(_where(config, made.name, doors, health.is_ready))
    for task in await _either(stopping, [*vital, serving]):
        task.result()
        raise RuntimeError("a part of the pipeline ended by itself")
    health.phase = "draining"
    announce("draining")
    await _end(vital)
    await _stop(made, server, serving, chores, app)
    await health.close()
    await _close(made)
    announce("stopped")


async def _started(assemble: Assemble, common: Common, announce: Announce) -> Assembly:
    made = await assemble(common)
    for part in made.parts:
        await part.start(announce)
    return made


def _application(made: Assembly, common: Common, health: Health) -> HttpApp:
    config, gateway = common.config, made.gateway
    own = [route for part in made.parts for route in part.routes()]
    router = Router([*own, *made.routes_elsewhere, *_own_routes(made, common.telemetry, health)])
    budget = Budget(config.ingest_queue_bytes_max) if gateway is None else gateway.budget
    bodies = BodyReader(budget, config.request_bytes_max, config.body_timeout_ms)
    return HttpApp(router, made.authenticate, bodies, common.telemetry, gateway, made.forwarder)


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


def _where(config: Config, name: str, doors: Sequence[str], is_ready: bool) -> str:
    scheme = "http" if config.tls_cert is None else "https"
    places = [f"on {scheme}://{config.host}:{config.http_port}", *doors]
    state = "is ready" if is_ready else "waits for what it needs (see /readyz)"
    return f"{name} {state} {' and '.join(places)} (data in {config.data_dir})"


async def _either(stopping: asyncio.Event, tasks: Sequence[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """Wait for a signal, or for a task that ends by itself; return those that did."""
    signalled = asyncio.create_task(stopping.wait())
    done, _ = await asyncio.wait([signalled, *tasks], return_when=asyncio.FIRST_COMPLETED)
    await _end([signalled])
    return set() if stopping.is_set() else done - {signalled}


async def _end(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _stop(
    made: Assembly, server: Any, serving: asyncio.Task[Any], chores: Sequence[asyncio.Task[None]], app: HttpApp
) -> None:
    for part in made.parts:
        await part.close_doors()
    server.signal_handler_interrupt()
    await serving
    app.close()
    for part in made.parts:
        await part.finish()
    await _end(chores)


async def _close(made: Assembly) -> None:
    if made.log is not None:
        await made.log.close()
    await asyncio.get_running_loop().shutdown_default_executor()  # nothing is read any more
    for part in reversed(made.parts):
        part.close()


async def _every(chore: Chore) -> None:
    """Do a chore again and again, in a worker thread. Whatever fails is told, once, and waits for the next time."""
    told: str | None = None
    while True:
        try:
            await asyncio.to_thread(chore.run)
            told = None
        except Problem as exc:
            if told != str(exc):
                told = str(exc)
                logger.warning("%s: %s", chore.run.__qualname__, told)
        except Exception:
            logger.exception("%s failed", chore.run.__qualname__)
        await asyncio.sleep(chore.interval_s)


def _own_routes(made: Assembly, telemetry: Telemetry, health: Health) -> list[Route]:
    """Health and metrics, which every process has."""

    def healthz(_request: Request) -> object:
        return {"status": "ok"}

    def metrics(_request: Request) -> object:
        for part in made.parts:
            part.observe()
        return Response(telemetry.exposition(), content_type="text/plain; version=0.0.4; charset=utf-8")

    table = [("/healthz", healthz), ("/readyz", health.readyz), ("/metrics", metrics)]
    return [Route("GET", path, Scope.OPEN, handler, "app") for path, handler in table]
