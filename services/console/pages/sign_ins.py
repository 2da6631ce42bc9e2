"""The sessions of browsers: finds that of a cookie, begins and ends them."""

import time
from datetime import datetime, timedelta
from typing import Final

from fastapi.responses import Response

from codewell.access import sessions
from codewell.access.kept_forms import Sender
from codewell.access.sessions import Kind, Session
from codewell.access.tokens import hash_of
from codewell.audit import audit_log
from codewell.audit.audit_log import Actor
from codewell.infra.postgres.connection import Connection, Pool
from services.console.http.auth import CACHE_TTL_S
from services.console.http.recent_cache import RecentCache
from services.console.pages.cookies import Cookie

# Longer than a session, so that a form that comes too late is known to be of its person.
_COOKIE_LIFETIME: Final = sessions.LIFETIME_MAX + timedelta(days=1)


class SignIns:
    """Finds sessions by their cookies; caches those in force for CACHE_TTL_S.

    `attempt` is the cookie of a sign-in by a provider under way, and `kept_form` that of a form that waits for it.
    """

    def __init__(self, pool: Pool, *, is_secure: bool) -> None:
        """`is_secure`: browsers reach the console by https."""
        self._pool = pool
        self._cookie = Cookie("codewell", is_secure=is_secure)
        self.attempt = Cookie("codewell-oidc", is_secure=is_secure)
        self.kept_form = Cookie("codewell-form", is_secure=is_secure)
        self._cache = RecentCache[Session]()

    async def find(self, cookies: str, *, is_activity: bool = True) -> Session | None:
        """The session of a Cookie header, or None. Raises what asyncpg raises.

        A request that a page makes by itself is no activity of the person: the session ends as if it had not come.
        """
        secret = self._cookie.of(cookies)
        if not secret:
            return None
        key = hash_of(secret)
        session = self._cache.get(key, CACHE_TTL_S)
        if session is None:
            now = time.monotonic()
            async with self._pool.acquire() as connection:
                session = await sessions.find(connection, key, is_activity=is_activity)
            self._cache.put(key, session, now)
        return session

    async def sender(self, cookies: str) -> Sender | None:
        """Whose session the cookie is of, also when it ended by time. Raises what asyncpg raises."""
        secret = self._cookie.of(cookies)
        if not secret:
            return None
        async with self._pool.acquire() as connection:
            return await sessions.expired_sender(connection, hash_of(secret))

    async def begin(
        self, connection: Connection, response: Response, kind: Kind, token_id: int, name: str, *,
        before: Session | None, authenticated_at: datetime | None = None,
    ) -> None:  # fmt: skip
        """Begin a session in a transaction, give it to the browser, and end the one that the browser had before.

        The cookie is always a new one: what somebody put into the browser before the sign-in is worth nothing after it.
        """
        async with connection.transaction():
            if before is not None:
                await sessions.end(connection, before.id)
            secret = await sessions.open_session(connection, kind, token_id, name, authenticated_at)
            await audit_log.record(connection, Actor("session", name), "session.begin", kind=kind)
        if before is not None:
            self.forget(before.id)
        self._cookie.set(response, secret, _COOKIE_LIFETIME)

    async def sign_out(self, response: Response, session: Session) -> None:
        """End a session, and take the cookie from the browser."""
        await self.end(session.id, session.caller.actor, session)
        self._cookie.delete(response)

    async def end(self, session_id: int, actor: Actor, whose: Session | None) -> None:
        """End a session, of this person alone if given, with its entry in the audit log."""
        async with self._pool.acquire() as connection, connection.transaction():
            name = await sessions.end_one(connection, session_id, whose)
            if name is not None:
                await audit_log.record(connection, actor, "session.end", session=name)
        self.forget(session_id)

    def forget(self, session_id: int) -> None:
        """Drop a session from the cache after it was ended here."""
        self._cache.forget(lambda one: one.id == session_id)

    def forget_all(self) -> None:
        """Drop all sessions from the cache after several were ended here."""
        self._cache.forget(lambda _: True)
