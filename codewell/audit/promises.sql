-- What must never be in a database of Codewell: each query finds the rows that break one rule of a promise, and finds
-- none as long as all is well. None of them trusts a constraint. `codewell audit` runs them, and so does psql:
--
--     psql --echo-all --file promises.sql postgresql://...
--
-- A rule begins with `-- name:`, its promise (I1 to I6), and what is wrong where it finds rows.

-- A change of a program is dated just before its commit, and a claim just after it has read the program, which it does
-- not lock. So a claim that read what held before the commit may be dated later than the change: by the rest of the
-- commit and of the claim's statement, each of which ends or fails within its time limit (60 s).
\set late '120 s'

-- By which answers codes were attached for the first time.
\set attached 'SELECT * FROM answer WHERE block_id IS NOT NULL AND NOT again'
-- That the place of answer `a` holds its code no more, as it went on in a block of its own.
\set moved_on 'EXISTS (SELECT FROM code_state s WHERE s.block_id = a.block_id AND s.position = a.position AND s.returned_at IS NOT NULL)'
-- The settings of programs over time.
\set settings '(SELECT *, lead(held_from, 1, ''infinity'') OVER (PARTITION BY program_id ORDER BY held_from, id) AS held_until FROM program_history)'
-- Those that answer `a` may have been given by. Who makes codes has locked the program, so blocks need no allowance.
\set settings_of_answer ':settings h WHERE h.program_id = a.program_id AND h.held_from <= a.answered_at AND h.held_until > a.answered_at - interval :''late'''

BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;

-- name: I1 a place in a block was given twice
SELECT block_id, position, array_agg(profile_id) AS profiles
FROM (:attached) a GROUP BY block_id, position HAVING count(*) > 1;

-- name: I1 a code of a program was given to two profiles
SELECT p.name AS program, a.code, array_agg(DISTINCT a.profile_id) AS profiles
FROM answer a JOIN program p ON p.id = a.program_id
WHERE a.block_id IS NOT NULL AND NOT EXISTS (SELECT FROM :settings_of_answer AND h.shared) AND NOT :moved_on
GROUP BY p.name, a.code HAVING count(DISTINCT a.profile_id) > 1;

-- name: I1 a code was given again that was never given first
SELECT a.request_id, a.block_id, a.position, a.code FROM answer a
WHERE a.again AND NOT EXISTS (
    SELECT FROM answer f WHERE f.block_id = a.block_id AND f.position = a.position AND NOT f.again AND f.code = a.code);

-- name: I1 two blocks hold the same numbers
SELECT a.id AS block, b.id AS other, a.program_id, a.version
FROM block a JOIN block b ON a.program_id = b.program_id AND a.version = b.version AND a.id < b.id
     AND int8range(a.first, a.first + a.size) && int8range(b.first, b.first + b.size);

-- name: I2 a request has two answers
SELECT request_id, ordinal, array_agg(coalesce(code, 'refused')) AS answers
FROM answer GROUP BY request_id, ordinal HAVING count(*) > 1;

-- name: I2 a request was both refused and given codes, or has two profiles
SELECT request_id, array_agg(DISTINCT profile_id) AS profiles
FROM answer GROUP BY request_id
HAVING count(DISTINCT profile_id) > 1 OR count(DISTINCT (refusals IS NULL)) > 1;

-- name: I3 a part of an answer is missing
SELECT request_id, count(*) AS parts, max(ordinal) + 1 AS expected
FROM answer GROUP BY request_id HAVING count(*) <> max(ordinal) + 1;

-- name: I3 codes were taken from a block that nobody was given
SELECT b.id AS block, b.program_id, b.next, b.holes, b.attached, b.deleted, b.returned, b.undone
FROM block b WHERE b.next + b.holes <> b.attached + b.deleted + b.returned + b.undone;

