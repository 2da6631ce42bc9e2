"""A console as it looks after some weeks of use: programs in every state, with codes and usage."""

import json
import math
import random
from datetime import UTC, datetime, timedelta
from typing import Any

from codewell.alerts.alerts import raise_alert
from codewell.infra.uuid7 import uuid7
from codewell.keys.master_keys import MasterKeys
from codewell.pool import fill
from codewell.pool.minter_cache import Minters
from codewell.webhooks import WebhookEvent, endpoints, enqueue
from schemas.alerts import AlertKind
from schemas.webhooks import NewWebhook
from tests.support.sender_records import messages
from tests.support.site import Site

_TEMPLATE = "{upstring 4}-{number 4}-{upstring 4}"
_SEED = 7
_ATTACHED = {"SPRING": 2_500, "WELCOME": 4_000, "BIRTHDAY": 1_200}
_BUSIEST_MINUTE = {"SPRING": 900, "WELCOME": 240, "BIRTHDAY": 60}
_REFUSED_A_MINUTE = {"NEWSLETTER": 30, "PARTNER": 12, "SPRING": 2}


async def fill_console(site: Site) -> None:
    """Make the programs, give some of their codes out, and write what they gave in the last hour and day."""
    now = datetime.now(UTC)
    soon = now + timedelta(days=3, hours=4)
    month = timedelta(days=30)
    await _program(site, "SPRING", "Spring sale", 77_500, groups=["shop"], valid_until=soon)
    await _program(site, "WELCOME", "Welcome to the club", 102_000, campaign_can_create=True, ttl=month)
    await _program(site, "BIRTHDAY", "Birthday present", 13_200, scenario_can_create=True)
    await _program(site, "NEWSLETTER", "Newsletter, 5 % for a friend", 0, groups=["shop", "mail"])
    await _program(site, "AUTUMN", "Autumn collection", 40_000)
    await _program(site, "BLACK_FRIDAY", "Black Friday 2026", 60_000)
    await _program(site, "SUMMER", "Summer festival", 30_000)
    # Codes are made while a program is in force.
    await site.database.execute("UPDATE program SET active = false WHERE name = 'AUTUMN'")
    await site.database.execute(
        "UPDATE program SET valid_from = $1 WHERE name = 'BLACK_FRIDAY'", now + timedelta(days=9, hours=2)
    )
    await site.database.execute("UPDATE program SET valid_until = $1 WHERE name = 'SUMMER'", now - timedelta(days=20))
    remote = {"kind": "remote", "url": "https://codes.partner.example/orders"}
    await _program(site, "PARTNER", "Cinema vouchers of our partner", 0, source=remote)
    await site.database.execute(
        "UPDATE remote_service SET failures = 6, rest_until = now() + interval '1 hour', "
        "error = 'HTTP 503 Service Unavailable: the voucher service is under maintenance', error_at = now()"
    )
    async with site.issuer():
        for name, number in _ATTACHED.items():
            await site.publish(messages(number, name))
        await site.came("message-render.reply", sum(_ATTACHED.values()), 60)
    await site.database.execute("TRUNCATE usage_minute, usage_hour")
    await _usage(site, now)
    # A generator fills the pool as soon as it is at three quarters.
    await site.database.execute(
        "INSERT INTO pool_level SELECT id, date_bin('10 minutes', now(), 'epoch') - n * interval '10 minutes', "
        "75000 + (n * 2600) % 25000 FROM program, generate_series(1, 143) n WHERE name = 'SPRING'"
    )
    await _alerts_and_webhooks(site)


async def _alerts_and_webhooks(site: Site) -> None:
    """Two alerts, a webhook that got them, and one that waits for its receiver."""
    programs = {row["name"]: row["id"] for row in await site.database.fetch("SELECT id, name FROM program")}
    for path, groups in (("/promo-codes", ()), ("/loyalty", ("mail",))):
        given = NewWebhook.model_validate({"target": f"https://hooks.shop.example{path}", "groups": groups})
        async with site.database.transaction():
            await endpoints.create(site.database, MasterKeys(), given)
    raised: tuple[tuple[str, AlertKind, dict[str, int]], ...] = (
        ("PARTNER", "remote-down", {"failures": 6}), ("NEWSLETTER", "pool-below", {"pooled": 0, "codes": 1000}),
    )  # fmt: skip
    for name, kind, figures in raised:
        await raise_alert(site.database, programs[name], kind, details=figures)
        data = json.dumps({"program": name, "kind": kind, "level": "critical", "title": "No codes left"})
        event = WebhookEvent(uuid7(), "dev.codewell.alert-raised.v1", datetime.now(UTC), programs[name], data)
        async with site.database.transaction():
            await enqueue(site.database, [event])
    await site.database.execute(
        "UPDATE webhook_delivery d SET state = 'delivered', attempts = 1, ended_at = now() FROM webhook_endpoint e "
        "WHERE e.id = d.endpoint_id AND e.target LIKE '%promo-codes'"
    )


async def _program(site: Site, name: str, title: str, codes: int, **given: Any) -> None:
    source = given.pop("source", {"kind": "template", "template": f"{name[:2]}-{_TEMPLATE}"})
    made = await site.program(
        name, title=title, source=source, pool_max=100_000, codes_max=1_000_000, allow_guessable=True, **given
    )
    if codes:
        await fill.generate(site.database, Minters(None), made.id, codes, None)


async def _usage(site: Site, now: datetime) -> None:
    chance = random.Random(_SEED)
    rows = []
    for minute in range(600):
        at = (now - timedelta(minutes=minute)).replace(second=0, microsecond=0)
        wave = 1 + 0.6 * math.sin(minute / 9)
        for name, most in _BUSIEST_MINUTE.items():
            rows.append((name, at, "campaign", "attached", 1 + int(most * wave * chance.uniform(0.7, 1.0))))
            rows.append((name, at, "scenario", "attached", 1 + int(most / 9 * chance.uniform(0.4, 1.0))))
            rows.append((name, at, "person", "activated", 1 + int(most / 20 * chance.uniform(0.2, 1.0))))
        for name, most in _REFUSED_A_MINUTE.items():
            reason = "remote_failed" if name == "PARTNER" else "pool_empty"
            rows.append((name, at, "campaign", reason, 1 + int(most * chance.uniform(0.1, 1.0))))
            if minute % 11 == 0:
                rows.append((name, at, "scenario", "maximum_reached", 2))
    for unit in ("minute", "hour"):
        await site.database.executemany(
            f"INSERT INTO usage_{unit} (program_id, {unit}, source, outcome, number) "
            f"SELECT id, date_trunc('{unit}', $2::timestamptz), $3, $4, $5 FROM program WHERE name = $1 "
            f"ON CONFLICT (program_id, {unit}, source, outcome) DO UPDATE SET number = usage_{unit}.number + $5",
            rows,
        )
