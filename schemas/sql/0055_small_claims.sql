-- min_worker: 45
-- A claim of a few plain requests in one statement, and so in one round trip.

-- Gives the next `counts[n]` codes of a block of each program to requests, if all is as its caller saw it last: the
-- program's row has not changed since, it gives codes now, the block is the one that it gives first of those that
-- nobody has locked, and the request ids that are too old are the same. Otherwise it writes nothing and returns no
-- row. For each program it returns the time of the decision, the codes that are left in the pool, and the expiry of
-- the codes that were given.
--
-- The first nine arrays are of programs, the others of requests in the order of their ids: `places` are their
-- programs' places in the first ones.
CREATE FUNCTION claim_known(
    program_ids bigint[], program_rows bigint[], ttls double precision[], block_ids bigint[], firsts bigint[],
    nexts bigint[], sizes bigint[], fields text[], counts bigint[], known_oldest uuid,
    request_ids uuid[], places integer[], positions bigint[], profile_ids text[], codes text[])
RETURNS TABLE (decided_at timestamptz, left_in_pool bigint, code_expires_at timestamptz) LANGUAGE plpgsql
-- Planning anew took a sixth of its time.
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    matching integer;
    expiries timestamptz[];
BEGIN
    -- As `codewell.profiles.deciding_lock` has it; each statement below sees what was committed before this returned.
    PERFORM pg_advisory_xact_lock_shared(1668244581, 1);
    decided_at := clock_timestamp();
    IF (SELECT r.oldest FROM retention r) IS DISTINCT FROM known_oldest THEN
        RETURN;
    END IF;
    SELECT count(*), array_agg(least(b.expires_at, decided_at + make_interval(secs => k.ttl)) ORDER BY k.place)
    INTO matching, expiries
    FROM unnest(program_ids, program_rows, ttls, block_ids, firsts, nexts, sizes, fields) WITH ORDINALITY
        AS k (program_id, program_row, ttl, block_id, first, next, size, fields, place)
    JOIN program p ON p.id = k.program_id AND p.xmin::text::bigint = k.program_row
        AND (p.valid_from IS NULL OR p.valid_from <= decided_at)
        AND (p.valid_until IS NULL OR p.valid_until > decided_at)
    CROSS JOIN LATERAL (
        SELECT * FROM block
        WHERE program_id = p.id AND open AND (expires_at IS NULL OR expires_at > decided_at AND (
            p.min_life_at_attach IS NULL OR expires_at > decided_at + p.min_life_at_attach))
        ORDER BY expires_at, id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
    ) b
    WHERE b.id = k.block_id AND b.first = k.first AND b.next = k.next AND b.size = k.size
        AND b.holes = 0 AND b.fields IS NOT DISTINCT FROM k.fields::jsonb;
    IF matching < cardinality(program_ids) THEN
        RETURN;
    END IF;
    UPDATE block b SET next = b.next + t.given, attached = b.attached + t.given, open = b.next + t.given < b.size
    FROM unnest(block_ids, counts) AS t (id, given) WHERE b.id = t.id;
    INSERT INTO answer (request_id, ordinal, program_id, block_id, position, profile_id, code, expires_at, fields,
                        answered_at)
    SELECT r.request_id, 0, program_ids[r.place], block_ids[r.place], r.position, r.profile_id, r.code,
           expiries[r.place], fields[r.place]::jsonb, decided_at
    FROM unnest(request_ids, places, positions, profile_ids, codes) AS r (request_id, place, position, profile_id, code);
    RETURN QUERY
    SELECT decided_at, coalesce(level.pooled, 0), expiries[k.place]
    FROM unnest(program_ids) WITH ORDINALITY AS k (program_id, place)
    JOIN program p ON p.id = k.program_id
    CROSS JOIN LATERAL (
        SELECT sum(size - next - holes)::bigint AS pooled FROM block
        WHERE program_id = p.id AND open AND (expires_at IS NULL OR expires_at > decided_at AND (
            p.min_life_at_attach IS NULL OR expires_at > decided_at + p.min_life_at_attach))
    ) level
    ORDER BY k.place;
END
$$;
