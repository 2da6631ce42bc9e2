-- Support gives a customer another code for one that is lost, and people change many codes at once.

-- How often a code, and then the one that replaced it, may be replaced.
ALTER TABLE program ADD COLUMN reissues_max integer NOT NULL DEFAULT 1 CHECK (reissues_max BETWEEN 0 AND 100);

-- The scope `support` replaces codes, and may do nothing else.
ALTER TABLE token
    DROP CONSTRAINT token_scopes_check,
    ADD CONSTRAINT token_scopes_check
        CHECK (cardinality(scopes) > 0 AND scopes <@ '{read,write,redeem,admin,profiles,support}');

-- The code at the old place was deleted, and its profile got the one at the new place. It has no foreign keys, which
-- would lock blocks; the audit checks them instead.
CREATE TABLE code_reissue (
    program_id   bigint NOT NULL,
    old_block_id bigint NOT NULL,
    old_position bigint NOT NULL,
    new_block_id bigint NOT NULL,
    new_position bigint NOT NULL,
    -- The place in the chain from the first code, and how many places the program allowed then.
    number       integer NOT NULL CHECK (number > 0),
    reissues_max integer NOT NULL,
    reason       text NOT NULL CHECK (reason <> '' AND length(reason) <= 500),
    actor        text NOT NULL,
    at           timestamptz NOT NULL DEFAULT statement_timestamp(),
    -- A code is replaced once, and replaces one.
    CONSTRAINT code_reissue_once PRIMARY KEY (old_block_id, old_position),
    CONSTRAINT code_reissue_new_once UNIQUE (new_block_id, new_position),
    CONSTRAINT code_reissue_maximum CHECK (number <= reissues_max)
);

-- A change of many codes: all that a filter finds get another expiry, or are deleted (`void`). It is done in chunks,
-- each with its place here in the same transaction, so that any process goes on with it.
CREATE TABLE bulk_change (
    id            uuid PRIMARY KEY,
    program_id    bigint NOT NULL REFERENCES program,
    -- Running and undoing until their end, also while no process works on it.
    state         text NOT NULL DEFAULT 'running'
                  CHECK (state IN ('running', 'stopped', 'done', 'undoing', 'undone')),
    void          boolean NOT NULL,
    -- Null: no expiry, or `void`.
    expires_at    timestamptz,
    -- The filter; codes of blocks that are made later than the change are none of it.
    code_state    text CHECK (code_state IN ('pooled', 'attached', 'expired')),
    profile_id    text,
    import_id     uuid,
    expires_from  timestamptz,
    expires_until timestamptz,
    -- Up to this place all is done (`CodePlace`).
    listed        smallint NOT NULL DEFAULT 0,
    major         bigint NOT NULL DEFAULT 0,
    minor         bigint NOT NULL DEFAULT -1,
    -- By counters, when it began: codes to look at. Then those looked at, changed, and left out for which reason.
    total         bigint NOT NULL,
    done          bigint NOT NULL DEFAULT 0,
    changed       bigint NOT NULL DEFAULT 0,
    skipped       jsonb NOT NULL DEFAULT '{}',
    -- Rows of bulk_change_item; up to which of them an undo goes, and how far it is.
    items         bigint NOT NULL DEFAULT 0,
    undo_until    bigint NOT NULL DEFAULT 0,
    undo_next     bigint NOT NULL DEFAULT 0,
    restored      bigint NOT NULL DEFAULT 0,
    actor         text NOT NULL,
    started_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at      timestamptz,
    CHECK (NOT void OR expires_at IS NULL)
);
-- One at a time, so that two cannot change the same codes back and forth.
CREATE UNIQUE INDEX bulk_change_once ON bulk_change (program_id) WHERE state IN ('running', 'undoing');
CREATE INDEX bulk_change_program ON bulk_change (program_id, id);

-- What a change did: one row for all pooled codes of a block (position null), or for one code that a profile has.
CREATE TABLE bulk_change_item (
    change_id      uuid NOT NULL REFERENCES bulk_change,
    number         bigint NOT NULL,
    block_id       bigint NOT NULL,
    position       bigint,
    -- Changed, restored by an undo, or why it was left as it is.
    outcome        text NOT NULL CHECK (outcome IN ('changed', 'restored', 'activated', 'in_use', 'reserved')),
    codes          bigint NOT NULL CHECK (codes >= 0),
    -- The block's numbers then: blocks that are split off it later belong to the change too.
    size           bigint,
    old_expires_at timestamptz,
    -- Of a deleted code that its profile would have got again.
    scope          text,
    is_everybodys  boolean NOT NULL DEFAULT false,
    at             timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (change_id, number)
);
CREATE INDEX bulk_change_item_block ON bulk_change_item (block_id, position);

ALTER TABLE block
    -- All codes that were pooled were deleted at once: `voided` codes, those from position `voided_from` on that were
    -- not taken out of turn. The block is closed, so that nobody gives them.
    ADD COLUMN voided_at timestamptz,
    ADD COLUMN voided_from bigint,
    ADD COLUMN voided bigint NOT NULL DEFAULT 0 CHECK (voided >= 0),
    ADD CHECK ((voided_at IS NULL) = (voided_from IS NULL));
