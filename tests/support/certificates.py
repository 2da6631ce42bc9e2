"""Certificates for servers and clients of this machine, from private certificate authorities."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_PEM = serialization.Encoding.PEM


class Certificate(NamedTuple):
    """Two files in PEM."""

    chain: Path
    key: Path


class Authority:
    """Issues certificates into a folder; `file` is the authority's own certificate."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self.file = folder / f"{name}.pem"
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        public = self._key.public_key()
        own = (
            self._begun(self._name, public)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.KeyUsage(True, False, False, False, False, True, True, False, False), critical=True)
        ).sign(self._key, hashes.SHA256())
        self.file.write_bytes(own.public_bytes(_PEM))

    def issue(self, name: str, file_name: str = "server", password: str | None = None) -> Certificate:
        """Issue a certificate for this name or address; a password encrypts its private key."""
        key = ec.generate_private_key(ec.SECP256R1())
        try:
            known_as: x509.GeneralName = x509.IPAddress(ip_address(name))
        except ValueError:
            known_as = x509.DNSName(name)
        certificate = (
            self._begun(_named(name), key.public_key())
            .add_extension(x509.SubjectAlternativeName([known_as]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        ).sign(self._key, hashes.SHA256())
        made = Certificate(self._folder / f"{file_name}.pem", self._folder / f"{file_name}.key")
        made.chain.write_bytes(certificate.public_bytes(_PEM))
        lock: serialization.KeySerializationEncryption = (
            serialization.NoEncryption()
            if password is None
            else serialization.BestAvailableEncryption(password.encode())
        )
        made.key.touch(mode=0o600)
        made.key.write_bytes(key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, lock))
        return made

    def _begun(self, of: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder(self._name, of, public, x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
        )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
