-- What must never be in a database of Codewell: each query finds the rows that break one rule of a promise, and finds
-- none as long as all is well. None of them trusts a constraint. `codewell audit` runs them, and so does psql:
--
--     psql --echo-all --file promises.sql postgresql://...
--
-- A rule begins with `-- name:`, its promise (such as I1), and what is wrong where it finds rows.

-- A change of a program is dated just before its commit, and a claim just after it has read the program, which it does
-- not lock. So a claim that read what held before the commit may be dated later than the change: by the rest of the
-- commit and of the claim's statement, each of which ends or fails within its time limit (60 s).
\set late '120 s'

-- By which answers codes were attached for the first time.
\set attached 'SELECT * FROM answer WHERE block_id IS NOT NULL AND NOT again'
-- That the place of answer `a` holds its code no more, as it went on in a block of its own.
\set moved_on 'EXISTS (SELECT FROM code_state s WHERE s.block_id = a.block_id AND s.position = a.position AND s.returned_at IS NOT NULL)'
-- That nobody has it there any more, as it also may be deleted.
\set left 'EXISTS (SELECT FROM code_state s WHERE s.block_id = a.block_id AND s.position = a.position AND (s.returned_at IS NOT NULL OR s.deleted_at IS NOT NULL))'
-- The settings of programs over time.
\set settings '(SELECT *, lead(held_from, 1, ''infinity'') OVER (PARTITION BY program_id ORDER BY held_from, id) AS held_until FROM program_history)'
-- Those that answer `a` may have been given by. Who makes codes has locked the program, so blocks need no allowance.
\set settings_of_answer ':settings h WHERE h.program_id = a.program_id AND h.held_from <= a.answered_at AND h.held_until > a.answered_at - interval :''late'''

BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;

-- name: I1 a place in a block was given twice
SELECT block_id, position, array_agg(profile_id) AS profiles
FROM (:attached) a GROUP BY block_id, position HAVING count(*) > 1;

-- name: I1 a code of a program was given to two profiles
-- A code that came back may go to another profile, and had one at its old place.
SELECT p.name AS program, a.code, array_agg(DISTINCT a.profile_id) AS profiles
FROM answer a JOIN program p ON p.id = a.program_id
LEFT JOIN code_state s ON s.block_id = a.block_id AND s.position = a.position AND s.returned_at IS NOT NULL
WHERE a.block_id IS NOT NULL AND NOT EXISTS (SELECT FROM :settings_of_answer AND h.shared)
GROUP BY p.name, a.code, s.block_id, s.position HAVING count(DISTINCT a.profile_id) > 1;

-- name: I1 a text is in two places of a program
SELECT program_id, text, array_agg(block_id) AS blocks FROM code GROUP BY program_id, text HAVING count(*) > 1;

-- name: I1 a code that a profile has is in another place of its program too
SELECT a.program_id, a.code, a.block_id, a.position, c.block_id AS other, c.position AS other_position
FROM (:attached) a JOIN code c ON c.program_id = a.program_id AND c.text = a.code
     AND (c.block_id <> a.block_id OR c.position <> a.position)
WHERE NOT :moved_on
UNION ALL
-- Those of two profiles are found above.
SELECT program_id, code, min(block_id), min(position), max(block_id), max(position)
FROM (:attached) a WHERE NOT :moved_on
GROUP BY program_id, code HAVING count(DISTINCT (block_id, position)) > 1 AND count(DISTINCT profile_id) = 1;

-- name: I1 a code was given after it had come back or was deleted
SELECT a.request_id, a.block_id, a.position, a.again, a.answered_at, s.returned_at, s.deleted_at
FROM answer a JOIN code_state s ON s.block_id = a.block_id AND s.position = a.position
WHERE least(s.returned_at, s.deleted_at) < a.answered_at - interval :'late';

-- name: I1 a code was given on before it had come back
SELECT a.request_id, s.block_id, s.position, s.moved_to, s.moved_position, a.answered_at, s.returned_at
FROM code_state s JOIN (:attached) a ON a.block_id = s.moved_to AND a.position = s.moved_position
WHERE a.answered_at < s.returned_at - interval :'late';

