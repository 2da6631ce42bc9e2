"""Settings of processes that tell people where to look."""

from pydantic import Field

from codewell.infra.config.settings import StackSettings
from schemas import patterns


class ConsoleAddress(StackSettings):
    """Where people reach the console."""

    public_url: str | None = Field(
        None,
        pattern=patterns.WEB_URL,
        description="URL by which browsers reach the console through a proxy, such as https://codes.example.com; "
        "messages about alerts link to it.",
    )
