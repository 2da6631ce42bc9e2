"""Settings of the console."""

from pydantic import Field

from codewell.imports.settings import ImportSettings
from codewell.infra.config.settings import WorkerSettings


class ConsoleSettings(WorkerSettings, ImportSettings):
    """The console's own settings; it serves its health on its API's port."""

    api_host: str = Field("127.0.0.1", description="Bind address of the API.")
    api_port: int = Field(8080, ge=0, le=65_535, description="Port of the API; 0: a free port.")
    connections_max: int = Field(
        500, ge=1, le=100_000, description="Maximum concurrent connections; further ones get 503, except health checks."
    )
    misses_per_minute: int = Field(
        60, ge=1, le=1_000_000, description="Maximum look-ups of unknown codes per token (1/min)."
    )