-- name: I1 a code was given again that was never given first
SELECT a.request_id, a.block_id, a.position, a.code FROM answer a
WHERE a.again AND NOT EXISTS (
    SELECT FROM answer f WHERE f.block_id = a.block_id AND f.position = a.position AND NOT f.again AND f.code = a.code);

-- name: I1 two blocks hold the same numbers
SELECT a.id AS block, b.id AS other, a.program_id, a.version
FROM block a JOIN block b ON a.program_id = b.program_id AND a.version = b.version AND a.id < b.id
     AND int8range(a.first, a.first + a.size) && int8range(b.first, b.first + b.size);

-- name: I1 a text of a folding program is alike to another one, or was not folded
SELECT p.name AS program, c.text FROM program p JOIN code c ON c.program_id = p.id JOIN block b ON b.id = c.block_id
-- A code that returned to the pool may be a template's, which is found without being folded.
WHERE p.match = 'fold' AND (b.origin <> 'return' OR p.source ->> 'kind' <> 'template')
  AND NOT EXISTS (SELECT FROM folded_text f WHERE f.program_id = c.program_id AND f.text = c.text)
UNION ALL
SELECT p.name, f.folded FROM program p JOIN folded_text f ON f.program_id = p.id
GROUP BY p.name, f.folded HAVING count(*) > 1;

-- name: I2 a request has two answers
SELECT request_id, ordinal, array_agg(coalesce(code, 'refused')) AS answers
FROM answer GROUP BY request_id, ordinal HAVING count(*) > 1;

-- name: I2 a request was both refused and given codes, or has two profiles
SELECT request_id, array_agg(DISTINCT profile_id) AS profiles
FROM answer GROUP BY request_id
HAVING count(DISTINCT profile_id) > 1 OR count(DISTINCT (refusals IS NULL)) > 1;

-- name: I2 a request got a code although its answer may have left
SELECT a.request_id, a.program_id, a.answered_at
FROM answer a JOIN retention r ON a.request_id < r.oldest AND a.answered_at > r.moved_at
WHERE a.refusals IS NULL AND get_byte(uuid_send(a.request_id), 6) >> 4 = 7;

-- name: I3 an answer is neither a refusal, nor a preview, nor a code of a block
SELECT request_id, ordinal, program_id, block_id, position, code, preview FROM answer
WHERE CASE WHEN refusals IS NOT NULL THEN num_nonnulls(code, block_id, position) > 0
           WHEN preview THEN num_nonnulls(block_id, position) > 0 OR num_nulls(code, program_id) > 0
           ELSE num_nulls(code, program_id, block_id, position) > 0 END;

-- name: I3 a part of an answer is missing
SELECT request_id, count(*) AS parts, max(ordinal) + 1 AS expected
FROM answer GROUP BY request_id HAVING count(*) <> max(ordinal) + 1;

-- name: I3 codes were taken from a block that nobody was given
SELECT b.id AS block, b.program_id, b.next, b.holes, b.attached, b.deleted, b.returned, b.undone
FROM block b WHERE b.next + b.holes <> b.attached + b.deleted + b.returned + b.undone;

-- name: I4 a block counts other codes than it gave
SELECT b.id AS block, b.program_id, b.attached, b.archived, coalesce(a.given, 0) AS given
FROM block b LEFT JOIN (
    SELECT block_id, count(*) AS given FROM (:attached) g LEFT JOIN code_state s USING (block_id, position)
    WHERE s.deleted_at IS NULL AND s.returned_at IS NULL GROUP BY block_id
) a ON a.block_id = b.id
WHERE b.attached <> coalesce(a.given, 0) + b.archived;

-- name: I4 answers have left of a block that gives codes still, or left other than they were counted
SELECT id AS block, program_id, open, reserved_open, attached, archived, archived_until
FROM block
WHERE archived <> 0 AND archived_until IS NULL OR archived > attached OR archived_used > archived
   OR archived_until IS NOT NULL AND (
       open OR reserved_open OR next + holes < size AND (expires_at IS NULL OR expires_at > now()));

-- name: I4 a block counts other returned codes or holes than there are
SELECT b.id AS block, b.program_id, b.returned, b.holes, coalesce(s.returned, 0) AS marked_returned,
       coalesce(s.holes, 0) AS marked_holes
