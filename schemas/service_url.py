"""The URL of a remote service."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, StringConstraints

from schemas import patterns


def _plain_url(given: str) -> str:
    """Requests are signed, so a URL needs no password, which would be shown with it."""
    try:
        parts = urlsplit(given)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError("must be like https://codes.example.com/orders") from error
    if not host:
        raise ValueError("must name a host, as https://codes.example.com/orders does")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must contain no user and no password: requests are signed instead")
    if "#" in given:
        raise ValueError("must contain no fragment (#), which is never sent")
    return given


ServiceUrl = Annotated[
    str, StringConstraints(pattern=patterns.WEB_URL, max_length=2_000), AfterValidator(_plain_url)
]  # fmt: skip
