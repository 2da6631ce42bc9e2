-- Who may use the HTTP API, what was answered under which idempotency key, and who asks for codes that don't exist.

CREATE TABLE token (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- It begins with a letter, so that a name is never taken for an id.
    name       text NOT NULL CHECK (name ~ '^[A-Za-z][A-Za-z0-9_.-]{0,63}$'),
    -- SHA-256 of the secret. A slow hash is for what people think up; nobody goes through 2^256 random secrets.
    hash       bytea NOT NULL UNIQUE CHECK (octet_length(hash) = 32),
    scopes     text[] NOT NULL CHECK (cardinality(scopes) > 0 AND scopes <@ '{read,write,redeem,admin}'),
    -- Access groups; none is all programs.
    groups     text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    -- To the hour.
    last_used  timestamptz,
    revoked_at timestamptz
);

-- Two tokens in force never share a name.
CREATE UNIQUE INDEX token_name_once ON token (name) WHERE revoked_at IS NULL;

-- How many codes that don't exist a token asked for in the minute that began with the first of them. It is here and
-- not in a console's memory, so that the budget is one for all of them.
CREATE TABLE token_miss (
    token_id bigint PRIMARY KEY REFERENCES token,
    since    timestamptz NOT NULL,
    misses   integer NOT NULL CHECK (misses > 0)
) WITH (fillfactor = 50);

-- The answer to a request that made something. The row and what was made are committed together.
CREATE TABLE idempotency (
    token_id    bigint NOT NULL REFERENCES token,
    key         text NOT NULL,
    -- SHA-256 of method, path and body.
    fingerprint bytea NOT NULL CHECK (octet_length(fingerprint) = 32),
    status      smallint NOT NULL,
    media_type  text NOT NULL,
    body        bytea NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT idempotency_once PRIMARY KEY (token_id, key)
);

CREATE INDEX idempotency_age ON idempotency (created_at);
