"""Who may call whom: a shared secret in every call's metadata, or certificates on both sides, or both."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Sequence

import grpc
import msgspec

HEADER = "authorization"
SECRET_CHARS_MIN = 16
Metadata = tuple[tuple[str, str | bytes], ...]


class Certificates(msgspec.Struct, frozen=True):
    """PEM bytes: this process's certificate chain and key, and the authority of every sibling's."""

    certificate: bytes
    key: bytes
    authority: bytes

    def __repr__(self) -> str:
        return "Certificates()"  # never the key


class Trust(msgspec.Struct, frozen=True):
    """At least one of the two is given: a call reads what belongs to any tenant."""

    secret: str | None = None
    certificates: Certificates | None = None

    def __post_init__(self) -> None:
        if self.secret is None and self.certificates is None:
            raise ValueError("services call each other only with a shared secret or with certificates")
        if self.secret is not None and len(self.secret) < SECRET_CHARS_MIN:
            raise ValueError(f"the secret between services needs at least {SECRET_CHARS_MIN} characters")

    def __repr__(self) -> str:
        return "Trust()"  # never the secret

    def shown(self) -> Metadata:
        """The metadata by which a caller shows who it is."""
        return () if self.secret is None else ((HEADER, f"Bearer {self.secret}"),)

    def admits(self, metadata: Iterable[tuple[str, str | bytes]] | None) -> bool:
        """Whether a call with this metadata may be answered. Secrets are compared in constant time."""
        if self.secret is None:
            return True  # the connection had a certificate, or there would be none
        given = dict(metadata or ()).get(HEADER, "")
        return hmac.compare_digest(str(given).encode(), f"Bearer {self.secret}".encode())

    def channel(self, address: str, options: Sequence[tuple[str, object]]) -> grpc.Channel:
        held = self.certificates
        if held is None:
            return grpc.insecure_channel(address, options)
        credentials = grpc.ssl_channel_credentials(held.authority, held.key, held.certificate)
        return grpc.secure_channel(address, credentials, options)

    def listen(self, server: grpc.Server, address: str) -> int:
        """Add the port; return it. Raise `RuntimeError` where it cannot be had."""
        held = self.certificates
        if held is None:
            return server.add_insecure_port(address)
        credentials = grpc.ssl_server_credentials([(held.key, held.certificate)], held.authority, True)
        return server.add_secure_port(address, credentials)
