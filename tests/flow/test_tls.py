"""TLS by settings, over HTTP and gRPC, with certificates made here: who has none, or the wrong one, gets nothing."""

from __future__ import annotations

import http.client
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from penstock.app.cli import main
from server import GONE, PenstockServer


@dataclass
class Certificates:
    """Files of one authority: its own certificate, a server's and a client's."""

    folder: Path

    def __post_init__(self) -> None:
        self.ca = self._signed_by_itself("ca", "/CN=Test authority")
        self.server = self._signed("server", "/CN=localhost", "subjectAltName=DNS:localhost,IP:127.0.0.1")
        self.client = self._signed("client", "/CN=A client", "extendedKeyUsage=clientAuth")

    def key(self, name: str) -> Path:
        return self.folder / f"{name}.key"

    def _openssl(self, *arguments: str | Path) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, cwd=self.folder)

    def _request(self, name: str, subject: str) -> list[str | Path]:
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        return ["req", *curve, "-keyout", self.key(name), "-subj", subject]

    def _signed_by_itself(self, name: str, subject: str) -> Path:
        certificate = self.folder / f"{name}.pem"
        self._openssl(*self._request(name, subject), "-x509", "-days", "2", "-out", certificate)
        return certificate

    def _signed(self, name: str, subject: str, extension: str) -> Path:
        certificate, asked = self.folder / f"{name}.pem", self.folder / f"{name}.csr"
        self._openssl(*self._request(name, subject), "-out", asked)
        (self.folder / "extensions").write_text(extension)
        by_authority: list[str | Path] = ["-CA", self.ca, "-CAkey", self.key("ca"), "-CAcreateserial", "-days", "2"]
        self._openssl("x509", "-req", "-in", asked, *by_authority, "-extfile", "extensions", "-out", certificate)
        return certificate


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


class TlsServer(PenstockServer):
    """`penstock up` with TLS; `is_mutual` asks clients for a certificate of the same authority."""

    def __init__(self, data_dir: Path, made: Certificates, is_mutual: bool) -> None:
        settings = {"PENSTOCK_TLS_CERT": str(made.server), "PENSTOCK_TLS_KEY": str(made.key("server"))}
        super().__init__(data_dir, env=settings | ({"PENSTOCK_TLS_CA": str(made.ca)} if is_mutual else {}))
        self.made = made

    def _is_ready(self) -> bool:
        try:
            return self.https("/readyz", self.context()) == 200
        except GONE:
            return False

    def context(self, *, has_certificate: bool = True, trusts: bool = True) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.made.ca if trusts else None)
        if has_certificate:
            context.load_cert_chain(self.made.client, self.made.key("client"))
        return context

    def https(self, path: str, context: ssl.SSLContext) -> int:
        connection = http.client.HTTPSConnection("localhost", self.port, timeout=10, context=context)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        finally:
            connection.close()

    def grpc_is_serving(self, *, has_certificate: bool) -> bool:
        identity = {}
        if has_certificate:
            key, chain = self.made.key("client").read_bytes(), self.made.client.read_bytes()
            identity = {"private_key": key, "certificate_chain": chain}
        credentials = grpc.ssl_channel_credentials(self.made.ca.read_bytes(), **identity)
        with grpc.secure_channel(f"localhost:{self.grpc_port}", credentials) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@pytest.fixture(scope="module", params=[False, True], ids=["one-way", "mutual"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, made: Certificates
) -> Iterator[TlsServer]:
    with TlsServer(tmp_path_factory.mktemp("tls") / "data", made, request.param) as server:
        yield server
        server.stop()


def is_mutual(server: TlsServer) -> bool:
    return "PENSTOCK_TLS_CA" in server._env


def test_http_and_grpc_are_served_with_the_certificate(server: TlsServer) -> None:
    assert server.https("/healthz", server.context()) == 200
    assert server.grpc_is_serving(has_certificate=True)
    assert f"ready on https://127.0.0.1:{server.port}" in server.output_file.read_text()


def test_a_client_without_a_certificate_is_served_only_where_none_is_demanded(server: TlsServer) -> None:
    without = server.context(has_certificate=False)
    if not is_mutual(server):
        assert server.https("/healthz", without) == 200
        assert server.grpc_is_serving(has_certificate=False)
        return
    with pytest.raises(GONE):
        server.https("/healthz", without)
    with pytest.raises(grpc.RpcError):
        server.grpc_is_serving(has_certificate=False)


def test_a_client_that_does_not_know_the_authority_hangs_up(server: TlsServer) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        server.https("/healthz", server.context(trusts=False))


def test_plain_http_is_not_answered(server: TlsServer) -> None:
    with pytest.raises(GONE):
        server.raw.get("/healthz")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"cert": "server.pem"}, "given together"),
        ({"ca": "ca.pem"}, "tls_ca needs tls_cert"),
        ({"cert": "server.pem", "key": "client.key"}, "cannot be used"),
        ({"cert": "server.pem", "key": "nowhere.key"}, "cannot be used"),
    ],
)
def test_settings_that_do_not_fit_are_refused_at_the_start(
    made: Certificates, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: dict[str, str], why: str
) -> None:
    files = [text for name, file in options.items() for text in (f"--tls-{name}", str(made.folder / file))]

    code = main(["up", "--data-dir", str(tmp_path / "data"), "--http-port", "0", "--grpc-port", "0", *files])

    assert code in (1, 2)
    assert why in capsys.readouterr().out
    assert not (tmp_path / "data").exists()
