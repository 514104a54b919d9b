"""TLS, client certificates and tokens over TCP."""

from __future__ import annotations

import ipaddress
from datetime import datetime, timedelta, timezone
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fake import FakeManager

import lakekeep
from lakekeep import errors


class Authority:
    """Makes certificates in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self.file = folder / "ca.pem"
        self.file.write_bytes(self._signed(self._name, self._key.public_key(), ca=True))

    def _signed(self, name: x509.Name, key: ec.EllipticCurvePublicKey, ca: bool) -> bytes:
        now = datetime.now(timezone.utc)
        alternatives = [
            x509.DNSName("manager.test"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        ]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)

    def issue(self, name: str) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate, secret = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        certificate.write_bytes(self._signed(subject, key.public_key(), ca=False))
        secret.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return certificate, secret


def serve(manager: FakeManager, authority: Authority, mutual: bool) -> str:
    manager.stop()
    certificate, key = authority.issue("manager")
    credentials = grpc.ssl_server_credentials(
        [(key.read_bytes(), certificate.read_bytes())],
        authority.file.read_bytes() if mutual else None,
        require_client_auth=mutual,
    )
    return f"https://127.0.0.1:{manager.start(credentials)}"


def test_a_client_certificate_says_who_calls(manager: FakeManager, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    target = serve(manager, authority, mutual=True)
    certificate, key = authority.issue("carol")
    with lakekeep.connect(
        target, ca_file=authority.file, client_certificate=certificate, client_key=key
    ) as client:
        me = client.accounts.whoami()
        assert (me.user, me.authenticated_by) == ("carol", "mtls")
        assert client.sandboxes.create().run(["echo", "x"], text=True).stdout == "x\n"
    with pytest.raises(errors.Unreachable):
        lakekeep.connect(target, ca_file=authority.file)


def test_a_token_over_tls(manager: FakeManager, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    target = serve(manager, authority, mutual=False)
    token = tmp_path / "token"
    token.write_text("dave\n")
    with lakekeep.connect(
        target, ca_file=authority.file, token=token, server_name="manager.test"
    ) as client:
        assert client.accounts.whoami().user == "dave"


def test_a_manager_of_another_authority_is_refused(manager: FakeManager, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    target = serve(manager, Authority(tmp_path), mutual=False)
    other = Authority(tmp_path / "other")
    with pytest.raises(errors.Unreachable, match=r"(?i)certificate"):
        lakekeep.connect(target, ca_file=other.file, token="s3cret")
    with pytest.raises(errors.Unreachable):
        lakekeep.connect(target, ca_file=tmp_path / "ca.pem", server_name="other.test")
    assert manager.calls == []
