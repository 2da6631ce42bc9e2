"""Webhooks: events are delivered to endpoints that subscribe to them, by HTTP, Slack or e-mail.

Code that has an event calls `enqueue` in the transaction that records it as handed on; generators send.
"""

from codewell.webhooks.events import WebhookEvent, enqueue

__all__ = ["WebhookEvent", "enqueue"]
