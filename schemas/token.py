"""Tokens of the HTTP API, as it takes and answers them."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from schemas import patterns
from schemas.amounts import Lifetime
from schemas.events import ShortName
from schemas.strict_model import StrictModel

Scope = Literal["read", "write", "redeem", "admin", "profiles", "support"]
TokenName = Annotated[str, Field(pattern=patterns.TOKEN_NAME, examples=["shop"])]


class NewToken(StrictModel):
    """A token to make. No `groups`: all programs. `expires_in`: a duration such as `P90D`; null: until revoked."""

    name: TokenName
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1, max_length=20)]
    groups: Annotated[tuple[ShortName, ...], Field(max_length=100)] = ()
    expires_in: Lifetime | None = None


class ApiToken(StrictModel):
    """A token without its secret. No `groups`: all programs. `last_used` is exact to the hour.

    `expires_at` null: it is valid until it is revoked.
    """

    id: int
    name: str
    scopes: list[Scope]
    groups: list[str]
    created_at: datetime
    last_used: datetime | None
    expires_at: datetime | None


class CreatedToken(ApiToken):
    """A new token with its secret, which is stored nowhere and so is answered once.

    Null where the request was repeated under its idempotency key: revoke the token and make another if the secret is
    lost.
    """

    secret: str | None
