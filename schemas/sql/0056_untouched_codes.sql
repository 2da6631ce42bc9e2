-- min_worker: 45
-- Uses and holds of codes to which nothing has happened since they were attached: one statement writes them.

-- Responses under idempotency keys are kept for a day. Whoever stores some deletes up to a hundred expired ones, so that
-- they do not accumulate.
CREATE FUNCTION delete_expired_responses() RETURNS trigger LANGUAGE plpgsql
-- A plan that is made while the table is small is kept until it is analyzed.
SET enable_seqscan = off AS $$
BEGIN
    DELETE FROM idempotency WHERE ctid = ANY (ARRAY (
        SELECT ctid FROM idempotency WHERE created_at < now() - interval '1 day'
        ORDER BY created_at LIMIT 100 FOR UPDATE SKIP LOCKED));
    RETURN NULL;
END
$$;

CREATE TRIGGER idempotency_expired AFTER INSERT ON idempotency FOR EACH STATEMENT
    EXECUTE FUNCTION delete_expired_responses();

-- Writes uses and holds of a program's codes, and responses, if each code is still attached to the profile that its
-- caller has read. Otherwise it returns false, and nothing was written. The row of code_state that it adds is the lock
-- of the code: a unique violation of its key says that something has happened to the code meanwhile.
--
-- The first six arrays are of codes, the next eleven of their uses and holds, the last six of responses.
CREATE FUNCTION use_untouched(
    of_program bigint,
    block_ids bigint[], positions bigint[], holders text[],
    uses integer[], activations timestamptz[], holds timestamptz[],
    use_block_ids bigint[], use_positions bigint[], order_ids text[], profile_ids text[], contexts text[],
    limits integer[], starts timestamptz[], hold_ends timestamptz[], use_times timestamptz[], ends timestamptz[],
    enders text[],
    token_ids bigint[], keys text[], fingerprints bytea[], statuses smallint[], media_types text[], bodies bytea[])
RETURNS boolean LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    -- As `codewell.profiles.deciding_lock` has it; each statement below sees what was committed before this returned.
    PERFORM pg_advisory_xact_lock_shared(1668244581, 1);
    -- A code that has not expired keeps its answer. Not a join: its plan, made while the table is small, would read all.
    IF EXISTS (SELECT FROM unnest(block_ids, positions, holders) AS w (block_id, position, profile_id) WHERE (
        SELECT a.profile_id = w.profile_id AND coalesce(a.expires_at > clock_timestamp(), true) FROM answer a
        WHERE a.block_id = w.block_id AND a.position = w.position AND NOT a.again AND a.block_id IS NOT NULL
        ) IS NOT TRUE) THEN
        RETURN false;
    END IF;
    INSERT INTO code_state (block_id, position, uses, activated_at, held_until)
    SELECT * FROM unnest(block_ids, positions, uses, activations, holds) ORDER BY 1, 2;
    INSERT INTO code_use (program_id, block_id, position, order_id, profile_id, context, per_code, taken_at,
                          held_until, used_at, ended_at, ended_by)
    SELECT of_program, * FROM unnest(use_block_ids, use_positions, order_ids, profile_ids, contexts, limits, starts,
                                     hold_ends, use_times, ends, enders);
    INSERT INTO idempotency (token_id, key, fingerprint, status, media_type, body)
    SELECT * FROM unnest(token_ids, keys, fingerprints, statuses, media_types, bodies) ORDER BY 1, 2;
    RETURN true;
END
$$;
