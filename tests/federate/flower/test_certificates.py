"""Certificates and keys: each is what TLS and Flower's authentication of nodes want."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import stat
from pathlib import Path

import pytest

pytest.importorskip("cryptography")

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tacit.core.errors import InputError
from tacit.federate.flower.certificates import main, write_keys


def test_the_servers_certificate_is_signed_by_the_authority_and_names_its_hosts(tmp_path: Path) -> None:
    write_keys(tmp_path / "keys", ["127.0.0.1", "link.example.org"], 0, days=30)
    authority, server = (x509.load_pem_x509_certificate((tmp_path / "keys" / name).read_bytes()) for name in ("ca.crt", "server.pem"))
    server.verify_directly_issued_by(authority)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address("127.0.0.1")]
    assert names.get_values_for_type(x509.DNSName) == ["link.example.org"]
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not server.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert server.not_valid_after_utc - server.not_valid_before_utc == datetime.timedelta(days=30)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tmp_path / "keys" / "server.pem", tmp_path / "keys" / "server.key")


def test_each_node_has_a_pair_of_its_own_that_only_its_owner_can_read(tmp_path: Path) -> None:
    paths = write_keys(tmp_path / "keys", ["localhost"], 2)
    private = [serialization.load_ssh_private_key((tmp_path / "keys" / f"node-{number}").read_bytes(), None) for number in range(2)]
    public = [serialization.load_ssh_public_key((tmp_path / "keys" / f"node-{number}.pub").read_bytes()) for number in range(2)]
    assert [key.public_key() == other for key, other in zip(private, public, strict=True)] == [True, True]
    assert public[0] != public[1]
    assert all(isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP384R1) for key in public)
    secret = [path for path in paths if path.suffix == ".key" or path.suffix == ""]
    assert len(secret) == 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in secret} == {0o600}


def test_keys_are_never_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "keys"), "--nodes", "1"]) == 0
    before = (tmp_path / "keys" / "ca.key").read_bytes()
    assert main([str(tmp_path / "keys")]) == 2
    assert "holds keys already" in capsys.readouterr().out
    assert (tmp_path / "keys" / "ca.key").read_bytes() == before
    with pytest.raises(InputError, match="expected a host or several"):
        write_keys(tmp_path / "other", [], 1)
