-- A code that is returned, or changed in the pool, moves to a block of its own. Its history follows the moves.
ALTER TABLE code_state
    -- Block that the code moved to, at position 0. Null also for codes that moved before this migration.
    ADD COLUMN moved_to bigint REFERENCES block (id),
    -- Activations that were undone, as pairs of times: activated, deactivated. The oldest are dropped.
    ADD COLUMN undone_activations timestamptz[];

CREATE UNIQUE INDEX code_state_moved_to ON code_state (moved_to) WHERE moved_to IS NOT NULL;

-- Entries about one code, of the program whose code it is.
CREATE INDEX audit_entry_code ON audit_entry (program, (details ->> 'place')) WHERE details ->> 'place' IS NOT NULL;
