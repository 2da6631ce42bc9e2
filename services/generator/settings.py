"""Settings of the generator."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from codewell.alerts.settings import ConsoleAddress
from codewell.infra.config.settings import WorkerSettings
from codewell.remote.settings import RemoteSettings
from codewell.webhooks.settings import WebhookSettings


class GeneratorSettings(WorkerSettings, ConsoleAddress, RemoteSettings, WebhookSettings):
    """The generator's own settings."""

    service: ClassVar[str] = "generator"

    sweep_interval_s: float = Field(
        60.0, ge=0.1, le=3_600, description="Interval of the sweep over all programs, independent of events (s)."
    )
    remote_concurrency: int = Field(
        8, ge=2, le=256, description="Maximum concurrent requests to remote services; one program uses at most half."
    )
    remote_give_up_s: float = Field(
        86_400.0,
        ge=1,
        le=30 * 86_400,
        description="Maximum time to retry one request to a remote service (s); then its codes are ordered anew.",
    )
    retention_days: int | None = Field(
        None,
        ge=1,
        le=36_500,
        description="Days after a code's expiry until its answer may leave the database; unset: answers stay for ever.",
    )
    replay_days: int = Field(
        35,
        ge=1,
        le=36_500,
        description="With a retention: days within which a request may come again. One with an older id is refused.",
    )
    archive_dir: Path | None = Field(
        None, description="Folder for the CSV files of answers that leave; unset: they are deleted only."
    )