FROM block b LEFT JOIN (
    SELECT block_id, count(*) FILTER (WHERE returned_at IS NOT NULL) AS returned,
           count(*) FILTER (WHERE hole AND position >= next) AS holes
    FROM code_state JOIN block ON block.id = block_id GROUP BY block_id
) s ON s.block_id = b.id
WHERE b.returned <> coalesce(s.returned, 0) OR b.holes <> coalesce(s.holes, 0);

-- name: I4 a program's returned codes are not as many as its blocks of returned codes hold
SELECT program_id, sum(returned) AS returned, coalesce(sum(size) FILTER (WHERE origin = 'return'), 0) AS held
FROM block GROUP BY program_id HAVING sum(returned) <> coalesce(sum(size) FILTER (WHERE origin = 'return'), 0);

-- name: I4 a code that came back or was deleted would be given at its old place
SELECT s.block_id, s.position, b.next, s.returned_at, s.deleted_at
FROM code_state s JOIN block b ON b.id = s.block_id
WHERE s.position >= b.next AND NOT s.hole AND (s.returned_at IS NOT NULL OR s.deleted_at IS NOT NULL);

-- name: I4 a returned code is in no place of a block of its program
-- Before places of returned codes were stored, there were none.
SELECT s.block_id, s.position, s.moved_to, s.moved_position
FROM code_state s JOIN block o ON o.id = s.block_id
CROSS JOIN (SELECT applied_at + interval :'late' AS since FROM migration WHERE number = 22) m
LEFT JOIN block b ON b.id = s.moved_to AND b.program_id = o.program_id AND s.moved_position < b.size
WHERE s.moved_to IS NOT NULL AND (b.id IS NULL OR s.returned_at IS NULL)
   OR s.moved_to IS NULL AND s.returned_at > m.since;

-- name: I4 a code came back that nobody had
SELECT s.block_id, s.position, s.returned_at
FROM code_state s LEFT JOIN (:attached) a ON a.block_id = s.block_id AND a.position = s.position
-- A code of the pool that was changed left a hole.
WHERE s.returned_at IS NOT NULL AND NOT s.hole AND a.request_id IS NULL;

-- name: I4 a state is of no place of a block
SELECT s.block_id, s.position FROM code_state s LEFT JOIN block b ON b.id = s.block_id
WHERE b.id IS NULL OR s.position >= b.size;

-- name: I1 a code came back whose holder had used it, or whose order held it
SELECT s.block_id, s.position, s.activated_at, s.uses, s.returned_at
FROM code_state s WHERE s.returned_at IS NOT NULL AND (s.activated_at IS NOT NULL OR s.uses > 0
    OR s.held_until > s.returned_at);

-- name: I1 a code was given on that came back with others, and no receipt says so
SELECT a.request_id, s.block_id, s.position, s.moved_to
FROM code_state s JOIN block b ON b.id = s.moved_to AND b.size > 1
JOIN answer a ON a.block_id = s.block_id AND a.position = s.position AND NOT a.again AND a.block_id IS NOT NULL
WHERE s.returned_at IS NOT NULL AND NOT EXISTS (
    SELECT FROM send_receipt r WHERE r.request_id = a.request_id AND r.ordinal = a.ordinal
    AND 'returned' IN (r.outcome, r.ended));

-- name: I4 a receipt says that a code came back or was voided which did not
SELECT r.request_id, r.ordinal, r.outcome, r.ended
FROM send_receipt r LEFT JOIN answer a ON a.request_id = r.request_id AND a.ordinal = r.ordinal
LEFT JOIN code_state s ON s.block_id = a.block_id AND s.position = a.position
WHERE 'returned' IN (r.outcome, r.ended) AND s.returned_at IS NULL
   OR 'voided' IN (r.outcome, r.ended) AND s.deleted_at IS NULL;

-- name: I4 a receipt is of no answer, or of a code of another program
-- One of an unknown request has no program.
SELECT r.request_id, r.ordinal, r.number, r.program_id, a.program_id AS answered
FROM send_receipt r LEFT JOIN answer a ON a.request_id = r.request_id AND a.ordinal = r.ordinal
WHERE r.program_id IS NOT NULL AND a.program_id IS DISTINCT FROM r.program_id;

