"""Endpoints that send a test request to a remote service and show what comes back."""

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Body, Depends

from codewell.audit import audit_log
from codewell.pool import orders
from codewell.remote import signing_secrets
from codewell.remote.trial import RemoteTarget, new_secret
from schemas.events import ShortName
from schemas.remote_tests import RemoteTestOfProgram, RemoteTestOfUrl, RemoteTestResult
from services.console.context import Context, context
from services.console.http.auth import Writer, visible_program
from services.console.http.problems import WITH_BODY, documented
from services.console.routes import examples

router = APIRouter(tags=["remote service"])
ConsoleContext = Annotated[Context, Depends(context)]


@router.post(
    "/remote:test",
    responses=examples.answer(200, "The request, the answer and the verdict", examples.REMOTE_TEST)
    | documented(*WITH_BODY, "tests_exhausted"),
)
async def test_remote_url(
    here: ConsoleContext,
    caller: Writer,
    wanted: Annotated[RemoteTestOfUrl, Body(examples=[examples.REMOTE_TEST_OF_URL])],
) -> RemoteTestResult:
    """Send a test request to a service that no program has yet. Codes that it answers with are not kept."""
    secret = new_secret()
    with here.remote_tests.slot(caller.id):
        async with here.pool.acquire() as connection:
            await audit_log.record(connection, caller.actor, "remote.test", host=urlsplit(wanted.url).hostname)
        target = RemoteTarget(wanted.url, wanted.program, [secret.key])
        result = await here.remote_tests.send(target, wanted)
    return result.model_copy(update={"secret": secret.text})


@router.post(
    "/programs/{name}/remote:test",
    responses=examples.answer(200, "The request, the answer and the verdict", examples.REMOTE_TEST)
    | documented(*WITH_BODY, "program_unknown", "remote_missing", "tests_exhausted"),
)
async def test_remote_service(
    here: ConsoleContext,
    caller: Writer,
    name: ShortName,
    wanted: Annotated[RemoteTestOfProgram, Body(examples=[examples.REMOTE_TEST_OF_PROGRAM])],
) -> RemoteTestResult:
    """Send a test request to the program's remote service. Codes that it answers with are not kept."""
    with here.remote_tests.slot(caller.id):
        async with here.pool.acquire() as connection:
            program = await visible_program(connection, caller, name)
            url = (await orders.service_of(connection, name)).url
            await audit_log.record(connection, caller.actor, "remote.test", name, host=urlsplit(url).hostname)
            secrets = await signing_secrets.active_secrets(connection, here.minters, program.id)
        return await here.remote_tests.send(RemoteTarget(url, name, [secret.key for secret in secrets]), wanted)
