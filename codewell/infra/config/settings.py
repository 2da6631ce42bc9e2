"""Settings of the services: one frozen class each, read once from `CODEWELL_*` variables.

Where Postgres and Kafka are may also come from the `endpoints.json` of a stack in `CODEWELL_HOME`.
"""

import os
from base64 import b64decode
from binascii import Error as NotBase64
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    JsonConfigSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from codewell.errors import SettingsInvalid
from codewell.files.limits import Limits
from codewell.infra.config.connections import ConnectionSettings
from codewell.infra.config.secret_files import SecretFiles

HOME_DEFAULT: Final = ".codewell"
_MASTER_KEY_BYTES: Final = (16, 24, 32)
_LIMITS: Final = Limits()


def _split(given: object) -> object:
    if isinstance(given, str):
        return tuple(text.strip() for text in given.split(",") if text.strip())
    return given


# Texts that one variable gives, separated by commas.
_Several = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


def _is_key(text: str) -> bool:
    try:
        return len(b64decode(text, validate=True)) in _MASTER_KEY_BYTES
    except NotBase64:
        return False


def home() -> Path:
    """The directory of the stack on this machine: `CODEWELL_HOME`, else `.codewell` here."""
    return Path(os.environ.get("CODEWELL_HOME") or HOME_DEFAULT)


