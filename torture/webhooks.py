"""Webhooks at the end of a run (I3): each stored event came, always under one id and with one body."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from torture.ledger import Violation
from torture.site import Site

_END_LIMIT_S: Final = 120.0
_POLL_S: Final = 0.1
_WAITING: Final = "SELECT count(*) FROM webhook_delivery WHERE state = 'waiting'"
_STORED: Final = """
    SELECT v.id::text, d.state FROM webhook_event v LEFT JOIN webhook_delivery d ON d.event_id = v.id ORDER BY v.id
    """


async def found(site: Site, say: Callable[[str], object]) -> list[Violation]:
    """Wait until all is delivered, and compare what was stored with what came."""
    deadline = time.monotonic() + _END_LIMIT_S
    while waiting := (await site.run_sql(_WAITING))[0][0]:
        if time.monotonic() > deadline:
            return [Violation("I3", "events are not delivered to a webhook", f"{waiting} deliveries wait")]
        await asyncio.sleep(_POLL_S)
    stored = await site.run_sql(_STORED)
    bodies = site.receiver.bodies
    say(f"webhooks: {len(stored):,} events, {len(bodies):,} came, {site.receiver.copies:,} copies")
    wrong = []
    if lacking := [row["id"] for row in stored if row["id"] not in bodies]:
        wrong.append(Violation("I3", "events did not come to a webhook", f"{len(lacking)}, as {lacking[0]}"))
    if states := [row["id"] for row in stored if row["state"] != "delivered"]:
        wrong.append(Violation("I3", "events without a delivery that ended well", f"{len(states)}, as {states[0]}"))
    if two := [event_id for event_id, every in bodies.items() if len(every) > 1]:
        wrong.append(Violation("I2", "an event came to a webhook with two bodies", two[0]))
    return wrong