-- name: I4 a code waits in quarantine a day after its end, although its program's returns are not stopped
SELECT r.request_id, r.ordinal, r.program_id, r.due_at FROM send_receipt r
WHERE r.outcome = 'quarantined' AND r.ended IS NULL AND r.due_at < now() - interval '1 day'
  AND NOT EXISTS (
    SELECT FROM alert a WHERE a.program_id = r.program_id AND a.kind = 'returns-stopped'
      AND (a.cleared_at IS NULL OR a.cleared_at > now() - interval '1 day'));

-- name: I2 a receipt was answered twice, or a code came back twice
SELECT request_id, ordinal, array_agg(kind ORDER BY number) AS kinds
FROM send_receipt GROUP BY request_id, ordinal
HAVING count(*) <> count(DISTINCT kind) OR count(*) <> max(number) + 1
    OR count(*) FILTER (WHERE 'returned' IN (outcome, ended) AND reason <> 'before') > 1;

-- name: I2 a profile would get a code again that is not its own
SELECT h.program_id, h.profile_id, h.code FROM holding h
-- An expired code is given to no profile again, and its answer may have left.
WHERE (h.expires_at IS NULL OR h.expires_at > now()) AND NOT EXISTS (
    SELECT FROM answer a
    WHERE a.block_id = h.block_id AND a.position = h.position AND NOT a.again AND a.code = h.code
      AND h.profile_id IN ('', a.profile_id) AND NOT :left);

-- name: I1 a reissue is not from a deleted code to one code of the same profile
SELECT r.program_id, r.old_block_id, r.old_position, r.new_block_id, r.new_position
FROM code_reissue r
LEFT JOIN code_state s ON s.block_id = r.old_block_id AND s.position = r.old_position
LEFT JOIN (:attached) o ON o.block_id = r.old_block_id AND o.position = r.old_position
LEFT JOIN (:attached) n ON n.block_id = r.new_block_id AND n.position = r.new_position
-- A forgotten profile has two ids if its code was reissued meanwhile, until it is forgotten once more and then for ever.
WHERE s.deleted_at IS NULL OR o.profile_id IS DISTINCT FROM n.profile_id AND o.profile_id NOT LIKE 'forgotten-%'
   OR o.program_id IS DISTINCT FROM n.program_id OR n.program_id IS DISTINCT FROM r.program_id;

-- name: I1 a code was reissued twice, or replaces two
SELECT old_block_id AS block_id, old_position AS position, count(*) AS links
FROM code_reissue GROUP BY 1, 2 HAVING count(*) > 1
UNION ALL
SELECT new_block_id, new_position, count(*) FROM code_reissue GROUP BY 1, 2 HAVING count(*) > 1;

-- name: I1 a code was reissued more often in a row than its program allowed
SELECT r.program_id, r.new_block_id, r.new_position, r.number, r.reissues_max
FROM code_reissue r
LEFT JOIN code_reissue b ON b.new_block_id = r.old_block_id AND b.new_position = r.old_position
WHERE r.number > r.reissues_max OR r.number <> coalesce(b.number, 0) + 1;

-- name: I4 a block counts other deleted codes than there are
SELECT b.id AS block, b.program_id, b.deleted, coalesce(s.deleted, 0) AS marked
FROM block b LEFT JOIN (
    SELECT block_id, count(*) AS deleted FROM code_state WHERE deleted_at IS NOT NULL GROUP BY block_id
) s ON s.block_id = b.id
WHERE b.deleted <> coalesce(s.deleted, 0) + b.voided;

-- name: I4 a block voided other codes than it had in the pool
SELECT b.id AS block, b.program_id, b.voided_from, b.voided, b.size, coalesce(s.holes, 0) AS holes
FROM block b LEFT JOIN (
    SELECT block_id, count(*) AS holes FROM code_state JOIN block ON block.id = block_id
    WHERE hole AND position >= voided_from GROUP BY block_id
) s ON s.block_id = b.id
WHERE b.voided_at IS NULL AND b.voided <> 0
   OR b.voided_at IS NOT NULL AND (b.voided <> b.size - b.voided_from - coalesce(s.holes, 0) OR b.next <> b.size);

