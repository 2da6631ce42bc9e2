"""Wraps all keys and secrets with the newest master key while services run, and reports which key wraps what."""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from codewell.audit import audit_log
from codewell.audit.audit_log import Actor
from codewell.errors import SettingsInvalid, StackUnavailable
from codewell.infra.postgres.connection import Connection
from codewell.keys import announcements, master_keys
from codewell.keys.master_keys import MasterKeys, WrappedKey

# The rows of one batch are locked together for some milliseconds, and fills of these programs wait for that.
BATCH_KEYS_MAX: Final = 200
_ROUNDS_MAX: Final = 100
_PAUSE_S: Final = 0.1

# Skips locked rows until the next round: waiting for one while holding others could deadlock.
_LOCK_TEMPLATES: Final = """
    SELECT program_id, version, key AS stored, key_wrapped AS is_wrapped, key_id FROM template_version
    WHERE key_id IS DISTINCT FROM $1 ORDER BY program_id, version LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
    """
_WRAP_TEMPLATES: Final = """
    UPDATE template_version v SET key = n.key, key_wrapped = true, key_id = $4
    FROM unnest($1::bigint[], $2::integer[], $3::bytea[]) AS n (program_id, version, key)
    WHERE v.program_id = n.program_id AND v.version = n.version
    """
_LOCK_SECRETS: Final = """
    SELECT id, secret AS stored, wrapped AS is_wrapped, key_id FROM remote_secret
    WHERE key_id IS DISTINCT FROM $1 ORDER BY id LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
    """
_WRAP_SECRETS: Final = """
    UPDATE remote_secret s SET secret = n.secret, wrapped = true, key_id = $3
    FROM unnest($1::bigint[], $2::bytea[]) AS n (id, secret) WHERE s.id = n.id
    """
_LOCK_WEBHOOKS: Final = """
    SELECT id, secret AS stored, wrapped AS is_wrapped, key_id FROM webhook_secret
    WHERE key_id IS DISTINCT FROM $1 ORDER BY id LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
    """
_WRAP_WEBHOOKS: Final = """
    UPDATE webhook_secret s SET secret = n.secret, wrapped = true, key_id = $3
    FROM unnest($1::bigint[], $2::bytea[]) AS n (id, secret) WHERE s.id = n.id
    """
_COUNT_REMAINING: Final = """
    SELECT (SELECT count(*) FROM template_version WHERE key_id IS DISTINCT FROM $1)
         + (SELECT count(*) FROM remote_secret WHERE key_id IS DISTINCT FROM $1)
         + (SELECT count(*) FROM webhook_secret WHERE key_id IS DISTINCT FROM $1)
    """
_STATUS: Final = """
    SELECT what, is_wrapped, key_id, count(*) FROM (
        SELECT 'programs' AS what, key_wrapped AS is_wrapped, key_id FROM template_version
        UNION ALL SELECT 'remote services', wrapped, key_id FROM remote_secret
        UNION ALL SELECT 'webhooks', wrapped, key_id FROM webhook_secret
    ) k GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    """


class RotationCounts(NamedTuple):
    """The number of programs' keys, or of secrets of remote services or webhooks, that one master key wraps."""

    keys_of: str
    number: int
    master_key: str
    """The master key's id, `plain`, or `unknown` for keys wrapped before ids were stored."""
    is_given: bool
    """Whether this process has that master key; plain keys need none."""
    is_newest: bool


async def status(connection: Connection, keys: MasterKeys) -> list[RotationCounts]:
    """Count all stored keys by the master key that wraps them."""
    return [
        RotationCounts(
            row["what"],
            row["count"],
            "plain" if not row["is_wrapped"] else "unknown" if row["key_id"] is None else row["key_id"].hex(),
            not row["is_wrapped"] or (bool(keys.ids) if row["key_id"] is None else row["key_id"] in keys.ids),
            row["key_id"] is not None and row["key_id"] == keys.newest_id,
        )
        for row in await connection.fetch(_STATUS)
    ]


async def rotate(connection: Connection, keys: MasterKeys, actor: Actor, progress: Callable[[int], None]) -> int:
    """Wrap all keys with the newest master key, plain ones too; return how many changed. Safe to interrupt and repeat.

    Calls `progress` with the number of keys done. Raises SettingsInvalid without a master key, if a stored key can't be
    unwrapped, or while a running worker lacks the newest master key; StackUnavailable if rows stay locked: then all
    other keys are wrapped.
    """
    if keys.newest_id is None:
        raise SettingsInvalid("Set CODEWELL_MASTER_KEY to the new master key.")
    await master_keys.check(connection, keys)
    await announcements.require_newest(connection, keys)
    done = 0
    for _ in range(_ROUNDS_MAX):
        while rotated := await _rotate_batch(connection, keys, actor):
            done += rotated
            progress(done)
            # One may have started since.
            await announcements.require_newest(connection, keys)
        if not await connection.fetchval(_COUNT_REMAINING, keys.newest_id):
            return done
        await asyncio.sleep(_PAUSE_S)
    raise StackUnavailable(f"Re-encrypted {done:,} keys; other sessions lock the rest: run the same command again.")


async def _rotate_batch(connection: Connection, keys: MasterKeys, actor: Actor) -> int:
    """Wrap up to BATCH_KEYS_MAX keys of each kind in one transaction."""
    newest = keys.newest_id
    async with connection.transaction():
        templates = await connection.fetch(_LOCK_TEMPLATES, newest, BATCH_KEYS_MAX)
        if templates:
            wrapped = [keys.wrap(keys.unwrap(WrappedKey(*row[2:]))).stored for row in templates]
            await connection.execute(
                _WRAP_TEMPLATES, [row[0] for row in templates], [row[1] for row in templates], wrapped, newest
            )
        remotes = await _wrap_secrets(connection, keys, newest, _LOCK_SECRETS, _WRAP_SECRETS)
        webhooks = await _wrap_secrets(connection, keys, newest, _LOCK_WEBHOOKS, _WRAP_WEBHOOKS)
        done = len(templates) + remotes + webhooks
        if done:
            await audit_log.record(
                connection, actor, "key.rotate", programs=len(templates), remote_services=remotes, webhooks=webhooks
            )
    return done


async def _wrap_secrets(connection: Connection, keys: MasterKeys, newest: bytes | None, lock: str, wrap: str) -> int:
    secrets = await connection.fetch(lock, newest, BATCH_KEYS_MAX)
    if secrets:
        wrapped = [keys.wrap(keys.unwrap(WrappedKey(*row[1:]))).stored for row in secrets]
        await connection.execute(wrap, [row[0] for row in secrets], wrapped, newest)
    return len(secrets)
