"""Certificates and keys for a SuperLink and its nodes: what TLS and the authentication of nodes need, made by `cryptography` (with flwr).

`python -m tacit.federate.flower.certificates keys --host superlink.example.org --host 127.0.0.1 --nodes 4` writes

- ``ca.crt``, by which nodes and whoever starts runs know the SuperLink, and ``ca.key``, which signs, and which nobody else needs;
- ``server.pem`` and ``server.key``, of the SuperLink;
- ``node-0`` and ``node-0.pub``, ...: each node's private key, for that node alone, and its public key, which is registered.

``127.0.0.1`` is how the SuperLink's own processes reach it. A consortium with certificates of its own uses those. Better still, each site
makes its own pair (`--nodes 0` here, and there ``ssh-keygen -t ecdsa -b 384 -N '' -f node``) and sends the public key alone.
"""

from __future__ import annotations

import argparse
import datetime
import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tacit.core.errors import InputError, import_extra

__all__ = ["build_parser", "main", "write_keys"]

DAYS = 365
"""Days that certificates are valid, unless another number is asked for."""


def write_keys(folder: Path, hosts: Sequence[str], nodes: int, *, days: int = DAYS) -> list[Path]:
    """Write all files; return their paths. Private keys can be read by their owner alone.

    Args:
        folder: Where; must hold none of these files yet, also where some of them, as ``ca.key``, were taken to a safer place.
        hosts: Names and addresses by which the SuperLink is reached.
        nodes: How many pairs of keys for nodes are made.
        days: How long the certificates are valid.

    Raises:
        InputError: Where one of the files is there already, or no host is given.
    """
    x509 = import_extra("cryptography.x509", "federate", "making certificates")
    hashes = import_extra("cryptography.hazmat.primitives.hashes", "federate", "making certificates")
    curves = import_extra("cryptography.hazmat.primitives.asymmetric.ec", "federate", "making certificates")
    if not hosts or nodes < 0 or days < 1:
        raise InputError(f"certificates: expected a host or several, 0 or more nodes, 1 or more days, got {list(hosts)}, {nodes}, {days}")
    names = ["ca.key", "ca.crt", "server.key", "server.pem", *(f"node-{node}{end}" for node in range(nodes) for end in ("", ".pub"))]
    if there := [name for name in names if os.path.lexists(folder / name)]:
        raise InputError(f"{folder} holds {there[0]} already, and whoever has been given it would be shut out: choose another folder")
    begin = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=5)  # clocks differ
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)

    def certificate(name: str, key: Any, issuer: str, signer: Any, extensions: Sequence[tuple[Any, bool]]) -> bytes:
        subject, above = (x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)]) for text in (name, issuer))
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(above).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(begin)
        builder = builder.not_valid_after(begin + datetime.timedelta(days=days))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        made: bytes = builder.sign(signer, hashes.SHA256()).public_bytes(_serialization().Encoding.PEM)
        return made

    authority, server = (curves.generate_private_key(curves.SECP384R1()) for _ in range(2))
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    signs = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    own = [(x509.BasicConstraints(ca=True, path_length=0), True), (signs, True)]
    own.append((x509.SubjectKeyIdentifier.from_public_key(authority.public_key()), False))
    served = [(x509.SubjectAlternativeName([_host(x509, host) for host in hosts]), False), (x509.BasicConstraints(False, None), True)]
    served += [(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), False), (above, False)]
    written = [
        _secret(folder / "ca.key", authority, "PKCS8"),
        _new(folder / "ca.crt", certificate("tacit federation", authority, "tacit federation", authority, own)),
        _secret(folder / "server.key", server, "PKCS8"),
        _new(folder / "server.pem", certificate(hosts[0], server, "tacit federation", authority, served)),
    ]
    for number in range(nodes):
        key = curves.generate_private_key(curves.SECP384R1())
        encoding, form = _serialization().Encoding.OpenSSH, _serialization().PublicFormat.OpenSSH
        written.append(_secret(folder / f"node-{number}", key, "OpenSSH"))
        written.append(_new(folder / f"node-{number}.pub", key.public_key().public_bytes(encoding, form) + b"\n"))
    return written


def _serialization() -> Any:
    return import_extra("cryptography.hazmat.primitives.serialization", "federate", "making certificates")


def _host(x509: Any, host: str) -> Any:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _secret(path: Path, key: Any, form: str) -> Path:
    tools = _serialization()
    return _new(path, key.private_bytes(tools.Encoding.PEM, getattr(tools.PrivateFormat, form), tools.NoEncryption()), mode=0o600)


def _new(path: Path, data: bytes, *, mode: int = 0o644) -> Path:
    """Write a file that must not be there, so that nobody else has it open or made it readable before."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
    return path


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="certificates", description="Certificates and node keys for a federation on Flower.")
    parser.add_argument("folder", type=Path, help="where to write; keep it out of the app folder")
    parser.add_argument("--host", action="append", help="name or address of the SuperLink (several times for several); 127.0.0.1")
    parser.add_argument("--nodes", type=int, default=0, help="pairs of keys for nodes")
    parser.add_argument("--days", type=int, default=DAYS, help="how long certificates are valid")
    return parser


def main(words: Sequence[str] | None = None) -> int:
    """Make the files that the command line asks for; return the exit code."""
    chosen = build_parser().parse_args(words)
    try:
        for path in write_keys(chosen.folder, chosen.host or ["127.0.0.1", "localhost"], chosen.nodes, days=chosen.days):
            print(path)
    except InputError as error:
        print(f"certificates: {error}")
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