-- name: I4 a change of many codes did not end with exactly its effect
SELECT c.id, c.program_id, c.state, c.changed, c.items, coalesce(i.changed, 0) AS listed, coalesce(i.rows, 0) AS rows
FROM bulk_change c LEFT JOIN (
    SELECT change_id, sum(codes) FILTER (WHERE outcome = 'changed') AS changed, count(*) AS rows
    FROM bulk_change_item GROUP BY change_id
) i ON i.change_id = c.id
WHERE c.changed <> coalesce(i.changed, 0) OR c.items <> coalesce(i.rows, 0);

-- name: I4 codes that a change deleted are not deleted
SELECT i.change_id, i.block_id, i.position
FROM bulk_change_item i JOIN bulk_change c ON c.id = i.change_id AND c.void AND c.state IN ('running', 'stopped', 'done')
JOIN block b ON b.id = i.block_id
LEFT JOIN code_state s ON s.block_id = i.block_id AND s.position = i.position
WHERE i.outcome = 'changed' AND CASE WHEN i.position IS NULL THEN b.voided_at IS NULL ELSE s.deleted_at IS NULL END;

-- name: I4 a code was given from a block that doesn't hold it
SELECT a.request_id, a.block_id, a.position
FROM answer a LEFT JOIN block b ON b.id = a.block_id AND b.program_id = a.program_id
LEFT JOIN code_state s ON s.block_id = a.block_id AND s.position = a.position
WHERE a.block_id IS NOT NULL AND (
    b.id IS NULL OR a.position < 0 OR a.position >= b.size OR a.position >= b.next AND s.hole IS NOT true);

-- name: I4 a code was given with another text than its place has
SELECT a.request_id, a.block_id, a.position FROM answer a JOIN code c USING (block_id, position)
WHERE c.text <> a.code
UNION ALL
SELECT a.request_id, s.moved_to, s.moved_position
FROM code_state s JOIN (:attached) a ON a.block_id = s.block_id AND a.position = s.position
JOIN code c ON c.block_id = s.moved_to AND c.position = s.moved_position
WHERE c.text <> a.code;

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
    SELECT import_id, program_id, sum(size) AS size, sum(undone) AS undone FROM block GROUP BY import_id, program_id
) b ON b.import_id = i.id AND b.program_id = i.program_id
WHERE i.imported <> coalesce(b.size, 0) OR i.taken_back <> coalesce(b.undone, 0);

-- name: I4 a closed block that has not expired holds codes still
SELECT id AS block, program_id, size, next, holes
FROM block WHERE NOT open AND (expires_at IS NULL OR expires_at > now()) AND next + holes < size
    AND NOT EXISTS (SELECT FROM reservation r WHERE r.id = reservation_id AND r.ended_at IS NULL);

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

-- name: I6 a profile would get a code again after its expiry
SELECT h.program_id, h.profile_id, h.code, h.expires_at, e.expires_at AS code_expires_at
FROM holding h JOIN (:attached) a ON a.block_id = h.block_id AND a.position = h.position
LEFT JOIN code_state s ON s.block_id = h.block_id AND s.position = h.position
CROSS JOIN LATERAL (SELECT CASE WHEN s.changed THEN s.expires_at ELSE a.expires_at END AS expires_at) e
WHERE e.expires_at < coalesce(h.expires_at, 'infinity');

-- name: I6 a pooled code was given after its block's end, or with less life left than its program asks for
SELECT a.request_id, p.name AS program, a.answered_at, e.expires_at
FROM (:attached) a JOIN block b ON b.id = a.block_id JOIN program p ON p.id = a.program_id
-- Changes of many codes change a block's expiry: the first one after the answer says what it was.
LEFT JOIN LATERAL (
    SELECT old_expires_at, true AS found FROM bulk_change_item i
    WHERE i.block_id = b.id AND i.position IS NULL AND i.at > a.answered_at AND i.outcome IN ('changed', 'restored')
    ORDER BY i.at LIMIT 1
) i ON true
CROSS JOIN LATERAL (SELECT CASE WHEN i.found THEN i.old_expires_at ELSE b.expires_at END AS expires_at) e
WHERE e.expires_at <= a.answered_at OR e.expires_at IS NOT NULL AND NOT EXISTS (
    SELECT FROM :settings_of_answer
    AND (h.min_life_at_attach IS NULL OR e.expires_at >= a.answered_at + h.min_life_at_attach));

