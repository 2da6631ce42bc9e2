"""What a remote service of this machine needs to be known by its name."""

import ssl
from pathlib import Path

from tests.support.certificates import Authority


def server_tls(folder: Path, name: str) -> tuple[ssl.SSLContext, Path]:
    """What a server of this name or address needs, and the file of its authority."""
    authority = Authority(folder)
    certificate = authority.issue(name)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate.chain, certificate.key)
    return tls, authority.file
