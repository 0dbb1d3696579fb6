"""Ports of this process, served to its siblings: who calls is checked, then the method runs in a worker thread."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import partial
from typing import Any

import grpc
import msgspec

from penstock.kernel.problems import Problem
from penstock.rpc.call import REQUEST_ID_HEADER, wanted_within
from penstock.rpc.client import MESSAGE_BYTES_MAX, PULSE
from penstock.rpc.port import Method, Service
from penstock.rpc.reply import encode_problem, encode_result
from penstock.rpc.trust import Trust

WORKER_THREADS = 8
CALLS_MAX = 64
# A port with what answers it here.
Served = tuple[Service[Any], object]

logger = logging.getLogger(__name__)


class RpcServer:
    """One server on one port, for the siblings of the service `name`. `start`, then `stop`."""

    def __init__(self, name: str, served: Sequence[Served], trust: Trust, request_id: ContextVar[str | None]) -> None:
        self._name, self._trust, self._request_id = name, trust, request_id
        self._threads = ThreadPoolExecutor(WORKER_THREADS, thread_name_prefix="rpc")
        self._server = grpc.server(
            self._threads,
            maximum_concurrent_rpcs=CALLS_MAX,
            options=[
                ("grpc.so_reuseport", 0),  # a port that another process serves is an error, not half of the calls
                ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
                ("grpc.keepalive_permit_without_calls", 1),
            ],
        )
        for service, target in [*served, (PULSE, self)]:
            handlers = {m.name: self._handler(m, getattr(target, m.name)) for m in service.methods}
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.name, handlers),))

    def ping(self) -> str:
        """Answers `Pulse`."""
        return self._name

    def start(self, host: str, port: int) -> int:
        """Serve on `port`, any free one for 0; return it. Raise `OSError` where it cannot be had."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            port = self._trust.listen(self._server, address)
        except RuntimeError as exc:
            raise OSError(f"cannot listen on {address} for calls of siblings: {exc}") from exc
        self._server.start()
        return port

    def stop(self, within_s: float) -> None:
        """Take no more calls, and answer those under way. Idempotent."""
        self._server.stop(within_s).wait()
        self._threads.shutdown()

    def _handler(self, method: Method, target: Callable[..., Any]) -> grpc.RpcMethodHandler[bytes, bytes]:
        return grpc.unary_unary_rpc_method_handler(partial(self._answer, method, target))

    def _answer(self, method: Method, target: Callable[..., Any], body: bytes, context: grpc.ServicerContext) -> bytes:
        metadata = context.invocation_metadata()
        if not self._trust.admits(metadata):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "this service does not know the caller")
        given = dict(metadata or ()).get(REQUEST_ID_HEADER)
        token = self._request_id.set(given if isinstance(given, str) else None)
        try:
            arguments = method.decode_arguments(body)
            with wanted_within(context.time_remaining()):
                return encode_result(target(*arguments))
        except Problem as exc:
            return encode_problem(exc)
        except msgspec.DecodeError:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the call is that of another version")
        except Exception:
            logger.exception("a call of %s failed", method.name)
            return encode_problem(Problem("an internal error; the server's log has its cause"))
        finally:
            self._request_id.reset(token)
