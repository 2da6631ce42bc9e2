"""Settings of the life-cycle worker."""

from typing import ClassVar

from codewell.infra.config.settings import WorkerSettings


class LifecycleSettings(WorkerSettings):
    """It has none of its own."""

    service: ClassVar[str] = "lifecycle"
