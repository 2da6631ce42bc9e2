"""The administrator's token of a stack, which is kept over its starts."""

from functools import partial
from typing import Final

from codewell.access import tokens
from codewell.audit import audit_log
from codewell.infra.postgres.connection import Connection
from services.standalone.home import Home

ADMIN: Final = "standalone"


async def admin_token_of(opened: Connection, home: Home) -> str:
    """The administrator's token of the last start, or a new one if that was revoked or its file is lost."""
    kept = home.admin_token()
    if kept is not None:
        known = await tokens.authenticate(opened, tokens.hash_of(kept))
        if known is not None and known.name == ADMIN:
            return kept
    make = partial(tokens.replace, opened, ADMIN, ["admin"])
    secret = await audit_log.recorded(opened, audit_log.command_actor(), make, "token.replace", token=ADMIN)
    home.keep_admin_token(secret)
    return secret
