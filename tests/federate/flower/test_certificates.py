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
from tacit.federate.flower.certificates import _new, main, write_keys


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


@pytest.mark.parametrize("left", ["ca.crt", "server.pem", "server.key", "node-0", "node-0.pub"])
def test_nothing_is_written_over_also_where_the_authoritys_key_was_taken_away(
    left: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = tmp_path / "keys"
    assert main([str(keys), "--nodes", "1"]) == 0
    for path in keys.iterdir():
        if path.name != left:
            path.unlink()
    before = (keys / left).read_bytes()
    assert main([str(keys), "--nodes", "1"]) == 2
    assert f"holds {left} already" in capsys.readouterr().out
    assert [path.name for path in keys.iterdir()] == [left]
    assert (keys / left).read_bytes() == before


def test_a_file_that_somebody_else_could_read_is_no_place_for_a_key(tmp_path: Path) -> None:
    path = tmp_path / "ca.key"
    path.touch(mode=0o644)
    with pytest.raises(FileExistsError):
        _new(path, b"secret", mode=0o600)
    (tmp_path / "server.key").symlink_to(tmp_path / "elsewhere")
    path.unlink()
    with pytest.raises(InputError, match=r"holds server.key already"):
        write_keys(tmp_path, ["localhost"], 0)
    assert not (tmp_path / "elsewhere").exists()


def test_hosts_and_numbers_are_checked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a host or several"):
        write_keys(tmp_path / "other", [], 1)