-- name: I6 a program has other settings than were noted of it last
SELECT p.name AS program FROM program p
LEFT JOIN (SELECT * FROM :settings h WHERE held_until = 'infinity') h ON h.program_id = p.id
WHERE (h.active, h.removed, h.valid_from, h.valid_until, h.shared, h.campaign_can_create, h.scenario_can_create,
       h.min_life_at_attach, h.fallback)
    IS DISTINCT FROM (p.active, p.removed_at IS NOT NULL, p.valid_from, p.valid_until, p.shared, p.campaign_can_create,
       p.scenario_can_create, p.min_life_at_attach, p.fallback);

-- name: I6 a code was given outside the program's validity period, or while it was switched off or removed
SELECT a.request_id, p.name AS program, a.answered_at
FROM answer a JOIN program p ON p.id = a.program_id
WHERE a.block_id IS NOT NULL AND NOT EXISTS (
    SELECT FROM :settings_of_answer AND h.active AND NOT h.removed
    AND (h.valid_from IS NULL OR h.valid_from <= a.answered_at)
    AND (h.valid_until IS NULL OR h.valid_until > a.answered_at));

-- name: I6 a fallback gave a code that the asked program did not list in that place, or while the asked program was closed
SELECT a.request_id, q.name AS asked, p.name AS program, a.link
FROM answer a LEFT JOIN program p ON p.id = a.program_id LEFT JOIN program q ON q.id = a.asked_program_id
WHERE (a.link IS NOT NULL OR a.asked_program_id IS NOT NULL) AND NOT EXISTS (
    SELECT FROM :settings h
    WHERE h.program_id = a.asked_program_id AND h.held_from <= a.answered_at
    AND h.held_until > a.answered_at - interval :'late'
    AND h.fallback[a.link] = p.name AND h.active AND NOT h.removed
    AND (h.valid_from IS NULL OR h.valid_from <= a.answered_at)
    AND (h.valid_until IS NULL OR h.valid_until > a.answered_at));

-- name: I6 a program falls back to one that is removed, or that not all of its access groups may use
SELECT p.name AS program, link AS fallback
FROM program p CROSS JOIN LATERAL unnest(p.fallback) AS link LEFT JOIN program f ON f.name = link
WHERE p.removed_at IS NULL AND (f.id IS NULL OR f.removed_at IS NOT NULL OR NOT p.groups <@ f.groups);

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

-- name: I9 a reserved code was given for another campaign or scenario
SELECT r.id AS reservation, r.program_id, r.source, r.source_id, t.taker
FROM reservation r CROSS JOIN LATERAL (
    SELECT unnest(r.takers) AS taker
    UNION SELECT unnest(b.reserved_takers) FROM block b WHERE b.reservation_id = r.id
) t
WHERE t.taker <> r.source || ' ' || r.source_id;

-- name: I9 a reserved block gave other codes than its reservation counts
SELECT b.id AS block, b.reservation_id, b.reserved_used, coalesce(a.given, 0) AS given
FROM block b LEFT JOIN (
    -- A claim takes positions in their order, and a code that was attached by its text left a hole: before the codes
    -- were reserved, or since, where a repair put back a lost answer from before.
    SELECT g.block_id, count(*) FILTER (WHERE s.hole IS NOT true OR g.answered_at >= o.reserved_at) AS given,
           count(*) FILTER (WHERE s.hole AND g.answered_at < o.reserved_at) AS before
    FROM (:attached) g JOIN block o ON o.id = g.block_id
    LEFT JOIN code_state s ON s.block_id = g.block_id AND s.position = g.position
    WHERE o.reservation_id IS NOT NULL AND (s.hole OR g.position >= o.reserved_first)
    GROUP BY g.block_id
) a ON a.block_id = b.id
WHERE b.reservation_id IS NOT NULL AND b.archived_until IS NULL
  AND (b.reserved_used < coalesce(a.given, 0) OR b.reserved_used > coalesce(a.given + a.before, 0));