class StackSettings(ConnectionSettings):
    """What every process needs to know."""

    model_config = SettingsConfigDict(env_prefix="CODEWELL_", frozen=True, extra="ignore", hide_input_in_errors=True)

    topic_prefix: str = Field(
        "", pattern=r"^[A-Za-z0-9._-]{0,100}$", description="Put before the name of every topic and consumer group."
    )
    master_key: SecretStr | None = Field(
        None, description="Wraps the keys of programs in the database: 16, 24 or 32 bytes in base64."
    )
    master_key_previous: SecretStr | None = Field(
        None, description="Other master keys that keys may be wrapped with while one replaces them, by commas."
    )
    guesses_per_s: float = Field(
        10.0, gt=0, le=1e9, description="Guesses a second that codes must withstand (1/s); judged at creation."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least that is logged.")

    @field_validator("master_key")
    @classmethod
    def _has_the_size_of_a_key(cls, given: SecretStr | None) -> SecretStr | None:
        if given is None or _is_key(given.get_secret_value()):
            return given
        raise ValueError("must be 16, 24 or 32 bytes in base64; `openssl rand -base64 32` makes one")

    @field_validator("master_key_previous")
    @classmethod
    def _stand_beside_a_newer_one(cls, given: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if given is None or not given.get_secret_value():
            return None
        if info.data.get("master_key") is None:
            raise ValueError("stands beside CODEWELL_MASTER_KEY, which is to be set too")
        if not all(map(_is_key, given.get_secret_value().split(","))):
            raise ValueError("must be keys of 16, 24 or 32 bytes in base64, separated by commas")
        return given

    @property
    def given_keys(self) -> tuple[bytes, ...]:
        """All master keys, the newest first; none when keys are stored as they are."""
        texts = [self.master_key, self.master_key_previous]
        return tuple(b64decode(text) for one in texts if one is not None for text in one.get_secret_value().split(","))

    @property
    def master_keys(self) -> tuple[bytes | None, *tuple[bytes, ...]]:
        """What a `Minters` is made of: the newest or None, and the others."""
        given = self.given_keys
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
        """Arguments win over the environment and the files that it names, and those over a stack's endpoints."""
        endpoints = JsonConfigSettingsSource(settings_cls, json_file=home() / "endpoints.json")
        return init_settings, env_settings, SecretFiles(settings_cls), endpoints


class WorkerSettings(StackSettings):
    """What every worker needs to know besides."""

    health_host: str = Field("127.0.0.1", description="Where a worker serves /healthz, /readyz and /metrics.")
    health_port: int = Field(
        0, ge=-1, le=65_535, description="Its port; 0 takes a free one and logs it, -1 serves nothing."
    )
    start_timeout_s: float = Field(
        20.0, gt=0, le=600, description="How long a starting worker waits for Postgres and Kafka (s)."
    )
    stop_timeout_s: float = Field(
        15.0, gt=0, le=120, description="How long a stopping worker may take for the batch in hand (s)."
    )
    otlp_endpoint: str | None = Field(
        None,
        pattern=r"^https?://\S+$",
        description="Where issuers and consoles send traces by OTLP over HTTP, as http://host:4318.",
    )
    trace_share: float = Field(
        0.01, ge=0, le=1, description="Share of requests that are traced where their sender says nothing about it."
    )
    failpoints: str = Field(
        "", description="Moments at which this worker is to die, for tests of crashes; never in use."
    )


class IssuerSettings(WorkerSettings):
    """The issuer's own."""

    batch_size_max: int = Field(4_000, ge=1, le=50_000, description="Requests decided in one transaction, at most.")
    reply_topics: _Several = Field(
        (), description="Topics that a request may name in kafka_replyTopic, separated by commas."
    )
    retry_delay_s: float = Field(
        1.0,
        ge=0.05,
        le=60,
        description="How long a request waits in a retry topic, at most, before it is tried again (s); half at least.",
    )
    retries_max: int = Field(
        10_000, ge=1, le=1_000_000, description="How often a request waits; then it is refused or a dead letter."
    )
    demand_interval_s: float = Field(
        0.25, ge=0.01, le=60, description="The least time between two pool-demand events of a program (s)."
    )
    remote_wait_s: float = Field(
        30.0,
        ge=0.1,
        le=3_600,
        description="How long a request without a deadline waits for the remote service of an empty program (s).",
    )


class GeneratorSettings(WorkerSettings):
    """The generator's own."""

    sweep_interval_s: float = Field(
        60.0, ge=0.1, le=3_600, description="How often all programs are looked at, whatever events came (s)."
    )
    remote_concurrency: int = Field(
        8, ge=2, le=256, description="Requests to remote services side by side; one program has half of them at most."
    )
    remote_timeout_s: float = Field(
        10.0, ge=0.1, le=300, description="How long one exchange with a remote service may take, all in all (s)."
    )
    remote_give_up_s: float = Field(
        86_400.0,
        ge=1,
        le=30 * 86_400,
        description="How long one request to a remote service is tried again (s); then its codes are ordered anew.",
    )
    remote_allow: _Several = Field(
        (), description="Networks inside which remote services may be all the same, as 10.1.0.0/16, by commas."
    )

    @field_validator("remote_allow")
    @classmethod
    def _are_networks(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        for text in given:
            try:
                ip_network(text)
            except ValueError as error:
                raise ValueError(f"{text} must be a network such as 10.1.0.0/16") from error
        return given


class ImportSettings(StackSettings):
    """How large files that are imported may be."""

    import_bytes_max: int = Field(_LIMITS.bytes_max, ge=1, le=2**40, description="Bytes of a file that is imported.")
    import_rows_max: int = Field(_LIMITS.rows_max, ge=1, le=2**31, description="Rows of a file that is imported.")
    import_unpacked_bytes_max: int = Field(
        _LIMITS.unpacked_bytes_max, ge=1, le=2**40, description="Bytes that a workbook may unpack to."
    )
    import_columns_max: int = Field(_LIMITS.columns_max, ge=1, le=20_000, description="Columns of a file.")
    import_cell_chars_max: int = Field(_LIMITS.cell_chars_max, ge=1, le=10**6, description="Characters of one cell.")

    @property
    def import_limits(self) -> Limits:
        """All of them."""
        return Limits(
            self.import_bytes_max,
            self.import_rows_max,
            self.import_unpacked_bytes_max,
            self.import_columns_max,
            self.import_cell_chars_max,
        )


class ConsoleSettings(WorkerSettings, ImportSettings):
    """The console's own; it serves its health on its API's port."""

    api_host: str = Field("127.0.0.1", description="Where the API listens.")
    api_port: int = Field(8080, ge=0, le=65_535, description="Its port; 0 takes a free one.")
    connections_max: int = Field(
        500, ge=1, le=100_000, description="Connections at once; one more is told to come again, except probes."
    )
    misses_per_minute: int = Field(
        60, ge=1, le=1_000_000, description="Codes that don't exist which a token may look up in a minute (1/min)."
    )


_S = TypeVar("_S", bound=BaseSettings)


def read(kind: type[_S]) -> _S:
    """Read the settings of one process. Raises SettingsInvalid, naming the variable and what it must be."""
    try:
        return kind()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        says = first["msg"].removeprefix("Value error, ").rstrip(".")
        if not first["loc"]:
            # Several of them together are wrong, and it says which.
            raise SettingsInvalid(f"{says}.") from error
        name = f"CODEWELL_{str(first['loc'][0]).upper()}"
        if first["type"] == "missing":
            raise SettingsInvalid(
                f"{name} is not set and there is no stack in {home()}: set it, or start one with codewell standalone."
            ) from error
        raise SettingsInvalid(f"{name} is not right: {says}.") from error
    except (ValueError, TypeError, OSError) as error:
        raise SettingsInvalid(
            f"{home() / 'endpoints.json'} can't be read ({error}): remove it, or start the stack again."
        ) from error
