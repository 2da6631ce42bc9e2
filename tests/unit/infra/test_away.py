"""What is said of a database that is away, and which hosts of a URL are tried."""

import asyncpg
import pytest

from codewell.infra.config.connections import ConnectionSettings
from codewell.infra.config.effective_settings import masked_url
from codewell.infra.config.urls import postgres_hosts, with_password
from codewell.infra.postgres.connection import address_of, outage_reason
from codewell.infra.postgres.hosts import urls_by_host


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (asyncpg.DiskFullError("could not extend file\nDETAIL: x"), "DiskFullError (53100): could not extend file"),
        (asyncpg.AdminShutdownError("going down"), "AdminShutdownError (57P01): going down"),
        # The sentence of such an error can hold a code or a customer's id.
        (asyncpg.InvalidTextRepresentationError('invalid: "p-1001"'), "InvalidTextRepresentationError (22P02)"),
        (asyncpg.exceptions.InterfaceError("invalid input for $1: 'p-1001'"), "InterfaceError"),
        (ConnectionRefusedError(111, "Connect call failed"), "ConnectionRefusedError: [Errno 111] Connect call failed"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_a_cause_is_named_without_anything_of_ours(error: Exception, said: str) -> None:
    assert outage_reason(error) == said


def test_each_host_has_a_url_of_its_own() -> None:
    assert urls_by_host("postgresql://u:a%2Cb@one:1,[::1]:2,three/db?x=y") == {
        "one:1": "postgresql://u:a%2Cb@one:1/db?x=y",
        "[::1]:2": "postgresql://u:a%2Cb@[::1]:2/db?x=y",
        "three": "postgresql://u:a%2Cb@three/db?x=y",
    }
    assert urls_by_host("postgresql:///db?host=/tmp") == {"": "postgresql:///db?host=/tmp"}


def test_an_address_in_brackets_may_be_any_of_the_hosts() -> None:
    url = "postgresql://u:secret@one:1,[::1]:2/db?x=y"
    given = {"postgres_url": url, "kafka_bootstrap": "127.0.0.1:1", "allow_insecure": True}
    assert ConnectionSettings.model_validate(given).postgres_url.get_secret_value() == url
    assert list(postgres_hosts(url)) == ["one", "::1"]
    assert masked_url(url) == "postgresql://u:********@one:1,[::1]:2/db?x=y"
    assert with_password(url, "other") == "postgresql://u:other@one:1,[::1]:2/db?x=y"
    assert address_of(url) == "one:1,[::1]:2/db"
