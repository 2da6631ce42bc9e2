"""Endpoints for the tokens of this API.

The database grants no more than the caller has, and shows a caller with access groups the tokens of these groups only.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Path
from fastapi.responses import Response

from codewell.access import tokens
from codewell.access.tokens import Token
from codewell.audit import audit_log
from codewell.infra.postgres.connection import Connection
from schemas.api import Page
from schemas.token import ApiToken, CreatedToken, NewToken
from services.console.context import Context, context
from services.console.http import pagination
from services.console.http.auth import Admin
from services.console.http.idempotency import IdempotencyGuard
from services.console.http.problems import MAKING, documented
from services.console.routes import examples

router = APIRouter(prefix="/tokens", tags=["tokens"])
ConsoleContext = Annotated[Context, Depends(context)]
TokenId = Annotated[int, Path(ge=1, le=2**63 - 1, description="The token's id.", examples=[7])]


@router.get(
    "",
    responses=examples.answer(200, "A page of tokens, sorted by name", examples.TOKENS) | documented("cursor_invalid"),
)
async def list_tokens(
    here: ConsoleContext, caller: Admin, limit: pagination.Limit = 100, cursor: pagination.Cursor = None
) -> Page[ApiToken]:
    """List the tokens that are not revoked, never with their secrets. Expired ones keep their names."""
    after = pagination.text_of(cursor)
    async with here.pool.acquire() as connection:
        found = await tokens.page(connection, caller.groups, after, limit + 1)
    next_cursor = pagination.of_next(found, limit, lambda one: one.name)
    return Page(items=[ApiToken(**_facts(token)) for token in found[:limit]], next_cursor=next_cursor)


@router.post(
    "",
    status_code=201,
    response_model=CreatedToken,
    responses=examples.answer(201, "The created token, with its secret", examples.CREATED_TOKEN)
    | documented(*MAKING, "grant_refused", "token_taken"),
)
async def create_token(
    caller: Admin,
    idempotency: IdempotencyGuard,
    wanted: Annotated[NewToken, Body(examples=[examples.NEW_TOKEN])],
) -> Response:
    """Make a token with no more scopes, groups and time than the caller has. Its secret is answered once."""

    async def work(connection: Connection) -> CreatedToken:
        made, secret = await tokens.grant(
            connection, caller, wanted.name, wanted.scopes, wanted.groups, wanted.expires_in
        )
        expires_in = None if wanted.expires_in is None else str(wanted.expires_in)
        await audit_log.record(
            connection, caller.actor, "token.create", token=made.name, scopes=made.scopes, groups=made.groups,
            expires_in=expires_in,
        )  # fmt: skip
        return CreatedToken(**_facts(made), secret=secret)

    return await idempotency.answer(work, lambda _: None, to_store=_without_secret)


@router.get("/{token_id}", responses=examples.answer(200, "The token", examples.TOKEN) | documented("token_unknown"))
async def show_token(here: ConsoleContext, caller: Admin, token_id: TokenId) -> ApiToken:
    """Get a token that is not revoked, without its secret."""
    async with here.pool.acquire() as connection:
        return ApiToken(**_facts(await tokens.get(connection, token_id, caller.groups)))


@router.delete(
    "/{token_id}",
    responses=examples.answer(200, "The revoked token", examples.TOKEN) | documented("token_unknown"),
)
async def revoke_token(here: ConsoleContext, caller: Admin, token_id: TokenId) -> ApiToken:
    """Revoke a token permanently. Other consoles may accept it for another 5 seconds."""
    async with here.pool.acquire() as connection, connection.transaction():
        revoked = await tokens.revoke_as(connection, caller, token_id)
        await audit_log.record(connection, caller.actor, "token.revoke", token=revoked.name)
    here.authenticator.forget_token(token_id)
    return ApiToken(**_facts(revoked))


def _without_secret(made: CreatedToken) -> CreatedToken:
    return made.model_copy(update={"secret": None})


def _facts(token: Token) -> dict[str, Any]:
    return {name: getattr(token, name) for name in ApiToken.model_fields}
