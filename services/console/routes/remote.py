"""Endpoints for a program's remote service: its state, and the signing secrets."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from codewell.audit import audit_log
from codewell.infra.postgres.connection import Connection
from codewell.pool import orders
from codewell.remote import signing_secrets
from codewell.remote.signing_secrets import SigningSecret
from schemas.api import RemoteSecret, RemoteSecrets, RemoteService, RotatedSecrets
from schemas.events import ShortName
from services.console.context import Context, context
from services.console.http.auth import Admin, Reader, visible_program
from services.console.http.idempotency import BodylessIdempotencyGuard
from services.console.http.problems import documented
from services.console.routes import examples

router = APIRouter(prefix="/programs/{name}/remote", tags=["remote service"])
ConsoleContext = Annotated[Context, Depends(context)]


@router.get(
    "",
    responses=examples.answer(200, "State of the remote service", examples.REMOTE_SERVICE)
    | documented("program_unknown", "remote_missing"),
)
async def show_remote_service(here: ConsoleContext, caller: Reader, name: ShortName) -> RemoteService:
    """Get the remote service's orders, circuit breaker and last error."""
    async with here.pool.acquire() as connection:
        await visible_program(connection, caller, name)
        return await orders.service_of(connection, name)


@router.get(
    "/secrets",
    responses=examples.answer(200, "The valid secrets", examples.REMOTE_SECRETS)
    | documented("program_unknown", "remote_missing"),
)
async def show_remote_secrets(here: ConsoleContext, caller: Admin, name: ShortName) -> RemoteSecrets:
    """List the signing secrets of the program's remote service, newest first."""
    async with here.pool.acquire() as connection:
        program = await visible_program(connection, caller, name)
        await orders.service_of(connection, name)
        # Recorded first: a secret that was shown can't be recalled.
        await audit_log.record(connection, caller.actor, "secret.show", name)
        return _remote_secrets(name, await signing_secrets.active_secrets(connection, here.minters, program.id))


@router.post(
    "/secrets:rotate",
    response_model=RotatedSecrets,
    responses=examples.answer(200, "The valid secrets after the rotation", examples.REMOTE_SECRETS)
    | documented(
        "idempotency_key_busy", "idempotency_key_reused", "program_unknown", "remote_missing", "secrets_exhausted"
    ),
)
async def rotate_remote_secret(
    here: ConsoleContext, caller: Admin, idempotency: BodylessIdempotencyGuard, name: ShortName
) -> Response:
    """Create a new signing secret. For a day, requests are also signed with the old one."""

    async def work(connection: Connection) -> RotatedSecrets:
        program = await visible_program(connection, caller, name)
        await orders.service_of(connection, name)
        rotated = await signing_secrets.rotate(connection, here.minters, program.id)
        await audit_log.record(connection, caller.actor, "secret.rotate", name)
        return RotatedSecrets(program=name, secrets=_remote_secrets(name, rotated).secrets)

    return await idempotency.answer(work, lambda _: None, 200, _without_secrets)


def _without_secrets(rotated: RotatedSecrets) -> RotatedSecrets:
    return rotated.model_copy(update={"secrets": None})


def _remote_secrets(program: str, secrets: Sequence[SigningSecret]) -> RemoteSecrets:
    shown = [RemoteSecret(secret=one.text, made_at=one.made_at, ends_at=one.ends_at) for one in secrets]
    return RemoteSecrets(program=program, secrets=shown)
