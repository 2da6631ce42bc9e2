-- Sessions of the web console. A session has the rights of a token, and ends with it.

-- A session that no token was pasted for (a link, an OIDC provider) has a token of its own, whose secret is unknown to
-- all: so its guess budget, its idempotency keys and its end are kept as those of any token.
ALTER TABLE token ADD COLUMN kind text NOT NULL DEFAULT 'api' CHECK (kind IN ('api', 'session'));

DROP INDEX token_name_once;
CREATE UNIQUE INDEX token_name_once ON token (name) WHERE revoked_at IS NULL AND kind = 'api';

CREATE TABLE session (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- SHA-256 of the cookie's 256 random bits.
    hash             bytea NOT NULL UNIQUE CHECK (octet_length(hash) = 32),
    token_id         bigint NOT NULL REFERENCES token,
    kind             text NOT NULL CHECK (kind IN ('token', 'link', 'oidc')),
    -- The person, as the audit log names it: the token's name, or what the provider says.
    name             text NOT NULL CHECK (length(name) BETWEEN 1 AND 300),
    created_at       timestamptz NOT NULL DEFAULT now(),
    -- The last sign-in. Some pages need a recent one.
    authenticated_at timestamptz NOT NULL DEFAULT now(),
    -- To the minute.
    last_seen_at     timestamptz NOT NULL DEFAULT now(),
    ends_at          timestamptz NOT NULL,
    ended_at         timestamptz
);

CREATE INDEX session_token ON session (token_id);
CREATE INDEX session_end ON session (ends_at);

ALTER TABLE audit_entry DROP CONSTRAINT audit_entry_via_check;
ALTER TABLE audit_entry ADD CONSTRAINT audit_entry_via_check CHECK (via IN ('token', 'session', 'command'));
