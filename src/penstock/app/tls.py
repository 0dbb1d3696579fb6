"""TLS by settings: for HTTP and gRPC alike, and between services, where both sides show a certificate."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import grpc

from penstock.app.config import Config
from penstock.kernel.problems import Refused
from penstock.rpc.trust import Certificates


class BadCertificate(Refused):
    """The files of the TLS settings are not a certificate and its key. Refused: the alternative is no encryption."""


def http_options(config: Config) -> dict[str, Any]:
    """What Granian's server takes; nothing where TLS is off. Raise `BadCertificate`."""
    files = _checked(config.tls_cert, config.tls_key, config.tls_ca)
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
    files = _checked(config.tls_cert, config.tls_key, config.tls_ca)
    if files is None:
        return None
    certificate, key = files
    return grpc.ssl_server_credentials(
        [(key.read_bytes(), certificate.read_bytes())],
        root_certificates=None if config.tls_ca is None else config.tls_ca.read_bytes(),
        require_client_auth=config.tls_ca is not None,
    )


def rpc_certificates(config: Config) -> Certificates | None:
    """By what services know each other; None where a secret is all. Raise `BadCertificate`."""
    files = _checked(config.rpc_cert, config.rpc_key, config.rpc_ca)
    if files is None or config.rpc_ca is None:
        return None
    certificate, key = files
    return Certificates(certificate.read_bytes(), key.read_bytes(), config.rpc_ca.read_bytes())


def _checked(certificate: Path | None, key: Path | None, authority: Path | None) -> tuple[Path, Path] | None:
    """The certificate and the key, which fit each other."""
    if certificate is None or key is None:
        return None
    try:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority)
        context.load_cert_chain(certificate, key)
    except OSError as exc:  # ssl.SSLError is one
        raise BadCertificate(f"a certificate, its key or its authority cannot be used: {exc}") from exc
    return certificate, key
