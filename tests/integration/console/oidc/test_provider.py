"""Sign-in with a real provider: what it says of a person, and what is refused."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from services.console.oidc.attempt import Attempt
from services.console.oidc.failures import ProviderAway, SignInRefused
from services.console.oidc.provider import Person, Provider
from services.console.oidc.settings import Grant, OidcSettings
from tests.support.oidc import OidcServer, oidc_server, sign_in_at

RETURN_URL = "http://console.example/sign-in/oidc/return"


def settings_of(oidc: OidcServer, **changed: Any) -> OidcSettings:
    client = oidc.register(RETURN_URL)
    given = {
        "oidc_issuer": oidc.issuer,
        "oidc_client_id": client.client_id,
        "oidc_client_secret": client.client_secret,
        "oidc_groups": {"shop": Grant(scopes=("admin",))},
    }
    return OidcSettings(postgres_url="postgresql://127.0.0.1:1", kafka_bootstrap="127.0.0.1:1", **{**given, **changed})


def provider_of(oidc: OidcServer, **changed: Any) -> Provider:
    return Provider(oidc.issuer, settings_of(oidc, **changed), RETURN_URL)


async def answered(provider: Provider, attempt: Attempt, login: str, *, again: bool = False) -> dict[str, str]:
    """The query with which the provider sends the person back."""
    url = await provider.sign_in_url(attempt, again=again)
    with httpx.Client(trust_env=False) as browser:
        back = sign_in_at(browser, url, login)
    assert str(back).startswith(f"{RETURN_URL}?")
    return dict(back.params)


async def test_a_person_with_groups(oidc: OidcServer) -> None:
    provider, attempt = provider_of(oidc), Attempt.begin()
    before = datetime.now(UTC) - timedelta(seconds=1)
    person = await provider.person(attempt, await answered(provider, attempt, "anna+shop+ops", again=True))
    assert person.name == "anna@example.com"
    assert person.groups == ("shop", "ops")
    assert person.authenticated_at is not None
    assert before - timedelta(seconds=1) <= person.authenticated_at <= datetime.now(UTC)


async def test_the_claims_are_a_setting(oidc: OidcServer) -> None:
    provider = provider_of(oidc, oidc_name_claim="sub", oidc_groups_claim="email")
    attempt = Attempt.begin()
    found = await provider.person(attempt, await answered(provider, attempt, "anna"))
    assert found._replace(authenticated_at=None, key=b"") == Person("anna", ("anna@example.com",), None, b"")


async def test_a_person_without_groups(oidc: OidcServer) -> None:
    provider, attempt = provider_of(oidc, oidc_scope="openid"), Attempt.begin()
    person = await provider.person(attempt, await answered(provider, attempt, "anna+shop"))
    assert (person.name, person.groups) == ("anna+shop", ())


async def test_an_answer_is_good_once_and_for_its_own_attempt(oidc: OidcServer) -> None:
    provider, attempt, other = provider_of(oidc), Attempt.begin(), Attempt.begin()
    answer = await answered(provider, attempt, "anna+shop")
    with pytest.raises(SignInRefused, match="not begun in this browser"):
        await provider.person(other, answer)
    # Another's code under one's own state: the verifier of PKCE is not the one that the code is bound to.
    with pytest.raises(SignInRefused, match="no longer knows"):
        await provider.person(other, {**answer, "state": other.state})
    answer = await answered(provider, attempt, "anna+shop")
    assert (await provider.person(attempt, answer)).name == "anna@example.com"
    with pytest.raises(SignInRefused, match="no longer knows"):
        await provider.person(attempt, answer)


async def test_what_the_provider_refuses(oidc: OidcServer) -> None:
    provider, attempt = provider_of(oidc), Attempt.begin()
    for answer, words in (
        ({"error": "access_denied"}, "cancelled"),
        ({"error": "server_error", "error_description": "<b>"}, "provider refused"),
        ({}, "provider refused"),
        ({"code": "x", "iss": "https://other.example"}, "another provider"),
    ):
        with pytest.raises(SignInRefused, match=words):
            await provider.person(attempt, {"state": attempt.state, **answer})


async def test_a_wrong_secret_is_refused(oidc: OidcServer) -> None:
    provider, attempt = provider_of(oidc, oidc_client_secret="wrong"), Attempt.begin()
    answer = await answered(provider, attempt, "anna+shop")
    with pytest.raises(SignInRefused, match="no longer knows"):
        await provider.person(attempt, answer)


async def test_a_provider_that_is_away_is_told_at_once(servers_directory: str) -> None:
    from pathlib import Path

    with oidc_server(Path(servers_directory)) as own:
        provider = provider_of(own)
        await provider.sign_in_url(Attempt.begin(), again=False)
        attempt = Attempt.begin()
    began = time.monotonic()
    with pytest.raises(ProviderAway, match="does not answer"):
        await provider.person(attempt, {"state": attempt.state, "code": "x"})
    with pytest.raises(ProviderAway, match="does not answer"):
        await Provider(own.issuer, settings_of_nobody(own.issuer), RETURN_URL).sign_in_url(attempt, again=False)
    assert time.monotonic() - began < 5


def settings_of_nobody(issuer: str) -> OidcSettings:
    return OidcSettings(
        postgres_url="postgresql://127.0.0.1:1", kafka_bootstrap="127.0.0.1:1", oidc_issuer=issuer, oidc_client_id="x",
        oidc_groups={"shop": Grant(scopes=("admin",))},
    )  # fmt: skip


async def test_an_issuer_that_calls_itself_otherwise_is_not_trusted(oidc: OidcServer) -> None:
    alias = oidc.issuer.replace("127.0.0.1", "localhost")
    provider = Provider(alias, settings_of_nobody(alias), RETURN_URL)
    with pytest.raises(ProviderAway, match="another URL"):
        await provider.sign_in_url(Attempt.begin(), again=False)
