"""Signatures as in Standard Webhooks, so that services can verify them with existing libraries.

HMAC-SHA256 of `id.timestamp.body` with each active secret, in one header, so that secrets can be rotated without
downtime (github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md).
"""

import hmac
from base64 import b64encode
from collections.abc import Iterable


def signature_headers(request_id: str, stamp_s: int, body: bytes, keys: Iterable[bytes]) -> dict[str, str]:
    """The headers of a request; `stamp_s` is the send time (s since 1970), `keys` the secrets, newest first."""
    return {
        "webhook-id": request_id,
        "webhook-timestamp": str(stamp_s),
        "webhook-signature": " ".join(_signature(request_id, stamp_s, body, key) for key in keys),
    }


def _signature(request_id: str, stamp_s: int, body: bytes, key: bytes) -> str:
    content = f"{request_id}.{stamp_s}.".encode() + body
    return "v1," + b64encode(hmac.digest(key, content, "sha256")).decode()
