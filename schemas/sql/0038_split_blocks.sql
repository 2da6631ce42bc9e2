-- A list block whose last codes moved to a block of their own, for a reservation: which one it was split off, so that
-- the undo of a change of many codes finds all parts of a block that it changed. Blocks of numbers need no record.

ALTER TABLE block
    -- The block that held the codes first, and the position there of this one's first code. Null: split off no other.
    ADD COLUMN split_from  bigint,
    ADD COLUMN split_first bigint CHECK (split_first > 0),
    ADD CONSTRAINT block_split CHECK ((split_from IS NULL) = (split_first IS NULL));

CREATE INDEX block_split_from ON block (split_from) WHERE split_from IS NOT NULL;
