"""Whether the mail server answers. By the standard library: commands have no library for e-mails."""

import asyncio
import contextlib
import ssl
from typing import Final

from codewell.doctor.check_result import CheckResult
from codewell.webhooks.settings import WebhookSettings

CHECK: Final = "mail"
_GREETING: Final = b"220"


async def look_at_mail_server(settings: WebhookSettings | None) -> list[CheckResult]:
    """Connect to the mail server and await its greeting. `settings`: None where they can't be used. Raises nothing."""
    if settings is None or settings.smtp_host is None:
        return []
    place = f"{settings.smtp_host}:{settings.smtp_port}"
    try:
        async with asyncio.timeout(settings.webhook_timeout_s):
            said = await _greeting(settings)
    except TimeoutError:
        fault = f"does not answer within {settings.webhook_timeout_s:g} s"
    except (OSError, ValueError) as error:
        fault = f"cannot be reached ({type(error).__name__})"
    else:
        if said.startswith(_GREETING):
            return [CheckResult(CHECK, "well", f"the mail server at {place} answers")]
        fault = "does not greet as a mail server does"
    mend = "bring it back, or mend CODEWELL_SMTP_*: until then e-mails of webhooks wait, for three days at most"
    return [CheckResult(CHECK, "warning", f"the mail server at {place} {fault}", mend)]


async def _greeting(settings: WebhookSettings) -> bytes:
    tls = ssl.create_default_context(cafile=settings.smtp_ca_file) if settings.smtp_tls == "tls" else None
    reader, writer = await asyncio.open_connection(settings.smtp_host, settings.smtp_port, ssl=tls)
    try:
        return await reader.readline()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
