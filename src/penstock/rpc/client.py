"""Calls to a sibling: a port's stand-in, with a deadline on each call, and reads tried again where nobody was there.

Only UNAVAILABLE is tried again: there was no connection, or it broke. And only a read: where a connection broke, the
call may have been answered.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Any, Protocol, TypeVar, cast

import grpc
import msgspec

from penstock.rpc.call import REQUEST_ID_HEADER, time_left_s
from penstock.rpc.port import Method, Service
from penstock.rpc.reply import ServiceUnavailable, decode_reply
from penstock.rpc.trust import Metadata, Trust

T = TypeVar("T")

ATTEMPTS_MAX = 3
BACKOFF_MS = 50  # at most so long before the second attempt, twice as long before the third
RETRY_AFTER_S = 2
MESSAGE_BYTES_MAX = 256 * 2**20
_OPTIONS: tuple[tuple[str, object], ...] = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.enable_http_proxy", 0),  # siblings are near; a proxy of the environment is for what is far
    # A name may stand for several processes: take turns, and come back soon to one that was away.
    ("grpc.lb_policy_name", "round_robin"),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A sibling that vanished without a word is noticed, and its connection made again.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
)


class Pulse(Protocol):
    """What every service answers: that it is there."""

    def ping(self) -> str:
        """The name of the service."""
        ...


PULSE = Service(Pulse, reads=["ping"])  # type: ignore[type-abstract]  # a port is abstract, its stand-in is not


class Sibling:
    """The connection to one service at `address`, host:port, made when it is first needed. Safe from any thread.

    `request_id` holds the id of the request that the calling thread works on. Every call may raise what the port says,
    and `ServiceUnavailable` where the sibling is away.
    """

    def __init__(
        self,
        name: str,
        address: str,
        trust: Trust,
        request_id: ContextVar[str | None],
        timeout_ms: int,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self.name, self._request_id, self._pause = name, request_id, pause
        self._trust, self._timeout_s = trust, timeout_ms / 1000
        self._channel = trust.channel(address, _OPTIONS)
        self._pulse = self.port(PULSE)

    def port(self, service: Service[T]) -> T:
        """What stands in for `service` here."""
        return cast(T, _StandIn(service, self._call))

    def ping(self) -> None:
        """Return where the sibling answers and is the one it should be. Raise `ServiceUnavailable`."""
        name = self._pulse.ping()
        if name != self.name:
            raise ServiceUnavailable(f"the address of the {self.name} is that of a {name}", retry_after_s=RETRY_AFTER_S)

    def close(self) -> None:
        self._channel.close()

    def _call(self, path: str, method: Method, *given: Any, **named: Any) -> Any:
        body = method.encode_arguments(*given, **named)
        send: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(path)
        attempts_left = ATTEMPTS_MAX if method.is_read else 1
        while True:
            attempts_left -= 1
            try:
                timeout_s = time_left_s(self._timeout_s)
                if timeout_s <= 0:
                    raise self._unavailable("not asked: the caller's time is up")
                return method.decode_result(decode_reply(send(body, timeout=timeout_s, metadata=self._metadata())))
            except grpc.RpcError as exc:
                code = exc.code()
                if code is not grpc.StatusCode.UNAVAILABLE or not attempts_left:
                    raise self._unavailable(code.name) from exc
            except msgspec.DecodeError as exc:
                raise self._unavailable("its answer is that of another version") from exc
            limit_s = BACKOFF_MS / 1000 * 2 ** (ATTEMPTS_MAX - 1 - attempts_left)
            self._pause(random.uniform(0, limit_s))  # many callers must not come back at once

    def _metadata(self) -> Metadata:
        request_id = self._request_id.get()
        return self._trust.shown() + (() if request_id is None else ((REQUEST_ID_HEADER, request_id),))

    def _unavailable(self, why: str) -> ServiceUnavailable:
        return ServiceUnavailable(f"the {self.name} did not answer: {why}", retry_after_s=RETRY_AFTER_S)


class _StandIn:
    """Has the methods of a port, each of which is a call."""

    def __init__(self, service: Service[Any], call: Callable[..., Any]) -> None:
        for method in service.methods:
            setattr(self, method.name, partial(call, service.path_of(method), method))
