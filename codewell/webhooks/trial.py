"""A test message to one endpoint, for the person who sets it up: sent once, at once, and not recorded."""

import json
import time
from datetime import UTC, datetime
from typing import Final

from codewell.infra.postgres.connection import Connection
from codewell.infra.uuid7 import uuid7
from codewell.keys.master_keys import MasterKeys
from codewell.webhooks import secrets
from codewell.webhooks.messages import Message
from codewell.webhooks.sending import Courier
from schemas.webhooks import TEST_TYPE, Webhook, WebhookTestResult

_DATA: Final = {"title": "It works", "action": "This is a test: nothing has to be done.", "figures": {}}


async def keys_of(connection: Connection, keys: MasterKeys, webhook: Webhook) -> list[bytes]:
    """The endpoint's active secrets, newest first. Raises StackUnavailable if they can't be unwrapped."""
    stored = await secrets.active(connection, [webhook.id])
    return [keys.unwrap(one) for one in stored.get(webhook.id, [])]


async def send_test(courier: Courier, webhook: Webhook, keys: list[bytes]) -> WebhookTestResult:
    """Send a message of type TEST_TYPE. Raises nothing."""
    message = Message(uuid7(), TEST_TYPE, datetime.now(UTC), None, json.dumps(_DATA))
    began = time.monotonic()
    outcome = await courier.send(webhook.kind, webhook.target, keys, message)
    return WebhookTestResult(
        accepted=outcome.error is None,
        status=outcome.status,
        detail=outcome.error or "The receiver took the message.",
        answer=outcome.answer,
        took_s=round(time.monotonic() - began, 3),
    )
