-- min_worker: 45
-- Old answers leave: which requests may have no answer any more, and of which blocks answers have left.

-- Its one row is there once answers may leave.
CREATE TABLE retention (
    one      boolean CONSTRAINT retention_one PRIMARY KEY DEFAULT true
             CONSTRAINT retention_only CHECK (one),
    -- A request with an id of version 7 before it gets no code: an answer of it may have left. It never goes back.
    oldest   uuid NOT NULL,
    moved_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Refusals and previews of such ids before it have left.
    swept    uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
    -- How many of them.
    refusals bigint NOT NULL DEFAULT 0,
    -- How many vacuums of `answer` there had been when filters were dropped last.
    vacuums  bigint NOT NULL DEFAULT 0
);

-- Ranges of 64 pages of `answer` from which answers have left, until they are full again. A filter of `answer_profile`
-- over such a range would change with each new answer in it.
CREATE TABLE freed_range (
    number     bigint CONSTRAINT freed_range_pkey PRIMARY KEY,
    -- How many it had.
    answers    bigint NOT NULL,
    has_filter boolean NOT NULL DEFAULT true
);

-- Answers of it that have left, of those that `attached` counts.
ALTER TABLE block ADD COLUMN archived bigint NOT NULL DEFAULT 0;
-- Those of them whose codes were used up.
ALTER TABLE block ADD COLUMN archived_used bigint NOT NULL DEFAULT 0;
-- Set once its answers may leave: those of positions before it have left, or stay. From then on no code of the block is
-- given, changed or moved unless its answer is there.
ALTER TABLE block ADD COLUMN archived_until bigint;

-- What leaves makes room only once a vacuum has passed.
ALTER TABLE answer SET (autovacuum_vacuum_scale_factor = 0.05);

-- The last migration that a worker knows. Answers leave only where all workers know that requests may be too old.
ALTER TABLE worker ADD COLUMN schema_version integer;

-- Requests before `new_oldest` may have no answer from now on. A worker that knows nothing of that would give them a
-- second code, so none may start any more. Call it only while no request is being decided.
CREATE FUNCTION move_oldest_request(new_oldest uuid) RETURNS void LANGUAGE sql SECURITY DEFINER AS $$
    UPDATE migration SET min_worker = 49 WHERE number = 49 AND min_worker < 49;
    INSERT INTO retention (oldest) VALUES (new_oldest)
    ON CONFLICT (one) DO UPDATE SET oldest = excluded.oldest, moved_at = excluded.moved_at
    WHERE retention.oldest < excluded.oldest
$$;

-- Only the owner of an index may drop its filters.
CREATE FUNCTION drop_answer_filters(numbers bigint[]) RETURNS void LANGUAGE sql SECURITY DEFINER AS $$
    SELECT brin_desummarize_range('answer_profile', number * 64) FROM unnest(numbers) AS number
$$;

DO $$
BEGIN
    -- Where they look for tables is not for their caller to say.
    EXECUTE format('ALTER FUNCTION drop_answer_filters SET search_path = pg_catalog, %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION move_oldest_request SET search_path = pg_catalog, %I, pg_temp', current_schema());
END
$$;
