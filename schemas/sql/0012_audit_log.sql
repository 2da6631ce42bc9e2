-- What people did: who, what, when, never a code or a profile's id. Append-only, and hash-chained.

CREATE TABLE audit_entry (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- By which way: with a token of the HTTP API, or by a command.
    via           text NOT NULL CHECK (via IN ('token', 'command')),
    -- No text but the last one may hold the character that parts them in what is hashed.
    actor         text NOT NULL CHECK (actor ~ '^[^[:cntrl:]]+$' AND length(actor) <= 300),
    database_user text NOT NULL DEFAULT session_user CHECK (database_user ~ '^[^[:cntrl:]]+$'),
    verb          text NOT NULL CHECK (verb ~ '^[a-z]+\.[a-z_]+$'),
    program       text CHECK (program ~ '^[A-Za-z0-9_]{1,64}$'),
    -- As it was written, to the letter: jsonb would write it anew.
    details       json NOT NULL
);

-- The order in which entries were committed, without a gap, and of each the SHA-256 of the hash before it and of all
-- that the entry says.
CREATE TABLE audit_chain (
    place    bigint PRIMARY KEY,
    entry_id bigint NOT NULL UNIQUE,
    hash     bytea NOT NULL CHECK (octet_length(hash) = 32)
);

-- It runs as the last step before a commit, so that one who does much in his transaction keeps nobody waiting: the lock
-- is held for as long as a commit takes, by those alone who do what is logged.
CREATE FUNCTION chain_audit_entry() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    before record;
    own    bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(1668244581, 2);
    SELECT place, hash INTO before FROM audit_chain ORDER BY place DESC LIMIT 1;
    own := coalesce(before.place, 0) + 1;
    INSERT INTO audit_chain (place, entry_id, hash) VALUES (own, NEW.id, sha256(
        coalesce(before.hash, '') || convert_to(concat_ws(
            E'\n', own, NEW.id, (extract(epoch FROM NEW.at) * 1000000)::bigint, NEW.via, NEW.actor, NEW.database_user,
            NEW.verb, coalesce(NEW.program, ''), NEW.details), 'UTF8')));
    RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER audit_entry_chained AFTER INSERT ON audit_entry
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION chain_audit_entry();

CREATE FUNCTION refuse_change_of_audit_log() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE insufficient_privilege USING MESSAGE = 'The audit log is append-only: nothing in it is changed or deleted.';
END
$$;

CREATE TRIGGER audit_entry_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entry
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_audit_log();
CREATE TRIGGER audit_chain_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_chain
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_audit_log();
-- Whoever takes a session for a replica's, which needs a superuser, still has to switch them off one by one.
ALTER TABLE audit_entry ENABLE ALWAYS TRIGGER audit_entry_kept;
ALTER TABLE audit_chain ENABLE ALWAYS TRIGGER audit_chain_kept;

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION chain_audit_entry() SET search_path = pg_catalog, %I, pg_temp', current_schema());
END
$$;
