-- The stream of codes: what the worker `codewell lifecycle` reads of the log, how far it is, and keys of profiles.

-- Updates are in the log with the row before them, so that the worker needs no memory of its own. It only costs where
-- wal_level is logical: answers, the many rows, are never updated by requests.
ALTER TABLE program REPLICA IDENTITY FULL;
ALTER TABLE block REPLICA IDENTITY FULL;
ALTER TABLE code_state REPLICA IDENTITY FULL;
ALTER TABLE code_use REPLICA IDENTITY FULL;

-- What has no key to find a row again by, or needs none, is published for inserts only. No code's text is in it.
CREATE PUBLICATION codewell_given FOR TABLE
    answer (request_id, ordinal, program_id, block_id, position, again, profile_id, expires_at, fields,
            asked_program_id, link) WHERE (block_id IS NOT NULL),
    code_reissue (program_id, old_block_id, old_position, new_block_id, new_position, number)
    WITH (publish = 'insert');
CREATE PUBLICATION codewell_changed FOR TABLE program, block, code_state, code_use WITH (publish = 'insert, update');

-- How far the stream is; no row: it is off.
CREATE TABLE lifecycle_progress (
    one          boolean PRIMARY KEY DEFAULT true CHECK (one),
    -- Rises when the stream begins anew, as its slot was lost.
    epoch        integer NOT NULL CHECK (epoch > 0),
    reason       text NOT NULL
                 CHECK (reason IN ('switched_on', 'slot_lost', 'database_replaced', 'snapshot_interrupted')),
    -- The database's timeline, which a fail-over changes.
    timeline     integer NOT NULL,
    -- Transactions that the epoch's snapshot has seen, of those whose commit is before `snapshot_end` in the log.
    snapshot     pg_snapshot,
    snapshot_end pg_lsn,
    -- The snapshot is published.
    is_ready     boolean NOT NULL DEFAULT false,
    -- All commits that end before this place in the log are published, and noted for webhooks.
    done         pg_lsn NOT NULL,
    changed_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (NOT is_ready OR snapshot IS NOT NULL AND snapshot_end IS NOT NULL)
);

-- The key of each profile that the stream has named. Forgetting a profile deletes it. Until the worker has passed
-- `forgotten_at`, the row says so, as the log before that place still has the profile's id.
CREATE TABLE lifecycle_profile (
    profile_id   text PRIMARY KEY,
    key          bytea CHECK (octet_length(key) = 16),
    forgotten_at pg_lsn,
    CHECK ((key IS NULL) = (forgotten_at IS NOT NULL))
);
CREATE INDEX lifecycle_profile_forgotten ON lifecycle_profile (forgotten_at) WHERE forgotten_at IS NOT NULL;

ALTER TABLE worker DROP CONSTRAINT worker_service_check,
    ADD CONSTRAINT worker_service_check CHECK (service IN ('issuer', 'generator', 'console', 'lifecycle'));
