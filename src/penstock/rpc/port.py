"""How a method of a port is called in another process: its arguments and its result as msgpack, by its annotations.

A port is a Protocol; what its methods take and return is said there and nowhere else. Decimals cross as their text and
instants as whole nanoseconds UTC, so nothing is lost. A struct crosses with the names of its fields: a process of
another version ignores what it does not know and takes the default for what is missing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from types import GenericAlias
from typing import Any, Generic, TypeVar, get_type_hints

import msgspec

T = TypeVar("T")


class Method:
    """One method of a port. Its arguments cross by position, in the order of its signature."""

    def __init__(self, function: Callable[..., Any], is_read: bool) -> None:
        self.name, self.is_read = function.__name__, is_read
        hints = get_type_hints(function)
        signature = inspect.signature(function)
        _, *parameters = signature.parameters.values()  # without self
        self._signature = signature.replace(parameters=parameters)
        self._is_spread = bool(parameters) and parameters[-1].kind is inspect.Parameter.VAR_POSITIONAL
        shapes: list[Any] = [hints[parameter.name] for parameter in parameters]
        if self._is_spread:
            shapes[-1] = GenericAlias(tuple, (shapes[-1], ...))
        self._arguments: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(GenericAlias(tuple, tuple(shapes)))
        self._result: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(hints["return"])

    def encode_arguments(self, *given: Any, **named: Any) -> bytes:
        """Raise `TypeError` where the call does not fit the signature."""
        bound = self._signature.bind(*given, **named)
        bound.apply_defaults()
        return msgspec.msgpack.encode(list(bound.arguments.values()))

    def decode_arguments(self, body: bytes) -> Sequence[Any]:
        """The positional arguments of the call. Raise `msgspec.ValidationError` for those of another version."""
        arguments: tuple[Any, ...] = self._arguments.decode(body)
        return (*arguments[:-1], *arguments[-1]) if self._is_spread else arguments

    def decode_result(self, body: bytes) -> Any:
        """Raise `msgspec.ValidationError` for the result of another version."""
        return self._result.decode(body)


class Service(Generic[T]):
    """A port that is called from other processes. `reads` are the methods that may be called again without harm."""

    def __init__(self, port: type[T], reads: Sequence[str]) -> None:
        functions = {name: f for name, f in vars(port).items() if inspect.isfunction(f) and not name.startswith("_")}
        assert set(reads) <= functions.keys(), "reads are methods of the port"
        self.name = f"penstock.internal.{port.__name__}"
        self.methods = tuple(Method(function, name in reads) for name, function in functions.items())

    def path_of(self, method: Method) -> str:
        """The method as gRPC names it."""
        return f"/{self.name}/{method.name}"
