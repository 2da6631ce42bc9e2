-- The life of a code after it was made: returned to the pool, attached by name, given another expiry or other fields.

-- Positions at or behind `next` that were taken out of turn; a claim steps over them.
ALTER TABLE block ADD COLUMN holes bigint NOT NULL DEFAULT 0 CHECK (holes >= 0);
-- Codes that went on in a block of their own. They are counted there, so that a program's codes are counted once.
ALTER TABLE block ADD COLUMN returned bigint NOT NULL DEFAULT 0 CHECK (returned >= 0);
UPDATE block SET holes = attached + deleted - next WHERE attached + deleted <> next;

ALTER TABLE block
    DROP CONSTRAINT block_not_overrun,
    ADD CONSTRAINT block_not_overrun CHECK (0 <= next AND next + holes <= size),
    DROP CONSTRAINT block_conserved,
    -- What was taken from a block is somebody's, deleted, or in another block.
    ADD CONSTRAINT block_conserved CHECK (next + holes = attached + deleted + returned),
    DROP CONSTRAINT block_origin_check,
    ADD CONSTRAINT block_origin_check CHECK (origin IN ('pool', 'request', 'generate', 'return', 'hand'));

-- Pages of a program's codes go by the numbers of its templates, which stay when a block is cut in two.
CREATE INDEX block_numbers ON block (program_id, version, first) WHERE kind = 'range';

ALTER TABLE code_state
    -- Nobody has it any more; it goes on in a block of its own.
    ADD COLUMN returned_at timestamptz,
    -- Taken out of turn.
    ADD COLUMN hole boolean NOT NULL DEFAULT false,
    -- Where true, expires_at and fields stand for those that the code was given with.
    ADD COLUMN changed boolean NOT NULL DEFAULT false,
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN fields jsonb,
    ADD CHECK (deleted_at IS NULL OR returned_at IS NULL);
UPDATE code_state SET hole = true WHERE deleted_at IS NOT NULL;

-- Which codes a profile has is asked by people, not by requests: a bloom filter for each run of pages costs the hot
-- path nothing, as it is made when the run is full.
CREATE INDEX answer_profile ON answer USING brin (profile_id text_bloom_ops (n_distinct_per_range = 4000))
    WITH (pages_per_range = 64, autosummarize = on);