-- name: I4 a block counts other codes than it gave
SELECT b.id AS block, b.program_id, b.attached, coalesce(a.given, 0) AS given
FROM block b LEFT JOIN (
    SELECT block_id, count(*) AS given FROM (:attached) g LEFT JOIN code_state s USING (block_id, position)
    WHERE s.deleted_at IS NULL AND s.returned_at IS NULL GROUP BY block_id
) a ON a.block_id = b.id
WHERE b.attached <> coalesce(a.given, 0);

-- name: I4 a block counts other returned codes or holes than there are
SELECT b.id AS block, b.program_id, b.returned, b.holes, coalesce(s.returned, 0) AS marked_returned,
       coalesce(s.holes, 0) AS marked_holes
FROM block b LEFT JOIN (
    SELECT block_id, count(*) FILTER (WHERE returned_at IS NOT NULL) AS returned,
           count(*) FILTER (WHERE hole AND position >= next) AS holes
    FROM code_state JOIN block ON block.id = block_id GROUP BY block_id
) s ON s.block_id = b.id
WHERE b.returned <> coalesce(s.returned, 0) OR b.holes <> coalesce(s.holes, 0);

-- name: I4 a program's returned codes are not in as many blocks of their own
SELECT program_id, sum(returned) AS returned, count(*) FILTER (WHERE origin = 'return') AS blocks
FROM block GROUP BY program_id HAVING sum(returned) <> count(*) FILTER (WHERE origin = 'return');

-- name: I2 a profile would get a code again that is not its own
SELECT h.program_id, h.profile_id, h.code FROM holding h
WHERE NOT EXISTS (
    SELECT FROM answer a
    WHERE a.block_id = h.block_id AND a.position = h.position AND NOT a.again AND a.code = h.code
      AND h.profile_id IN ('', a.profile_id) AND NOT :moved_on);

-- name: I4 a block counts other deleted codes than there are
SELECT b.id AS block, b.program_id, b.deleted, coalesce(s.deleted, 0) AS marked
FROM block b LEFT JOIN (
    SELECT block_id, count(*) AS deleted FROM code_state WHERE deleted_at IS NOT NULL GROUP BY block_id
) s ON s.block_id = b.id
WHERE b.deleted <> coalesce(s.deleted, 0);

-- name: I4 a code was given from a block that doesn't hold it
SELECT a.request_id, a.block_id, a.position
FROM answer a LEFT JOIN block b ON b.id = a.block_id AND b.program_id = a.program_id
LEFT JOIN code_state s ON s.block_id = a.block_id AND s.position = a.position
WHERE a.block_id IS NOT NULL AND (
    b.id IS NULL OR a.position < 0 OR a.position >= b.size OR a.position >= b.next AND s.hole IS NOT true);

-- name: I4 a program's blocks hold another number of codes than it made and took in
SELECT p.name AS program, p.made, p.imported, coalesce(b.held, 0) AS held
FROM program p LEFT JOIN (
    SELECT program_id, sum(size - returned - undone) AS held FROM block GROUP BY program_id
) b ON b.program_id = p.id
WHERE p.made + p.imported <> coalesce(b.held, 0);

-- name: I4 a block of texts holds another number of texts than it has codes
SELECT b.id AS block, b.program_id, b.size, b.returned, b.undone, coalesce(c.texts, 0) AS texts
FROM block b LEFT JOIN (SELECT block_id, count(*) AS texts FROM code GROUP BY block_id) c ON c.block_id = b.id
WHERE b.kind = 'list' AND b.size - b.returned - b.undone <> coalesce(c.texts, 0);

-- name: I4 a text is in no place of a block of its program
SELECT c.block_id, c.position, c.program_id
FROM code c LEFT JOIN block b
     ON b.id = c.block_id AND b.program_id = c.program_id AND b.kind = 'list' AND c.position < b.size
WHERE b.id IS NULL;

-- name: I4 an import counts other codes than its blocks hold
SELECT i.id, i.imported, i.taken_back, b.size, b.undone
FROM import i LEFT JOIN (
    SELECT import_id, sum(size) AS size, sum(undone) AS undone FROM block GROUP BY import_id
) b ON b.import_id = i.id
WHERE i.imported <> coalesce(b.size, 0) OR i.taken_back <> coalesce(b.undone, 0);

