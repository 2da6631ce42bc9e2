"""The provider: where it is, what it says of a person, and whether that can be believed.

Discovery and the keys are read when they are needed and kept for some minutes, so that a console starts without its
provider. Id tokens are checked by joserfc: signature, issuer, audience, time and nonce.
"""

import hashlib
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import quote, urlencode

import httpx
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from pydantic import BaseModel, ValidationError

from codewell.infra.config.urls import host_of, is_local
from services.console.oidc.attempt import Attempt
from services.console.oidc.failures import ProviderAway, SignInRefused
from services.console.oidc.settings import OidcSettings

TIMEOUT_S: Final = 5.0
_KEPT_FOR_S: Final = 600.0
# A token with an unknown key makes the keys be read anew, at most this often.
_KEYS_AGE_MIN_S: Final = 30.0
_CLOCK_SKEW_S: Final = 60
_NAME_CHARACTERS_MAX: Final = 300
# Signatures by the provider's private key; never `none`, nor a secret that both have.
_ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA",
)  # fmt: skip

M = TypeVar("M", bound=BaseModel)


class Person(NamedTuple):
    """Who signed in at the provider, and when; None where the provider does not say when."""

    name: str
    groups: tuple[str, ...]
    authenticated_at: datetime | None
    key: bytes
    """SHA-256 of issuer and subject: names may change, and come to mean another person."""


class _Discovered(BaseModel):
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class _Tokens(BaseModel):
    id_token: str
    access_token: str