-- name: I9 a reservation gave more codes than it had, or its campaign or scenario has two
SELECT reservation_id AS reservation, reserved_size AS size, reserved_used AS used
FROM block WHERE reservation_id IS NOT NULL AND reserved_used > coalesce(reserved_size, 0)
UNION ALL
SELECT min(id), count(*), NULL FROM reservation WHERE ended_at IS NULL
GROUP BY program_id, source, source_id HAVING count(*) > 1;

-- name: I9 an open reservation has another number of codes than its blocks
SELECT r.id AS reservation, r.program_id, r.granted, r.on_order, coalesce(b.size, 0) AS in_blocks
FROM reservation r LEFT JOIN (
    SELECT reservation_id, sum(reserved_size) AS size FROM block GROUP BY reservation_id
) b ON b.reservation_id = r.id
WHERE r.ended_at IS NULL AND r.granted <> r.on_order + coalesce(b.size, 0);

-- name: I9 a reserved block holds fewer codes than its reservation may give
SELECT id AS block, reservation_id, reserved_size, reserved_used, size, next, holes, undone
FROM block b
-- What people deleted, changed or took back is nobody's.
WHERE reservation_id IS NOT NULL AND reserved_size - reserved_used > size - next + undone + (
    SELECT count(*) FROM code_state s WHERE s.block_id = b.id AND s.hole AND s.position < b.next);

-- name: I9 a reserved block is in the pool, or open for a reservation that has ended or is of another program
SELECT b.id AS block, b.program_id, b.reservation_id, b.open, b.reserved_open
FROM block b LEFT JOIN reservation r ON r.id = b.reservation_id AND r.program_id = b.program_id
WHERE b.reservation_id IS NOT NULL AND (b.open OR r.id IS NULL OR b.reserved_open AND r.ended_at IS NOT NULL)
   OR b.reservation_id IS NULL AND b.reserved_open;

-- name: I9 a program counts other reservations than it has
SELECT p.name AS program, p.reservations, count(r.id) AS open
FROM program p LEFT JOIN reservation r ON r.program_id = p.id AND r.ended_at IS NULL
GROUP BY p.id HAVING p.reservations <> count(r.id);

-- name: I10 an order uses or holds a code more than once
SELECT block_id, position, order_id, count(*) AS times
FROM code_use WHERE ended_at IS NULL AND order_id IS NOT NULL
GROUP BY block_id, position, order_id HAVING count(*) > 1;

-- name: I10 a code is used or held by more than its program allowed
-- Each hold and use keeps the limit that held when it was taken. Whoever came before and is still there counted then.
SELECT id, block_id, position, order_id, per_code, rank
FROM (
    SELECT *, row_number() OVER (PARTITION BY block_id, position ORDER BY taken_at, id) AS rank
    FROM code_use WHERE ended_at IS NULL AND (used_at IS NOT NULL OR held_until > now())
) u WHERE rank > per_code;

-- name: I10 a code counts other uses than it has
SELECT block_id, position, s.uses, coalesce(u.uses, 0) AS recorded
FROM code_state s FULL JOIN (
    SELECT block_id, position, count(*) AS uses
    FROM code_use WHERE ended_at IS NULL AND used_at IS NOT NULL GROUP BY block_id, position
) u USING (block_id, position)
WHERE coalesce(s.uses, 0) <> coalesce(u.uses, 0);

-- name: I10 a code is held for another time than its orders hold it
SELECT block_id, position, s.held_until, u.held_until AS recorded
FROM code_state s FULL JOIN (
    SELECT block_id, position, max(held_until) AS held_until
    FROM code_use WHERE ended_at IS NULL AND used_at IS NULL AND held_until > now() GROUP BY block_id, position
) u USING (block_id, position)
WHERE (CASE WHEN s.held_until > now() THEN s.held_until END) IS DISTINCT FROM u.held_until;

