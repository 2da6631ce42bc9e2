from typing import Any

import pytest

from schemas.token import Scope
from services.console.oidc.attempt import Attempt
from services.console.oidc.grants import grant_of
from services.console.oidc.settings import Grant, OidcSettings


def grant(*scopes: Scope, groups: tuple[str, ...] = ()) -> Grant:
    return Grant(scopes=scopes, groups=groups)


def test_without_a_match_there_are_no_rights() -> None:
    assert grant_of(["other"], {"shop": grant("admin")}) is None
    assert grant_of([], {"shop": grant("admin")}) is None


def test_the_first_match_of_the_setting_decides() -> None:
    granted = {"boss": grant("admin"), "shop": grant("read", groups=("shop",))}
    assert grant_of(["shop", "boss"], granted) == grant("admin")
    assert grant_of(["shop"], granted) == grant("read", groups=("shop",))


def test_access_groups_of_matches_with_the_same_scopes_are_added() -> None:
    granted = {
        "a": grant("read", "write", groups=("a", "ab")),
        "b": grant("write", "read", groups=("b", "ab")),
        "c": grant("admin", groups=("c",)),
    }
    assert grant_of(granted, granted) == grant("read", "write", groups=("a", "ab", "b", "c"))


@pytest.mark.parametrize("other", [grant("read", groups=("b",)), grant("read"), grant("write", "profiles")])
def test_nobody_gets_a_scope_where_no_match_gives_it(other: Grant) -> None:
    first = grant("read", "write", groups=("a",))
    assert grant_of(["first", "other"], {"first": first, "other": other}) == first


def test_profiles_is_no_part_of_admin() -> None:
    first = grant("read", "profiles", groups=("a",))
    assert grant_of(["first", "other"], {"first": first, "other": grant("admin", groups=("b",))}) == first


def test_a_match_with_all_programs_opens_all() -> None:
    granted = {"a": grant("read", groups=("a",)), "b": grant("admin")}
    assert grant_of(granted, granted) == grant("read")


def test_the_texts_of_an_attempt_follow_from_its_secret_and_differ() -> None:
    one, other = Attempt.begin(), Attempt.begin()
    assert Attempt.of(one.secret) == one
    assert len({*one, *other, one.challenge, other.challenge}) == 10
    assert one.is_answered_by(one.state)
    assert not one.is_answered_by(other.state)
    assert not one.is_answered_by("ü")


GIVEN: dict[str, Any] = {
    "oidc_issuer": "https://id.example.com", "oidc_client_id": "codewell", "oidc_groups": {"a": {"scopes": ["read"]}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"oidc_issuer": "http://id.example.com"}, "CODEWELL_OIDC_ISSUER is invalid: use a URL with https"),
        ({"oidc_client_id": ""}, "CODEWELL_OIDC_CLIENT_ID is not set"),
        ({"oidc_groups": {}}, "CODEWELL_OIDC_GROUPS is not set"),
        ({"oidc_scope": "email"}, "CODEWELL_OIDC_SCOPE is invalid"),
        ({"oidc_groups": {"a": {"scopes": ["all"]}}}, "scopes"),
        ({"oidc_groups": {"a": {"scopes": ["read"], "groups": ["a b"]}}}, "groups"),
    ],
)
def test_settings_that_can_not_be(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        OidcSettings(postgres_url="postgresql://127.0.0.1:1", kafka_bootstrap="127.0.0.1:1", **{**GIVEN, **changed})
    OidcSettings(postgres_url="postgresql://127.0.0.1:1", kafka_bootstrap="127.0.0.1:1", **GIVEN)
