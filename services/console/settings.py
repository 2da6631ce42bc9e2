"""Settings of the console."""

from pydantic import Field

from codewell.imports.settings import ImportSettings
from codewell.infra.config.settings import WorkerSettings


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
