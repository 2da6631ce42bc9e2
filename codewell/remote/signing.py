"""Signatures as Standard Webhooks has them, so that a service can check them with a library of its language.

HMAC-SHA256 of `id.timestamp.body` with each secret in force, in one header, so that secrets can be replaced without a
gap (github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md).
"""

import hmac
from base64 import b64encode
from collections.abc import Iterable


def signature_headers(request_id: str, stamp_s: int, body: bytes, keys: Iterable[bytes]) -> dict[str, str]:
    """The headers of a request; `stamp_s` is when it is sent (s since 1970), `keys` the secrets, newest first."""
    return {
        "webhook-id": request_id,
        "webhook-timestamp": str(stamp_s),
        "webhook-signature": " ".join(_signature(request_id, stamp_s, body, key) for key in keys),
    }


def _signature(request_id: str, stamp_s: int, body: bytes, key: bytes) -> str:
    content = f"{request_id}.{stamp_s}.".encode() + body
    return "v1," + b64encode(hmac.digest(key, content, "sha256")).decode()
