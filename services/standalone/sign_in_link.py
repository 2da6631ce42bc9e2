"""A link that signs in to the web console of a stack, as its administrator."""

from codewell.access import sign_in_links
from codewell.infra.postgres.connection import connection
from services.standalone.admin_token import ADMIN
from services.standalone.home import Endpoints


async def sign_in_url(endpoints: Endpoints) -> str:
    """The link; it works once, within a minute. Raises StackUnavailable."""
    async with connection(endpoints.postgres_url, "codewell-standalone") as opened:
        secret = await sign_in_links.make(opened, ADMIN)
    return f"{endpoints.api_url}/sign-in/link?secret={secret}"
