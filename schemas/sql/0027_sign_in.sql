-- Ways to sign in to the web console beside pasting a token, and forms that outlive the session they were sent in.

-- A link that signs in with the rights of a token: once, within a minute. Whoever uses it takes the row away.
CREATE TABLE sign_in_link (
    -- SHA-256 of the link's 256 random bits.
    hash       bytea PRIMARY KEY CHECK (octet_length(hash) = 32),
    token_id   bigint NOT NULL REFERENCES token,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- A form that came when its session had ended, or was too old for it. Its browser has the key; the same person gets it
-- back after signing in again, and nobody else.
CREATE TABLE kept_form (
    -- SHA-256 of the key.
    hash       bytea PRIMARY KEY CHECK (octet_length(hash) = 32),
    -- How the person signed in, and as whom.
    kind       text NOT NULL,
    name       text NOT NULL,
    path       text NOT NULL,
    sealed     bytea NOT NULL CHECK (octet_length(sealed) <= 400000),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX kept_form_age ON kept_form (created_at);

-- A session that no token was pasted for has one of its own. Its secret is known to none, and no request may bear it.
CREATE FUNCTION make_session_token(new_scopes text[], new_groups text[], lifetime interval)
RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$
    INSERT INTO token (name, hash, scopes, groups, expires_at, kind)
    VALUES ('session', sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), new_scopes, new_groups,
            now() + least(lifetime, interval '7 days'), 'session')
    RETURNING id
$$;

DO $$
BEGIN
    -- Where they look for tables is not for their caller to say.
    EXECUTE format('ALTER FUNCTION make_session_token SET search_path = pg_catalog, %I, pg_temp', current_schema());
END
$$;
