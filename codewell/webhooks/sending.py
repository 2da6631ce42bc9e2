"""One attempt to deliver a message: to a webhook, to Slack, or by e-mail."""

import json
import time
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from codewell.errors import RemoteFailed
from codewell.remote.client import REDIRECTS, Client, RawAnswer, SignedRequest, retry_after_s
from codewell.remote.settings import Network
from codewell.remote.signing import signature_headers
from codewell.webhooks import secrets
from codewell.webhooks.leases import Outcome
from codewell.webhooks.mail import Mailer
from codewell.webhooks.messages import Message, masked_answer
from codewell.webhooks.settings import WebhookSettings
from schemas.webhooks import EndpointKind

# Of an answer's body; the rest is not read.
ANSWER_BYTES_MAX: Final = 4_096
_HEADERS: Final = {
    "content-type": "application/json",
    "accept-encoding": "identity",
    "user-agent": "codewell",
}


class Courier:
    """Sends messages. Close it at the end with `aclose`."""

    def __init__(self, settings: WebhookSettings, allowed: Sequence[Network]) -> None:
        """`allowed`: private networks that receivers may be in."""
        self._client = Client(settings.webhook_timeout_s, allowed)
        self._mailer = Mailer(settings)

    async def aclose(self) -> None:
        """Abort what is being sent."""
        await self._client.aclose()

    async def send(self, kind: EndpointKind, target: str, keys: Sequence[bytes], message: Message) -> Outcome:
        """Send a message; `keys` are the endpoint's active secrets, newest first. Raises nothing."""
        if kind == "email":
            return await self._mailer.send(target, message)
        if not keys:
            return Outcome(None, "The endpoint has no secret: rotate it.")
        request = _slack_request(keys[0], message) if kind == "slack" else _webhook_request(target, keys, message)
        try:
            return _outcome(await self._client.notify(request, ANSWER_BYTES_MAX), message)
        except RemoteFailed as error:
            return Outcome(None, str(error))


def _webhook_request(url: str, keys: Sequence[bytes], message: Message) -> SignedRequest:
    body = message.body
    return SignedRequest(url, {**_HEADERS, **signature_headers(str(message.id), int(time.time()), body, keys)}, body)


def _slack_request(secret: bytes, message: Message) -> SignedRequest:
    text = "\n".join([f"*{_escaped(message.title)}*", *(_escaped(line) for line in message.lines)])
    return SignedRequest(secrets.url_of(secret), _HEADERS, json.dumps({"text": text}).encode())


def _escaped(text: str) -> str:
    """Slack takes these three characters for markup: a program's texts must not address a whole channel."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _outcome(answer: RawAnswer, message: Message) -> Outcome:
    status = answer.status
    said = masked_answer(answer.body, message.data)
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Outcome(status, None, said)
    if status == HTTPStatus.GONE:
        return Outcome(
            status, "The receiver answered 410: it wants no more. The endpoint is not active.", said, gone=True
        )
    if status in REDIRECTS:
        return Outcome(status, f"The receiver answered {status}, a redirect, which is not followed.", said)
    wait_s = retry_after_s(answer.headers.get("retry-after"))
    return Outcome(status, f"The receiver answered {status} instead of 2xx.", said, wait_s)