-- name: I10 a code is used or held that nobody has
SELECT u.id, u.block_id, u.position, u.program_id
FROM code_use u LEFT JOIN answer a ON a.block_id = u.block_id AND a.position = u.position AND NOT a.again
     AND a.block_id IS NOT NULL AND a.program_id = u.program_id
LEFT JOIN code_state s ON s.block_id = u.block_id AND s.position = u.position
WHERE u.ended_at IS NULL AND (u.used_at IS NOT NULL OR u.held_until > now())
  AND (a.request_id IS NULL OR s.returned_at IS NOT NULL OR s.deleted_at IS NOT NULL AND u.used_at IS NULL)
UNION ALL
-- Uses from before they were recorded.
SELECT NULL, s.block_id, s.position, b.program_id
FROM code_state s JOIN block b ON b.id = s.block_id
WHERE s.activated_at IS NOT NULL
  AND NOT EXISTS (SELECT FROM (:attached) a WHERE a.block_id = s.block_id AND a.position = s.position)
  AND NOT EXISTS (SELECT FROM code_use u WHERE u.block_id = s.block_id AND u.position = s.position);

-- name: I10 an order still holds a code that it was to use or to give back
-- A code that it could not use is in its refusals. A hold that it took after its last event is its own.
SELECT u.id, u.block_id, u.position, u.order_id
FROM code_use u JOIN shop_order o USING (order_id)
JOIN answer a ON a.block_id = u.block_id AND a.position = u.position AND NOT a.again AND a.block_id IS NOT NULL
WHERE u.ended_at IS NULL AND u.used_at IS NULL AND u.held_until > now() AND u.taken_at < o.changed_at
  AND NOT o.refusals @> jsonb_build_array(jsonb_build_object('program_id', u.program_id, 'code', a.code));

-- name: I3 an alert does not have one event of its beginning, and one of its end if and only if it is cleared
-- Events are deleted after 35 days. Of alerts that were cleared before there were events, there is none.
SELECT a.id AS alert, p.name AS program, a.kind, a.raised_at, a.cleared_at, e.raised, e.cleared
FROM alert a JOIN program p ON p.id = a.program_id
CROSS JOIN (SELECT applied_at + interval :'late' AS since FROM migration WHERE number = 40) m
LEFT JOIN (
    SELECT alert_id, count(*) FILTER (WHERE type = 'raised') AS raised,
           count(*) FILTER (WHERE type = 'cleared') AS cleared
    FROM alert_event GROUP BY alert_id
) found ON found.alert_id = a.id
CROSS JOIN LATERAL (SELECT coalesce(found.raised, 0) AS raised, coalesce(found.cleared, 0) AS cleared) e
WHERE (e.raised > 1 OR e.raised = 0 AND a.raised_at > now() - interval '34 days'
       OR e.cleared > 1 OR e.cleared > 0 AND a.cleared_at IS NULL
       OR e.cleared = 0 AND a.cleared_at > now() - interval '34 days')
  AND NOT (found.alert_id IS NULL AND a.cleared_at IS NOT NULL AND a.cleared_at < m.since);

-- name: I3 an event of an alert was handed on without a delivery to a webhook that subscribes to it
-- Of webhooks with access groups, programs alone whose groups have not changed since. Events are deleted after 14 days.
SELECT e.id AS event, w.id AS webhook, e.handed_at
FROM alert_event e JOIN alert a ON a.id = e.alert_id JOIN program p ON p.id = a.program_id JOIN webhook_endpoint w
     ON w.active AND w.removed_at IS NULL AND w.subscribed_at < e.handed_at
     AND (w.groups = '{}' OR w.groups && p.groups AND NOT EXISTS (
         SELECT FROM audit_entry c WHERE c.program = p.name AND c.verb = 'program.update' AND c.at > w.subscribed_at
           AND c.details::jsonb -> 'changed' @> '"groups"'))
     AND CASE e.type WHEN 'cleared' THEN 'alert-cleared' ELSE 'alert-raised' END = ANY (w.types)
WHERE e.handed_at > now() - interval '13 days'
  AND NOT EXISTS (SELECT FROM webhook_delivery d WHERE d.event_id = e.id AND d.endpoint_id = w.id);

COMMIT;