class Provider:
    """The OpenID provider with this issuer. `return_url` is the page that it sends people back to."""

    def __init__(self, issuer: str, settings: OidcSettings, return_url: str) -> None:
        self._issuer = issuer
        self._settings = settings
        self._return_url = return_url
        self._discovered: tuple[float, _Discovered] | None = None
        self._keys: tuple[float, KeySet] | None = None

    async def sign_in_url(self, attempt: Attempt, *, again: bool) -> str:
        """The provider's page for this attempt; `again`: it asks people who are signed in there to do so again.

        Raises ProviderAway.
        """
        asked = {
            "response_type": "code",
            "client_id": self._settings.oidc_client_id,
            "redirect_uri": self._return_url,
            "scope": self._settings.oidc_scope,
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": attempt.challenge,
            "code_challenge_method": "S256",
        }
        if again:
            asked |= {"prompt": "login", "max_age": "0"}
        place = (await self._discover()).authorization_endpoint
        return f"{place}{'&' if '?' in place else '?'}{urlencode(asked)}"

    async def person(self, attempt: Attempt, answer: Mapping[str, str]) -> Person:
        """Who the provider's answer to this attempt says signed in. Raises ProviderAway and SignInRefused."""
        if not attempt.is_answered_by(answer.get("state", "")):
            raise SignInRefused("This sign-in was not begun in this browser, or too long ago: begin it again.")
        if answer.get("iss", self._issuer) != self._issuer:
            raise SignInRefused("The answer came from another provider than the one of this console.")
        if "error" in answer or "code" not in answer:
            denied = answer.get("error") == "access_denied"
            raise SignInRefused(
                "The sign-in was cancelled at the provider." if denied
                else "The provider refused the sign-in: begin it again, and tell an operator if that does not help."
            )  # fmt: skip
        tokens = await self._exchange(attempt, answer["code"])
        claims = await self._checked(tokens.id_token, attempt)
        if not {self._settings.oidc_groups_claim, self._settings.oidc_name_claim} <= claims.keys():
            claims = await self._user_info(tokens.access_token, claims["sub"]) | claims
        return self._person(claims)

    def _person(self, claims: Mapping[str, Any]) -> Person:
        named = claims.get(self._settings.oidc_name_claim)
        name = named if isinstance(named, str) and named else claims["sub"]
        listed = claims.get(self._settings.oidc_groups_claim, [])
        groups = [listed] if isinstance(listed, str) else listed if isinstance(listed, list) else []
        at = claims.get("auth_time")
        return Person(
            "".join(one for one in name if one.isprintable())[:_NAME_CHARACTERS_MAX] or "unknown",
            tuple(one for one in groups if isinstance(one, str)),
            datetime.fromtimestamp(at, UTC) if isinstance(at, int) else None,
            hashlib.sha256(f"{self._issuer}\n{claims['sub']}".encode()).digest(),
        )

    async def _exchange(self, attempt: Attempt, code: str) -> _Tokens:
        found = await self._discover()
        sent = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._return_url,
            "code_verifier": attempt.verifier,
        }
        own, secret = self._settings.oidc_client_id, self._settings.oidc_client_secret
        basic = None
        if secret is None:
            sent["client_id"] = own
        elif "client_secret_basic" in found.token_endpoint_auth_methods_supported:
            # Both are encoded as in a form first (RFC 6749, 2.3.1).
            basic = httpx.BasicAuth(quote(own, safe=""), quote(secret.get_secret_value(), safe=""))
        else:
            sent |= {"client_id": own, "client_secret": secret.get_secret_value()}
        async with _client() as client:
            given = await _asked(client.post(found.token_endpoint, data=sent, auth=basic or httpx.USE_CLIENT_DEFAULT))
        if given.status_code in {400, 401}:
            raise SignInRefused("The provider no longer knows this sign-in: begin it again.")
        return _shaped(given, _Tokens)

    async def _checked(self, id_token: str, attempt: Attempt) -> dict[str, Any]:
        """The claims of a valid id token."""
        try:
            claims = await self._decoded(id_token)
            jwt.JWTClaimsRegistry(
                leeway=_CLOCK_SKEW_S,
                iss={"essential": True, "value": self._issuer},
                aud={"essential": True, "value": self._settings.oidc_client_id},
                nonce={"essential": True, "value": attempt.nonce},
                sub={"essential": True},
                exp={"essential": True},
                iat={"essential": True},
            ).validate(claims)
        except JoseError as error:
            raise _untrusted(error.error) from error
        others = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if claims.get("azp", None if others else self._settings.oidc_client_id) != self._settings.oidc_client_id:
            raise _untrusted("azp")
        return claims

    async def _decoded(self, id_token: str) -> dict[str, Any]:
        try:
            return jwt.decode(id_token, await self._key_set(), _ALGORITHMS).claims
        except (InvalidKeyIdError, ValueError):
            # The provider may have a new key.
            return jwt.decode(id_token, await self._key_set(age_max_s=_KEYS_AGE_MIN_S), _ALGORITHMS).claims

    async def _user_info(self, access_token: str, subject: str) -> dict[str, Any]:
        place = (await self._discover()).userinfo_endpoint
        if place is None:
            return {}
        async with _client() as client:
            given = await _asked(client.get(place, headers={"Authorization": f"Bearer {access_token}"}))
        claims = _json(given)
        if not isinstance(claims, dict) or claims.get("sub") != subject:
            raise _untrusted("userinfo")
        return claims

    async def _discover(self) -> _Discovered:
        if self._discovered is None or time.monotonic() - self._discovered[0] > _KEPT_FOR_S:
            async with _client() as client:
                place = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
                found = _shaped(await _asked(client.get(place)), _Discovered)
            if found.issuer != self._issuer:
                raise ProviderAway("The provider calls itself by another URL than CODEWELL_OIDC_ISSUER.")
            for url in (found.authorization_endpoint, found.token_endpoint, found.jwks_uri):
                if not url.startswith("https:") and not is_local(host_of(url)):
                    raise ProviderAway("The provider names an address without https.")
            self._discovered = time.monotonic(), found
        return self._discovered[1]

    async def _key_set(self, age_max_s: float = _KEPT_FOR_S) -> KeySet:
        if self._keys is None or time.monotonic() - self._keys[0] > age_max_s:
            place = (await self._discover()).jwks_uri
            async with _client() as client:
                given = _json(await _asked(client.get(place)))
            try:
                self._keys = time.monotonic(), KeySet.import_key_set(given)
            except (JoseError, ValueError, KeyError, TypeError) as error:
                raise ProviderAway("The provider's keys cannot be read.") from error
        return self._keys[1]


def _client() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False)


async def _asked(call: Any) -> httpx.Response:
    try:
        answer: httpx.Response = await call
    except httpx.HTTPError as error:
        raise ProviderAway(f"The provider does not answer ({type(error).__name__}).") from error
    if answer.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise ProviderAway(f"The provider answers {answer.status_code}.")
    return answer


def _json(answer: httpx.Response) -> Any:
    if answer.status_code != httpx.codes.OK:
        raise ProviderAway(f"The provider answers {answer.status_code}.")
    try:
        return answer.json()
    except ValueError as error:
        raise ProviderAway("The provider's answer is no JSON.") from error


def _shaped(answer: httpx.Response, shape: type[M]) -> M:
    try:
        return shape.model_validate(_json(answer))
    except ValidationError as error:
        raise ProviderAway("The provider's answer lacks what the sign-in needs.") from error


def _untrusted(what: str) -> SignInRefused:
    return SignInRefused(f"The provider's answer is not to be trusted ({what}): tell an operator.")
