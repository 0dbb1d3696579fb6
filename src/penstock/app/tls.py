"""TLS by settings, for HTTP and gRPC alike: a certificate and its key, and an authority for client certificates."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import grpc

from penstock.app.config import Config
from penstock.kernel.problems import Refused


class BadCertificate(Refused):
    """The files of the TLS settings are not a certificate and its key. Refused: the alternative is no encryption."""


def http_options(config: Config) -> dict[str, Any]:
    """What Granian's server takes; nothing where TLS is off. Raise `BadCertificate`."""
    files = _checked(config)
    if files is None:
        return {}
    certificate, key = files
    return {
        "ssl_cert": certificate,
        "ssl_key": key,
        "ssl_ca": config.tls_ca,
        "ssl_client_verify": config.tls_ca is not None,
    }


def grpc_credentials(config: Config) -> grpc.ServerCredentials | None:
    """What a secure gRPC port takes; None where TLS is off. Raise `BadCertificate`."""
    files = _checked(config)
    if files is None:
        return None
    certificate, key = files
    return grpc.ssl_server_credentials(
        [(key.read_bytes(), certificate.read_bytes())],
        root_certificates=None if config.tls_ca is None else config.tls_ca.read_bytes(),
        require_client_auth=config.tls_ca is not None,
    )


def _checked(config: Config) -> tuple[Path, Path] | None:
    """The certificate and the key, which fit each other."""
    if config.tls_cert is None or config.tls_key is None:
        return None
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=config.tls_ca)
        context.load_cert_chain(config.tls_cert, config.tls_key)
    except OSError as exc:  # ssl.SSLError is one
        raise BadCertificate(f"tls_cert, tls_key or tls_ca cannot be used: {exc}") from exc
    return config.tls_cert, config.tls_key
