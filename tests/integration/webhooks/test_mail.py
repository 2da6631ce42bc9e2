"""E-mails through a real SMTP server on this machine: with STARTTLS and login; it breaks off, and it refuses."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any, cast

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from codewell.errors import SettingsInvalid
from codewell.infra.config.settings import read_settings
from codewell.infra.postgres.connection import Connection
from codewell.webhooks import deliveries, leases
from codewell.webhooks.settings import WebhookSettings
from tests.integration.webhooks.conftest import Sending, event, publish, states, subscribe
from tests.support.certificates import Authority
from tests.support.running import until

PASSWORD = "a-password-for-tests-only"
Servers = Callable[..., AbstractAsyncContextManager["MailServer"]]


class MailServer:
    """Keeps what it is sent, and answers as `answers` say, one for each message; then it takes all."""

    def __init__(self, answers: list[str]) -> None:
        self.answers = answers
        self.taken: list[EmailMessage] = []
        self.over_tls: list[bool] = []
        self.users: list[str | None] = []
        self.port = 0
        self.protocols: list[SMTP] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        self.taken.append(mail)
        self.over_tls.append(session.ssl is not None)
        self.users.append(session.auth_data.login.decode() if session.auth_data else None)
        answer = self.answers.pop(0) if self.answers else "250 taken"
        if not answer.isascii():
            # As a server of old says it; what the library answers comes too late.
            cast("asyncio.Transport", server.transport).write(answer.encode("latin-1") + b"\r\n")
            return "250 taken"
        if answer == "drop":
            cast("asyncio.Transport", server.transport).abort()
        return answer

    async def handle_RCPT(  # noqa: N802
        self, _: SMTP, __: Session, envelope: Envelope, address: str, ___: list[str]
    ) -> str:
        if address.startswith("nobody"):
            return "550 there is nobody of this name"
        envelope.rcpt_tos.append(address)
        return "250 ok"


def _authenticated(_: SMTP, __: Session, ___: Envelope, ____: str, data: Any) -> AuthResult:
    good = isinstance(data, LoginPassword) and data.password == PASSWORD.encode()
    return AuthResult(success=good, handled=False, auth_data=data)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def mail_server(authority: Authority) -> Servers:
    """Starts a server with STARTTLS, which it demands before a login, which it demands too."""

    @asynccontextmanager
    async def started(*answers: str) -> AsyncIterator[MailServer]:
        server = MailServer([*answers])
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(*authority.issue("127.0.0.1"))

        def protocol() -> SMTP:
            made = SMTP(
                server, tls_context=tls, require_starttls=True, auth_required=True, authenticator=_authenticated,
                auth_require_tls=True, loop=asyncio.get_running_loop(),
            )  # fmt: skip
            server.protocols.append(made)
            return made

        listening = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
        server.port = listening.sockets[0].getsockname()[1]
        try:
            yield server
        finally:
            listening.close()
            for one in server.protocols:
                if one.transport is not None:
                    cast("asyncio.Transport", one.transport).abort()

    return started


def settings(server: MailServer, authority: Authority, **changed: Any) -> dict[str, Any]:
    return {
        "smtp_host": "127.0.0.1", "smtp_port": server.port, "smtp_from": "codewell@example.com",
        "smtp_username": "codewell", "smtp_password": PASSWORD, "smtp_ca_file": authority.file, **changed,
    }  # fmt: skip


async def ended(connection: Connection, webhook_id: int) -> list[str]:
    async def all_ended() -> bool:
        return "waiting" not in await states(connection, webhook_id)

    await until(all_ended, "end of the deliveries")
    return await states(connection, webhook_id)


async def test_an_email_is_sent_over_tls_after_a_login(
    connection: Connection, sending: Sending, mail_server: Servers, authority: Authority
) -> None:
    webhook, secret = await subscribe(connection, "ops@example.org", kind="email")
    assert secret is None
    data = '{"title": "Codes no longer come back\\nBcc: x@y.z", "action": "Look.", "figures": {"share": 0.5}}'
    [id_] = await publish(connection, event(data=data))
    async with mail_server() as server:
        async with sending(**settings(server, authority)):
            assert await ended(connection, webhook.id) == ["delivered"]
        [mail] = server.taken
    assert (server.over_tls, server.users) == ([True], ["codewell"])
    assert (mail["To"], mail["Bcc"]) == ("ops@example.org", None)
    assert mail["Subject"] == "Alert: Codes no longer come back Bcc: x@y.z"
    assert mail["Message-ID"] == f"<{id_}@example.com>"
    assert "Look." in mail.get_content()
    assert "share: 0.5" in mail.get_content()


async def test_a_server_that_takes_it_and_breaks_off_gets_the_same_message_again(
    connection: Connection, sending: Sending, mail_server: Servers, authority: Authority
) -> None:
    webhook, _ = await subscribe(connection, "ops@example.org", kind="email")
    await publish(connection, event())
    async with mail_server("drop", "451 later") as server:
        async with sending(**settings(server, authority)):
            assert await ended(connection, webhook.id) == ["delivered"]
        assert len(server.taken) == 3
        assert len({mail["Message-ID"] for mail in server.taken}) == 1
    [row] = await deliveries.page(connection, webhook.id, None, 10)
    tried = (await deliveries.get(connection, webhook.id, row.id)).tried
    assert [one.status for one in tried] == [None, 451, 250]
    assert "broke off" in str(tried[0].error)


@pytest.mark.parametrize(("answer", "said"), [("250 für Sie angenommen", "f r Sie angenommen"), ("250 a\0b", "a b")])
async def test_an_answer_that_cannot_be_stored_as_it_is_sends_nothing_twice(
    connection: Connection, sending: Sending, mail_server: Servers, authority: Authority, answer: str, said: str
) -> None:
    webhook, _ = await subscribe(connection, "ops@example.org", kind="email")
    await publish(connection, event())
    async with mail_server(answer) as server:
        async with sending(timeout_s=0.5, **settings(server, authority)):
            assert await ended(connection, webhook.id) == ["delivered"]
        assert len(server.taken) == 1
    [row] = await deliveries.page(connection, webhook.id, None, 10)
    [tried] = (await deliveries.get(connection, webhook.id, row.id)).tried
    assert (tried.status, tried.answer) == (250, said)


@pytest.mark.parametrize(
    ("address", "changed", "why"),
    [
        ("nobody@example.org", {}, "refused the recipient"),
        ("ops@example.org", {"smtp_password": "wrong"}, "AuthenticationError"),
        ("ops@example.org", {"smtp_ca_file": None}, "SSLCertVerificationError"),
        ("ops@example.org", {"smtp_tls": "none"}, "AUTH extension is not supported"),
    ],
    ids=["recipient", "password", "untrusted", "plain"],
)
async def test_what_is_refused_is_said(
    connection: Connection, sending: Sending, mail_server: Servers, authority: Authority,
    monkeypatch: pytest.MonkeyPatch, address: str, changed: dict[str, Any], why: str,
) -> None:  # fmt: skip
    webhook, _ = await subscribe(connection, address, kind="email")
    # A recipient who is refused for good is not tried again; all else is.
    monkeypatch.setattr(leases, "ATTEMPTS_MAX", 10 if address.startswith("nobody") else 1)
    await publish(connection, event())
    async with mail_server() as server:
        async with sending(**settings(server, authority, **changed)):
            assert await ended(connection, webhook.id) == ["failed"]
        assert server.taken == []
    [row] = await deliveries.page(connection, webhook.id, None, 10)
    assert (row.attempts, why in str(row.error)) == (1, True), row.error


def test_a_mail_server_on_another_host_needs_tls_and_a_sender(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEWELL_POSTGRES_URL", "postgresql://127.0.0.1/x")
    monkeypatch.setenv("CODEWELL_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.setenv("CODEWELL_SMTP_HOST", "mail.example.org")
    with pytest.raises(SettingsInvalid, match="CODEWELL_SMTP_FROM is not set"):
        read_settings(WebhookSettings)
    monkeypatch.setenv("CODEWELL_SMTP_FROM", "=?utf-8?b?Ym9zcw==?=@example.org")
    with pytest.raises(SettingsInvalid, match=r"CODEWELL_SMTP_FROM.*without encoded words"):
        read_settings(WebhookSettings)
    monkeypatch.setenv("CODEWELL_SMTP_FROM", "codewell@example.org")
    assert read_settings(WebhookSettings).smtp_tls == "starttls"
    monkeypatch.setenv("CODEWELL_SMTP_TLS", "none")
    with pytest.raises(SettingsInvalid, match="use starttls or tls"):
        read_settings(WebhookSettings)
