"""`penstock clickhouse-dev`: a ClickHouse for a machine without Docker, until SIGTERM. For development and tests."""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import uvloop
from granian.constants import Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server

from penstock.app.clickhouse_dev.engine import Engine
from penstock.app.clickhouse_dev.front import Front
from penstock.kernel.problems import Refused

PORT = 8123
DONE, REFUSED = 0, 1


def add_clickhouse_dev_command(commands: Any) -> None:
    """Add `clickhouse-dev` to an argument parser's sub-commands."""
    parser = commands.add_parser(
        "clickhouse-dev",
        help="serve ClickHouse's HTTP interface over the engine in process, for development",
        description="ClickHouse's HTTP interface over chDB, for development and tests on a machine without Docker. "
        "Anyone who reaches the port may do anything: leave it on loopback. SIGTERM or Ctrl-C stops it. Exit code 0 "
        "after a clean stop, 1 where the folder or the port is in use, 2 for a wrong option.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on, default 127.0.0.1")
    parser.add_argument("--port", type=int, default=PORT, metavar="N", help=f"port to listen on, default {PORT}")
    parser.add_argument("--data-dir", type=Path, required=True, metavar="DIR", help="the folder that holds everything")


def clickhouse_dev(given: argparse.Namespace) -> int:
    """Run the command until it is stopped and return its exit code."""
    try:
        _demand_free(given.host, given.port)
        with closing(Engine(given.data_dir)) as engine:
            uvloop.run(_serve(engine, given))
    except (Refused, OSError, RuntimeError) as exc:
        sys.stderr.write(f"penstock clickhouse-dev: {exc}\n")
        return REFUSED
    return DONE


def _demand_free(host: str, port: int) -> None:
    """Raise `OSError` where the port is taken: Granian would share it, and each server get half of the requests."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port in TIME_WAIT is free
        probe.bind((host, port))


async def _serve(engine: Engine, given: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    front = Front(engine)
    server: Any = Server(
        front,
        address=given.host,
        port=given.port,
        interface=Interfaces.RSGI,
        websockets=False,
        log_level=LogLevels.error,
        # A clickhouse-connect client sends settings and parameters in the URL.
        http1_settings=HTTP1Settings(max_buffer_size=1024 * 1024, header_read_timeout=10_000),
    )
    serving = asyncio.create_task(server.serve())
    stopped = asyncio.create_task(stopping.wait())
    _say(f"clickhouse-dev {engine.version} is at clickhouse://{given.host}:{given.port} (data in {given.data_dir})")
    _say("Ctrl-C or SIGTERM stops it")
    await asyncio.wait([serving, stopped], return_when=asyncio.FIRST_COMPLETED)
    server.signal_handler_interrupt()
    await serving
    stopped.cancel()
    await asyncio.to_thread(front.close)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
