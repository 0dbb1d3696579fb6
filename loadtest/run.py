"""One run from beginning to end: prepare, send, wait until usage shows it, compare with the truth, report."""

from __future__ import annotations

import asyncio
import gc
import importlib
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import uvloop
from loadtest.api import Api, Unexpected, Unreachable
from loadtest.drivers.base import Driver, Endpoint, Lost, NotServed, Refused
from loadtest.engine import Engine
from loadtest.freshness import LOOK_EVERY_S, Freshness, watch
from loadtest.machine import this_machine
from loadtest.options import Options
from loadtest.processes import uses
from loadtest.report import FORMAT, Percentiles, Report, processes, slopes, thinned
from loadtest.server import Server
from loadtest.subject import Subject, prepare
from loadtest.tally import Tally
from loadtest.terminal import Progress
from loadtest.traffic import Shape, Traffic
from loadtest.truth import Truth
from loadtest.verdict import Verdict, verify

SECOND_S = 1.0


def run(options: Options, api_key: str) -> Report:
    """Run against the target, or against a fresh server where there is none.

    Raise `Unreachable` or `Unexpected` where the run cannot even be prepared, `NotServed` where the server does not
    speak the protocol. Whatever goes wrong later is a problem in the report's verdict.
    """
    with _target(options, api_key) as (options, api_key):
        started_at = datetime.now(UTC)
        token = secrets.token_hex(4)  # in ids and customers: a second run of the same seed is new traffic
        assert options.target is not None
        endpoint = Endpoint(options.target, _grpc_target(options), api_key, options.compress)
        driver = driver_of(options.protocol, endpoint)
        with Api(options.target, api_key) as api:
            subject = prepare(api, token, options.customers, tuple(options.dimensions))
        traffic = Traffic(_shape(options), subject.keys, token, driver.encode)
        truth = Truth([template.events for template in traffic.templates])
        tally, freshness = Tally(), Freshness()
        engine = Engine(options, driver, traffic, truth, tally, freshness)
        before = uses(options.server_pids)
        problem = uvloop.run(_send(options, driver, endpoint, engine, tally, freshness))
        after = uses(options.server_pids)
        visible_s = time.perf_counter() - tally.began
        verdict = _verdict(options.target, api_key, subject, truth) if problem is None else _failed(problem)
        events = tally.counts.events
        return Report(
            format=FORMAT,
            started_at=started_at.isoformat(timespec="seconds"),
            options=options,
            machine=this_machine(),
            verdict=verdict,
            counts=tally.counts,
            acknowledged_per_s=int(events / max(tally.last_progress - tally.began, 0.001)),
            visible_per_s=int(events / visible_s),
            latency_us=Percentiles.of(tally.latency),
            freshness_us=Percentiles.of(freshness.waited),
            processes=processes(events, before, after, tally.points),
            slopes=slopes(tally.points),
            points=thinned(tally.points),
        )


def _verdict(target: str, api_key: str, subject: Subject, truth: Truth) -> Verdict:
    try:
        with Api(target, api_key) as api:
            return verify(api, subject, truth)
    except (Unreachable, Unexpected) as exc:
        return _failed(f"usage could not be asked: {exc}")


def _failed(problem: str) -> Verdict:
    return Verdict(False, 0, (problem,))


def driver_of(protocol: str, endpoint: Endpoint) -> Driver:
    """The protocol's driver. Each is a module of its own, loaded only where it is asked for."""
    module = importlib.import_module(f"loadtest.drivers.{protocol.replace('-', '_')}")
    driver: Driver = module.driver(endpoint)
    return driver


@contextmanager
def _target(options: Options, api_key: str) -> Iterator[tuple[Options, str]]:
    """The options with a target in them, and its key; a server that was started for them is stopped."""
    if options.target is not None:
        yield options, api_key
        return
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder) / "data", "--log-level", "ERROR") as server:
        yield (
            msgspec.structs.replace(
                options,
                target=f"http://127.0.0.1:{server.port}",
                grpc_target=f"127.0.0.1:{server.grpc_port}",
                server_pids={"server": server.pid},
            ),
            server.key,
        )


def _grpc_target(options: Options) -> str:
    """As given, else by convention the port after the HTTP one."""
    if options.grpc_target is not None:
        return options.grpc_target
    parts = urlsplit(options.target or "")
    return f"{parts.hostname}:{(parts.port or 80) + 1}"


def _shape(options: Options) -> Shape:
    return Shape(
        batch_events=options.batch,
        late=options.late,
        out_of_order=options.out_of_order,
        skew=options.skew,
        dimensions=options.dimensions,
        seed=options.seed,
    )


async def _send(
    options: Options, driver: Driver, endpoint: Endpoint, engine: Engine, tally: Tally, freshness: Freshness
) -> str | None:
    """Send everything and wait until usage shows it; return what went wrong, if anything did."""
    await _probe(options, driver)
    chores = [
        asyncio.create_task(watch(freshness, endpoint)),
        asyncio.create_task(_every_second(options, tally, freshness)),
    ]
    gc.collect()
    gc.freeze()  # the templates live as long as the run: no collection need look at them
    tally.start()
    try:
        await engine.run()
        return await _until_visible(options, freshness)
    except Refused as exc:
        if tally.counts.requests == 0:
            raise
        return f"the server refused a batch: {exc}"
    except Lost as exc:
        return str(exc)
    finally:
        gc.unfreeze()
        for chore in chores:
            chore.cancel()
        await asyncio.gather(*chores, return_exceptions=True)
        _close_second(options, tally, freshness)


async def _probe(options: Options, driver: Driver) -> None:
    """The control API has answered: where the protocol's own port does not, nobody serves it there."""
    try:
        await (await driver.connect()).close()
    except Lost as exc:
        raise NotServed(f"{options.protocol}: {exc}") from exc


async def _until_visible(options: Options, freshness: Freshness) -> str | None:
    freshness.last_progress = time.perf_counter()
    while not freshness.is_complete:
        await asyncio.sleep(LOOK_EVERY_S)
        if time.perf_counter() - freshness.last_progress > options.give_up_s:
            return f"usage fell {freshness.lag_records()} records behind and did not move for {options.give_up_s} s"
    return None


async def _every_second(options: Options, tally: Tally, freshness: Freshness) -> None:
    progress = Progress(sys.stderr, options.duration_s)
    try:
        while True:
            await asyncio.sleep(SECOND_S)
            _close_second(options, tally, freshness)
            progress.show(tally)
    finally:
        progress.end()


def _close_second(options: Options, tally: Tally, freshness: Freshness) -> None:
    lag_ms = freshness.lag_ms(time.perf_counter())
    tally.close_second(uses(options.server_pids), lag_ms, freshness.lag_records())
