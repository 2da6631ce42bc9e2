"""Settings common to all processes, read once from `CODEWELL_*` variables; each service adds a class of its own.

The addresses of Postgres and Kafka may also come from the `endpoints.json` of a stack in `CODEWELL_HOME`.
"""

import os
from base64 import b64decode
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    JsonConfigSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from codewell.errors import SettingsInvalid
from codewell.infra.config.connections import ConnectionSettings
from codewell.infra.config.secret_files import SecretFiles, is_secret
from codewell.validation import words_of
from schemas import patterns
from schemas.moments import zone_named

HOME_DEFAULT: Final = ".codewell"
_ADDRESSES: Final = ("postgres_url", "kafka_bootstrap")
_MASTER_KEY_BYTES: Final = (16, 24, 32)


def _split_commas(given: object) -> object:
    if isinstance(given, str):
        return tuple(text.strip() for text in given.split(",") if text.strip())
    return given


# A list of texts in one variable, comma-separated.
CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_commas)]


def _is_master_key(text: str) -> bool:
    try:
        return len(b64decode(text, validate=True)) in _MASTER_KEY_BYTES
    except ValueError:
        return False


def home() -> Path:
    """The directory of the stack on this machine: `CODEWELL_HOME`, or `.codewell` in the working directory."""
    return Path(os.environ.get("CODEWELL_HOME") or HOME_DEFAULT)


class StackEndpoints(PydanticBaseSettingsSource):
    """The addresses that a stack on this machine has written; not looked for where others gave both of them.

    A worker that knows its servers needs no home: it may be unreadable, or hold the file of a stack that died.
    """

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 (its base's)
        """Return the stack's value of one setting, or None."""
        return self().get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        """All that is in `endpoints.json`; empty without a stack. Raises OSError, ValueError or TypeError."""
        return stack_endpoints(self.settings_cls, self.current_state)


def stack_endpoints(kind: type[BaseSettings], given: Container[str]) -> dict[str, Any]:
    """The content of `endpoints.json` in the home; empty when both addresses are `given` or no stack runs."""
    if all(name in given for name in _ADDRESSES):
        return {}
    return JsonConfigSettingsSource(kind, json_file=home() / "endpoints.json")()


class StackSettings(ConnectionSettings):
    """Settings of every process, commands included."""

    model_config = SettingsConfigDict(env_prefix="CODEWELL_", frozen=True, extra="ignore", hide_input_in_errors=True)

    topic_prefix: str = Field(
        "", pattern=patterns.TOPIC_PREFIX, description="Prefix of all topic and consumer group names."
    )
    master_key: SecretStr | None = Field(
        None, description="Master key that encrypts the programs' keys in the database: 16, 24 or 32 bytes in base64."
    )
    master_key_previous: SecretStr | None = Field(
        None, description="Previous master keys, comma-separated; needed while `codewell keys rotate` replaces them."
    )
    guesses_per_s: float = Field(
        10.0, gt=0, le=1e9, description="Guess rate that codes must withstand (1/s); checked when a program is created."
    )
    returns_share_max: float = Field(
        0.2,
        gt=0,
        le=1,
        description="Share of the codes that a program attached in the last hour which may come back; above it, its "
        "returns stop until the alert is cleared.",
    )
    time_zone: str = Field(
        "UTC", description="Time zone of dates and times that name none, such as valid_until; as Europe/Berlin."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Minimum log level.")

    @field_validator("time_zone")
    @classmethod
    def _check_time_zone(cls, given: str) -> str:
        zone_named(given)
        return given

    @field_validator("master_key")
    @classmethod
    def _check_master_key(cls, given: SecretStr | None) -> SecretStr | None:
        if given is None or _is_master_key(given.get_secret_value()):
            return given
        raise ValueError("must be 16, 24 or 32 bytes in base64; create one with `openssl rand -base64 32`")

    @field_validator("master_key_previous")
    @classmethod
    def _check_previous_master_keys(cls, given: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if given is None or not given.get_secret_value():
            return None
        if info.data.get("master_key") is None:
            raise ValueError("needs CODEWELL_MASTER_KEY: set it too")
        if not all(map(_is_master_key, given.get_secret_value().split(","))):
            raise ValueError("must be keys of 16, 24 or 32 bytes in base64, separated by commas")
        return given

    @property
    def all_master_keys(self) -> tuple[bytes, ...]:
        """All master keys, the newest first; empty if keys are stored in plain."""
        texts = [self.master_key, self.master_key_previous]
        return tuple(b64decode(text) for one in texts if one is not None for text in one.get_secret_value().split(","))

    @property
    def master_keys(self) -> tuple[bytes | None, *tuple[bytes, ...]]:
        """The arguments of `Minters`: the newest master key or None, then the previous ones."""
        given = self.all_master_keys
        return (given[0], *given[1:]) if given else (None,)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments take precedence over the environment and its secret files, and those over a stack's endpoints."""
        return init_settings, env_settings, SecretFiles(settings_cls), StackEndpoints(settings_cls)


class WorkerSettings(StackSettings):
    """Settings of every worker."""

    health_host: str = Field("127.0.0.1", description="Bind address of /healthz, /readyz and /metrics.")
    health_port: int = Field(
        0, ge=-1, le=65_535, description="Port of the health endpoints; 0: a free port, which is logged; -1: none."
    )
    start_timeout_s: float = Field(
        20.0,
        gt=0,
        le=600,
        description="Maximum wait for Postgres and Kafka at start (s); the image sets 600, "
        "as an orchestrator waits longer and longer between restarts.",
    )
    stop_timeout_s: float = Field(
        15.0, gt=0, le=120, description="Maximum time to finish the current batch at shutdown (s)."
    )
    otlp_endpoint: str | None = Field(
        None,
        pattern=patterns.HTTP_ENDPOINT,
        description="OTLP/HTTP endpoint for traces of issuers and consoles, as http://host:4318.",
    )
    trace_share: float = Field(
        0.01, ge=0, le=1, description="Sampling ratio of requests without a trace context of their sender."
    )
    failpoints: str = Field("", description="Failpoints at which this process exits; for crash tests only.")


_S = TypeVar("_S", bound=BaseSettings)


def variables_of(kinds: Iterable[type[BaseSettings]]) -> frozenset[str]:
    """The variables of these settings, and those that name the files of their secrets."""
    fields = [(f"CODEWELL_{name.upper()}", field) for kind in kinds for name, field in kind.model_fields.items()]
    return frozenset({name for name, _ in fields} | {f"{name}_FILE" for name, field in fields if is_secret(field)})


def read_settings(kind: type[_S]) -> _S:
    """Read the settings of one process. Raises SettingsInvalid, naming the variable and what it must be."""
    try:
        return kind()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        says = words_of(first)
        if not first["loc"]:
            # A check of several settings together failed; its message names them.
            raise SettingsInvalid(f"{says}.") from error
        name = f"CODEWELL_{str(first['loc'][0]).upper()}"
        if first["type"] == "missing":
            raise SettingsInvalid(
                f"{name} is not set and there is no stack in {home()}: set it, or start a stack with codewell "
                "standalone."
            ) from error
        raise SettingsInvalid(f"{name} is invalid: {says}.") from error
    except (ValueError, TypeError, OSError) as error:
        raise SettingsInvalid(
            f"{home() / 'endpoints.json'} cannot be read: remove it, or start the stack again. It is not read when "
            "CODEWELL_POSTGRES_URL and CODEWELL_KAFKA_BOOTSTRAP are set."
        ) from error
