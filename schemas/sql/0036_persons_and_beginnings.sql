-- Persons of providers, the removal of sessions that ended, and what the first look at a file found.

-- The person whose hidden token it is: SHA-256 of the provider's issuer and the person's subject, which no other person
-- ever has. Null for tokens that were made by name: they are their own persons.
ALTER TABLE token ADD COLUMN person bytea CHECK (octet_length(person) = 32);

-- A person who signs in again has the same token as long as the rights are the same: so one budget for guesses, however
-- often they sign in.
CREATE UNIQUE INDEX token_of_person ON token (person, scopes, groups) WHERE kind = 'session' AND revoked_at IS NULL;

CREATE FUNCTION make_session_token(new_scopes text[], new_groups text[], lifetime interval, new_person bytea)
RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$
    INSERT INTO token (name, hash, scopes, groups, expires_at, kind, person)
    VALUES ('session', sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())), new_scopes, new_groups,
            now() + least(lifetime, interval '7 days'), 'session', new_person)
    ON CONFLICT (person, scopes, groups) WHERE kind = 'session' AND revoked_at IS NULL
    DO UPDATE SET expires_at = greatest(token.expires_at, excluded.expires_at)
    RETURNING id
$$;

-- Sessions whose time is over are kept for a day, so that a form which comes too late is known to be of its person.
-- Hidden tokens go after their last session and all that refers to them. Generators call this, and can delete nothing
-- else of either table. Returns how many sessions and tokens went.
CREATE FUNCTION delete_ended_sessions(most integer)
RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$
    WITH ended AS (
        DELETE FROM session WHERE id IN (
            SELECT id FROM session WHERE least(ends_at, ended_at) < now() - interval '1 day'
            ORDER BY id LIMIT most FOR UPDATE SKIP LOCKED)
        RETURNING id
    ), unused AS MATERIALIZED (
        SELECT id FROM token t
        WHERE kind = 'session' AND expires_at < now() - interval '1 day'
          AND NOT EXISTS (SELECT FROM session WHERE token_id = t.id)
          AND NOT EXISTS (SELECT FROM upload WHERE token_id = t.id)
          AND NOT EXISTS (SELECT FROM idempotency WHERE token_id = t.id)
          AND NOT EXISTS (SELECT FROM sign_in_link WHERE token_id = t.id)
          AND NOT EXISTS (SELECT FROM token_miss WHERE token_id = t.id AND since > now() - interval '1 minute')
        ORDER BY id LIMIT most FOR UPDATE SKIP LOCKED
    ), missed AS (
        DELETE FROM token_miss WHERE token_id IN (SELECT id FROM unused)
    ), gone AS (
        DELETE FROM token WHERE id IN (SELECT id FROM unused) RETURNING id
    )
    SELECT (SELECT count(*) FROM ended) + (SELECT count(*) FROM gone)
$$;

DO $$
BEGIN
    -- Where they look for tables is not for their caller to say.
    EXECUTE format('ALTER FUNCTION make_session_token(text[], text[], interval, bytea) '
                   'SET search_path = pg_catalog, %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION delete_ended_sessions SET search_path = pg_catalog, %I, pg_temp', current_schema());
END
$$;

COMMENT ON COLUMN program_draft.name IS 'The person, by what no other person ever has: see token.person.';

-- What the first look at an uploaded file found, so that another one need not read it all. Null: it was not kept.
ALTER TABLE upload ADD COLUMN scanned jsonb, ADD COLUMN beginning bytea;
ALTER TABLE upload ALTER COLUMN beginning SET STORAGE EXTERNAL;

-- How much of its file an import has read, of 1; null where that is not known.
ALTER TABLE import ADD COLUMN share_read real CHECK (share_read BETWEEN 0 AND 1);
