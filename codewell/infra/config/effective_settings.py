"""The settings in force and the source of each, with secrets masked."""

import os
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import unquote, urlunsplit

from pydantic import SecretStr
from pydantic_settings import BaseSettings

from codewell.infra.config.secret_files import is_secret, secret_path
from codewell.infra.config.settings import read_settings, stack_endpoints
from codewell.infra.config.urls import split_postgres_url

MASK = "********"
_SECRET_OPTIONS = {"password", "sslpassword"}


class EffectiveSetting(NamedTuple):
    """One setting with its value and source."""

    variable: str
    value: Any
    source: str
    """environment, file, stack or default."""


def effective_settings(kind: type[BaseSettings]) -> Iterator[EffectiveSetting]:
    """Yield each setting of a process. Raises SettingsInvalid as `read_settings` does."""
    settings = read_settings(kind)
    in_environment = {name.upper() for name in os.environ}
    given: dict[str, str] = {}
    for name, field in kind.model_fields.items():
        if f"CODEWELL_{name.upper()}" in in_environment:
            given[name] = "environment"
        elif is_secret(field) and secret_path(name):
            given[name] = "file"
    from_stack = stack_endpoints(kind, given)
    for name in kind.model_fields:
        source = given.get(name) or ("stack" if name in from_stack else "default")
        yield EffectiveSetting(f"CODEWELL_{name.upper()}", _masked(name, getattr(settings, name)), source)


def _masked(name: str, value: Any) -> Any:
    if isinstance(value, SecretStr):
        return masked_url(value.get_secret_value()) if name == "postgres_url" else MASK
    if isinstance(value, tuple):
        return ",".join(MASK if isinstance(one, SecretStr) else str(one) for one in value)
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def masked_url(url: str) -> str:
    """A Postgres URL without its passwords: one before the host, and up to two in its options."""
    parts = split_postgres_url(url)
    user, at, hosts = parts.netloc.rpartition("@")
    if ":" in user:
        user = f"{user.partition(':')[0]}:{MASK}"
    options = [
        f"{name}={MASK}" if unquote(name) in _SECRET_OPTIONS else f"{name}{equals}{value}"
        for name, equals, value in (option.partition("=") for option in parts.query.split("&"))
    ]
    return urlunsplit(parts._replace(netloc=f"{user}{at}{hosts}", query="&".join(options)))