-- name: I4 a closed block that has not expired holds codes still
SELECT id AS block, program_id, size, next, holes
FROM block WHERE NOT open AND (expires_at IS NULL OR expires_at > now()) AND next + holes < size;

-- name: I4 a template minted other numbers than are in blocks
SELECT v.program_id, v.version, v.next_number, v.skipped, coalesce(b.size, 0) AS in_blocks
FROM template_version v LEFT JOIN (
    SELECT program_id, version, sum(size) AS size, max(first + size) AS past
    FROM block WHERE kind = 'range' GROUP BY program_id, version
) b USING (program_id, version)
WHERE v.next_number <> coalesce(b.size, 0) + v.skipped OR b.past > v.next_number;

-- name: I5 a program holds more codes than its maximum
SELECT p.name AS program, p.codes_max, p.made, p.imported, p.on_order, sum(b.size - b.returned - b.undone) AS held
FROM program p LEFT JOIN block b ON b.program_id = p.id
GROUP BY p.id
HAVING p.made + p.imported + p.on_order > p.codes_max OR sum(b.size - b.returned - b.undone) > p.codes_max;

-- name: I5 a program has other codes on order than its open requests ask for
SELECT p.name AS program, p.on_order, coalesce(r.asked, 0) AS asked
FROM program p LEFT JOIN (
    SELECT program_id, sum(count) AS asked FROM remote_request WHERE state = 'open' GROUP BY program_id
) r ON r.program_id = p.id
WHERE p.on_order <> coalesce(r.asked, 0);

-- name: I4 a remote service brought other codes than are in blocks
SELECT r.id AS request_id, r.program_id, r.state, r.received, coalesce(b.size, 0) AS in_blocks,
       coalesce(b.texts, 0) AS texts
FROM remote_request r LEFT JOIN (
    SELECT remote_request_id AS id, program_id, sum(size) AS size, sum(c.texts + returned) AS texts
    FROM block CROSS JOIN LATERAL (SELECT count(*) AS texts FROM code WHERE block_id = block.id) c
    WHERE remote_request_id IS NOT NULL GROUP BY remote_request_id, program_id
) b ON b.id = r.id AND b.program_id = r.program_id
WHERE r.received <> coalesce(b.size, 0) OR r.received <> coalesce(b.texts, 0);

-- name: I6 a code was given after it had expired
SELECT request_id, code, expires_at, answered_at
FROM answer WHERE block_id IS NOT NULL AND answered_at >= expires_at;

-- name: I6 a code was given outside the program's validity period, or while it was switched off or removed
SELECT a.request_id, p.name AS program, a.answered_at
FROM answer a JOIN program p ON p.id = a.program_id
WHERE a.block_id IS NOT NULL AND NOT EXISTS (
    SELECT FROM :settings_of_answer AND h.active AND NOT h.removed
    AND (h.valid_from IS NULL OR h.valid_from <= a.answered_at)
    AND (h.valid_until IS NULL OR h.valid_until > a.answered_at));

-- name: I6 codes were made outside the program's validity period, while it was switched off or removed, or for a source that may not create any
SELECT p.name AS program, b.id AS block, b.origin, b.source, b.created_at
FROM block b JOIN program p ON p.id = b.program_id
WHERE b.origin <> 'return' AND NOT EXISTS (
    SELECT FROM :settings h
    WHERE h.program_id = b.program_id AND h.held_from <= b.created_at AND h.held_until > b.created_at
      AND h.active AND NOT h.removed AND (h.valid_from IS NULL OR h.valid_from <= b.created_at)
      AND (h.valid_until IS NULL OR h.valid_until > b.created_at)
      AND (b.origin IN ('generate', 'hand', 'import')
           OR h.campaign_can_create AND b.source IS DISTINCT FROM 'scenario'
           OR h.scenario_can_create AND b.source IS DISTINCT FROM 'campaign'));

COMMIT;
