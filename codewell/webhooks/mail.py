"""E-mails by SMTP: one connection for each message, as they are few."""

import asyncio
import ssl
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Final

import aiosmtplib

from codewell.webhooks.leases import Outcome
from codewell.webhooks.messages import ANSWER_CHARACTERS_MAX, Message
from codewell.webhooks.settings import WebhookSettings

_PERMANENT: Final = 500
_SUBJECT_CHARACTERS_MAX: Final = 150


class Mailer:
    """Sends messages through the server of the settings."""

    def __init__(self, settings: WebhookSettings) -> None:
        self._settings = settings
        self._tls = ssl.create_default_context(cafile=settings.smtp_ca_file)

    async def send(self, address: str, message: Message) -> Outcome:
        """Send a message. Raises nothing."""
        if self._settings.smtp_host is None:
            return Outcome(None, "No mail server is set: set CODEWELL_SMTP_HOST.")
        try:
            async with asyncio.timeout(self._settings.webhook_timeout_s):
                return await self._send(self.email(address, message))
        except TimeoutError:
            return Outcome(None, f"The mail server took longer than {self._settings.webhook_timeout_s:g} s.")
        except (aiosmtplib.SMTPException, OSError) as error:
            return _failed(error)

    def email(self, address: str, message: Message) -> EmailMessage:
        """The message as an e-mail. A repeated one has the same Message-ID, so that mail programs show it once."""
        sender = str(self._settings.smtp_from)
        mail = EmailMessage()
        mail["From"] = sender
        mail["To"] = address
        mail["Subject"] = message.title[:_SUBJECT_CHARACTERS_MAX]
        mail["Date"] = format_datetime(message.occurred_at)
        mail["Message-ID"] = f"<{message.id}@{sender.rpartition('@')[2]}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content("\n".join([message.title, "", *message.lines, "", "Sent by Codewell."]))
        return mail

    async def _send(self, mail: EmailMessage) -> Outcome:
        settings = self._settings
        password = settings.smtp_password
        server = aiosmtplib.SMTP(
            hostname=settings.smtp_host,
            port=settings.smtp_port,
            timeout=settings.webhook_timeout_s,
            use_tls=settings.smtp_tls == "tls",
            # Not optional: a server that offers none is refused.
            start_tls=settings.smtp_tls == "starttls",
            tls_context=None if settings.smtp_tls == "none" else self._tls,
            username=settings.smtp_username or None,
            password=None if password is None else password.get_secret_value(),
        )
        try:
            await server.connect()
            _, said = await server.send_message(mail)
        finally:
            server.close()
        return Outcome(250, None, _words(said))


def _failed(error: Exception) -> Outcome:
    """What an error of SMTP or of the network means."""
    name = type(error).__name__
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        [refused] = error.recipients
        is_final = refused.code >= _PERMANENT
        sentence = "The mail server refused the recipient."
        return Outcome(refused.code, sentence, _words(refused.message), hopeless=is_final)
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return Outcome(error.code, f"The mail server refused ({name}).", _words(error.message))
    if isinstance(error, aiosmtplib.SMTPException) and not isinstance(error, aiosmtplib.SMTPServerDisconnected):
        # It names hosts and extensions only.
        return Outcome(None, f"The mail server cannot be used: {_words(str(error))}")
    return Outcome(None, f"The mail server cannot be reached or broke off ({name}).")


def _words(text: str) -> str:
    # An answer that is not UTF-8 has surrogates, which cannot be stored, and neither can NUL.
    plain = "".join(one if one.isprintable() else " " for one in text)
    return " ".join(plain.split())[:ANSWER_CHARACTERS_MAX]
