"""Settings of the sign-in with an OpenID provider."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from codewell.infra.config.settings import StackSettings
from codewell.infra.config.urls import host_of, is_local
from schemas import patterns
from schemas.events import ShortName
from schemas.token import Scope


class Grant(BaseModel):
    """What a group of the provider allows: scopes, and access groups; without access groups, all programs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)]
    groups: tuple[ShortName, ...] = ()


class OidcSettings(StackSettings):
    """Without an issuer, the console offers no sign-in by a provider."""

    oidc_issuer: str | None = Field(
        None, pattern=patterns.WEB_URL, description="URL of the OpenID provider that people sign in with."
    )
    oidc_client_id: str = Field("", description="Id of the console at the OpenID provider.")
    oidc_client_secret: SecretStr | None = Field(
        None, description="Secret of the console at the OpenID provider; without one it is a public client."
    )
    oidc_scope: str = Field(
        "openid profile email", description="Scopes that the console asks the OpenID provider for, with openid."
    )
    oidc_name_claim: str = Field("email", min_length=1, description="Claim that names people in the audit log.")
    oidc_groups_claim: str = Field("groups", min_length=1, description="Claim that lists people's groups.")
    oidc_groups: dict[str, Grant] = Field(
        {},
        description='What each group of the claim allows, as JSON: `{"shop-ops": {"scopes": ["admin"], '
        '"groups": ["shop"]}}`; the first match decides.',
    )

    @model_validator(mode="after")
    def _require_what_the_sign_in_needs(self) -> Self:
        if self.oidc_issuer is None:
            return self
        if not self.oidc_issuer.startswith("https:") and not is_local(host_of(self.oidc_issuer)):
            raise ValueError("CODEWELL_OIDC_ISSUER is invalid: use a URL with https, whose answers can be trusted")
        for name in ("oidc_client_id", "oidc_groups"):
            if not getattr(self, name):
                raise ValueError(f"CODEWELL_{name.upper()} is not set, and CODEWELL_OIDC_ISSUER needs it: set both")
        if "openid" not in self.oidc_scope.split():
            raise ValueError("CODEWELL_OIDC_SCOPE is invalid: begin it with openid")
        return self
