"""One attempt to sign in with a provider, which a browser holds the secret of while its person is away."""

import base64
import hashlib
import hmac
import secrets
from typing import Final, NamedTuple, Self

_SECRET_BYTES: Final = 32


class Attempt(NamedTuple):
    """The random texts of an attempt; all follow from its secret, so that nothing is stored on the server.

    `state` ties the provider's answer to this browser, `nonce` the id token to this attempt, and `verifier` the code.
    """

    secret: str
    state: str
    nonce: str
    verifier: str

    @classmethod
    def begin(cls) -> Self:
        """A new attempt."""
        return cls.of(secrets.token_urlsafe(_SECRET_BYTES))

    @classmethod
    def of(cls, secret: str) -> Self:
        """The attempt with this secret."""
        return cls(secret, *(_derived(secret, use) for use in ("state", "nonce", "verifier")))

    @property
    def challenge(self) -> str:
        """The challenge of PKCE (RFC 7636, S256)."""
        return _text(hashlib.sha256(self.verifier.encode()).digest())

    def is_answered_by(self, state: str) -> bool:
        """Whether the provider's answer is to this attempt."""
        return hmac.compare_digest(self.state.encode(), state.encode())


def _derived(secret: str, use: str) -> str:
    return _text(hmac.digest(secret.encode(), use.encode(), "sha256"))


def _text(given: bytes) -> str:
    return base64.urlsafe_b64encode(given).decode().rstrip("=")
