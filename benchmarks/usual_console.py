"""A peer and a ceiling, not products, for comparison with the console under the same server.

The peer is the usual API: codes are rows with random keys; each request has a transaction of its own, which locks a
row and updates it. It promises less than the product: it has no tokens, access groups or idempotency keys. The ceiling
answers every request with the same few bytes, after a query that reads no data.
"""

import asyncio
import os
from typing import Annotated, Any, Final

from fastapi import Body, FastAPI, HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from codewell.infra.postgres import connection as postgres
from codewell.infra.postgres.connection import Connection, Pool
from codewell.infra.process.lifecycle import run
from codewell.infra.telemetry.health import Health, Probes, serve_app
from schemas.api import Attach, CodeOnly
from schemas.till import Hold

PORT_VARIABLE: Final = "BENCH_PORT"
URL_VARIABLE: Final = "BENCH_POSTGRES_URL"
CEILING_PATH: Final = "/nothing"
# The console's number of connections.
_CONNECTIONS_MAX: Final = 8
_MINUTES_S: Final = 300

_TABLE: Final = """
    CREATE TABLE IF NOT EXISTS shop_code (
        id           uuid PRIMARY KEY,
        program      text NOT NULL,
        code         text NOT NULL,
        profile_id   text,
        attached_at  timestamptz,
        activated_at timestamptz,
        held_by      text,
        held_until   timestamptz,
        UNIQUE (program, code)
    );
    CREATE INDEX IF NOT EXISTS shop_code_free ON shop_code (program, id) WHERE profile_id IS NULL;
    """
_MAKE: Final = """
    INSERT INTO shop_code (id, program, code)
    SELECT gen_random_uuid(), $1, upper(substr(replace(gen_random_uuid()::text, '-', ''), 1, 14))
    FROM generate_series(1, $2)
    """
# Without the order, Postgres may scan the table from its start each time, past all codes that are already taken.
_FREE: Final = """
    SELECT id, code FROM shop_code WHERE program = $1 AND profile_id IS NULL
    ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
    """
_GIVE: Final = "UPDATE shop_code SET profile_id = $2, attached_at = now() WHERE id = $1 RETURNING attached_at"
_GIVE_ALL: Final = "UPDATE shop_code SET profile_id = 'p-' || id, attached_at = now() WHERE program = $1"
_FIND: Final = "SELECT * FROM shop_code WHERE program = $1 AND code = $2 FOR UPDATE"
_PAGE: Final = """
    SELECT code, profile_id, attached_at, activated_at FROM shop_code
    WHERE program = $1 AND profile_id IS NOT NULL ORDER BY code LIMIT $2 OFFSET 0
    """
_PAGES: Final = "SELECT count(*) FROM shop_code WHERE program = $1 AND profile_id IS NOT NULL"
_PAGE_ROWS: Final = 100
_HOLD: Final = """
    UPDATE shop_code SET held_by = $2, held_until = now() + $3 WHERE id = $1 AND activated_at IS NULL
      AND (held_by = $2 OR held_until IS NULL OR held_until < now())
    RETURNING held_until
    """
_USE: Final = "UPDATE shop_code SET activated_at = now() WHERE id = $1 RETURNING activated_at"


async def stock(connection: Connection, program: str, count: int) -> None:
    """Insert codes, and update Postgres' statistics."""
    await connection.execute(_TABLE)
    await connection.execute(_MAKE, program, count, timeout=_MINUTES_S)
    await connection.execute("VACUUM ANALYZE shop_code", timeout=_MINUTES_S)


async def give_all(connection: Connection, program: str) -> None:
    """Attach every code of a program to a profile of its own."""
    await connection.execute(_GIVE_ALL, program, timeout=_MINUTES_S)
    await connection.execute("VACUUM ANALYZE shop_code", timeout=_MINUTES_S)


def create_api(pool: Pool) -> FastAPI:
    """The usual endpoints, and the ceiling's path."""
    api = FastAPI()

    @api.post("/api/v1/programs/{name}/codes:attach")
    async def attach(name: str, wanted: Annotated[Attach, Body()]) -> dict[str, Any]:
        async with pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(_FREE, name)
            if row is None:
                raise HTTPException(409, "No code is left.")
            attached_at = await connection.fetchval(_GIVE, row["id"], wanted.profile_id)
        return {"code": row["code"], "program": name, "profile_id": wanted.profile_id, "attached_at": attached_at}

    @api.post("/api/v1/programs/{name}/codes:activate")
    async def activate(name: str, wanted: Annotated[CodeOnly, Body()]) -> dict[str, Any]:
        async with pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(_FIND, name, wanted.code)
            if row is None:
                raise HTTPException(404, "There is no such code.")
            if row["profile_id"] is None or row["activated_at"] is not None:
                raise HTTPException(409, "It can't be activated.")
            activated_at = await connection.fetchval(_USE, row["id"])
        return {"code": wanted.code, "program": name, "profile_id": row["profile_id"], "activated_at": activated_at}

    @api.get("/api/v1/programs/{name}/codes")
    async def attached(name: str) -> dict[str, Any]:
        async with pool.acquire() as connection:
            rows = await connection.fetch(_PAGE, name, _PAGE_ROWS)
            total = await connection.fetchval(_PAGES, name)
        return {"codes": [dict(row) for row in rows], "total": total}

    _add_hold(api, pool)

    async def nothing(_: Request) -> Response:
        async with pool.acquire() as connection:
            await connection.fetchval("SELECT 1")
        return Response(b'{"code":"smFg-2497-DMPB"}', media_type="application/json")

    # Not a FastAPI endpoint: it is as cheap as the server allows.
    api.router.routes.insert(0, Route(CEILING_PATH, nothing, methods=["POST"]))
    return api


def _add_hold(api: FastAPI, pool: Pool) -> None:
    @api.post("/api/v1/programs/{name}/codes:hold")
    async def hold(name: str, wanted: Annotated[Hold, Body()]) -> dict[str, Any]:
        async with pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(_FIND, name, wanted.code)
            if row is None:
                raise HTTPException(404, "There is no such code.")
            held_until = await connection.fetchval(_HOLD, row["id"], wanted.order_id, wanted.ttl)
            if held_until is None:
                raise HTTPException(409, "It can't be held.")
        return {"code": wanted.code, "program": name, "profile_id": row["profile_id"], "held_until": held_until}


async def serve(stop: asyncio.Event) -> None:
    """Serve until `stop` is set."""
    async with postgres.pool(os.environ[URL_VARIABLE], "usual-console", _CONNECTIONS_MAX) as pool:
        api = create_api(pool)
        probes = Probes(Health())
        api.routes.extend(Route(path, probes, methods=["GET"]) for path in probes.paths)
        async with serve_app(api, "127.0.0.1", int(os.environ[PORT_VARIABLE])):
            await stop.wait()


if __name__ == "__main__":
    run(serve)
