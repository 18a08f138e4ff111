"""An account with its people, and a host that takes webhooks over TLS."""

from __future__ import annotations

import ssl
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from onboarding.models import Person
from tests.engine.conftest import account  # noqa: F401
from tests.pages.conftest import admin, analyst, approver, as_, other_account, outsider, text_of  # noqa: F401


@pytest.fixture
def root(db) -> Person:
    return Person.objects.create_user("root", name="Ro Root", email="root@example.com", is_superuser=True)


class _Taker(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, dict(self.headers), body))
        self.send_response(self.server.answers.pop(0) if self.server.answers else 204)
        self.send_header("Location", "https://elsewhere.example/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args) -> None:
        pass


def _certificate(folder):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "host.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    return _certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def hook(certificate, settings, monkeypatch):
    """A host that webhooks may go to: `got` is what it was sent, `answers` the statuses that it gives first."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Taker)
    server.got, server.answers, server.daemon_threads = [], [], True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.address = f"https://localhost:{server.server_address[1]}/in?secret=SECRETPATH"
    settings.WEBHOOK_HOSTS = [f"localhost:{server.server_address[1]}"]
    settings.WEBHOOK_PRIVATE = True
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    yield server
    server.shutdown()
    server.server_close()
