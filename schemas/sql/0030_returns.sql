-- Codes of failed sends come back: what senders report about their messages, and what became of the codes.

ALTER TABLE program
    -- What becomes of a code that somebody may have seen, once its quarantine is over.
    ADD COLUMN returns text NOT NULL DEFAULT 'reuse' CHECK (returns IN ('reuse', 'void', 'keep')),
    -- How long such a code waits.
    ADD COLUMN return_after interval NOT NULL DEFAULT '3 days'
        CHECK (return_after > interval '0' AND return_after <= interval '36500 days');

-- Codes that come back together share a block.
ALTER TABLE code_state ADD COLUMN moved_position bigint NOT NULL DEFAULT 0 CHECK (moved_position >= 0);
DROP INDEX code_state_moved_to;
CREATE UNIQUE INDEX code_state_moved_to ON code_state (moved_to, moved_position) WHERE moved_to IS NOT NULL;

-- Which answers gave a code again: it comes back only when nobody has it. Only programs that reuse codes have any.
CREATE INDEX IF NOT EXISTS answer_again ON answer (block_id, position) WHERE again;

-- Each receipt about a code of a request, with what was decided: a copy of the receipt gets the same answer. No foreign
-- keys, for the reasons of `answer`.
CREATE TABLE send_receipt (
    request_id   uuid NOT NULL,
    ordinal      smallint NOT NULL CHECK (ordinal >= 0),
    -- The place among the receipts about this code: two that are decided at once clash here.
    number       smallint NOT NULL CHECK (number >= 0),
    kind         text NOT NULL CHECK (
        kind IN ('before_handoff', 'not_permanent', 'permanent', 'delivered', 'opened', 'clicked')),
    -- Null where the request stayed unknown.
    program_id   bigint,
    outcome      text NOT NULL CHECK (outcome IN ('returned', 'quarantined', 'voided', 'kept')),
    reason       text NOT NULL CHECK (reason <> ''),
    due_at       timestamptz,
    decided_at   timestamptz NOT NULL,
    -- How the quarantine ended.
    ended        text CHECK (ended IN ('returned', 'voided', 'kept')),
    ended_reason text,
    ended_at     timestamptz,
    CONSTRAINT send_receipt_once PRIMARY KEY (request_id, ordinal, number),
    CHECK ((outcome = 'quarantined') = (due_at IS NOT NULL)),
    CHECK ((ended IS NULL) = (ended_at IS NULL) AND (ended IS NULL) = (ended_reason IS NULL)),
    CHECK (ended IS NULL OR outcome = 'quarantined')
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05);

CREATE INDEX send_receipt_due ON send_receipt (due_at) WHERE outcome = 'quarantined' AND ended IS NULL;

-- How many codes of a program came back or went into quarantine, by the minute in which they were attached.
CREATE TABLE return_minute (
    program_id bigint NOT NULL,
    minute     timestamptz NOT NULL,
    number     bigint NOT NULL CHECK (number > 0),
    PRIMARY KEY (program_id, minute)
) WITH (fillfactor = 80);
