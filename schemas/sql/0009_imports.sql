-- Codes from files, and how far each file has been read.

CREATE TABLE import (
    id          uuid PRIMARY KEY,
    program_id  bigint NOT NULL REFERENCES program,
    -- Running until its end, also while no process works on it. Stopped: the program's rules forbid it now. Both go on
    -- when the same file is given again. Refused: the file can't be read, and what it had brought in is taken back.
    state       text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'stopped', 'done', 'refused', 'undone')),
    file_name   text NOT NULL,
    file_bytes  bigint NOT NULL CHECK (file_bytes >= 0),
    file_sha256 bytea NOT NULL CHECK (octet_length(file_sha256) = 32),
    options     jsonb NOT NULL,
    -- Its file is in import_piece, and a console brings it in.
    uploaded    boolean NOT NULL,
    -- Up to here, counted with the head, rows are in the program or in import_bad_row.
    rows_read   bigint NOT NULL DEFAULT 0 CHECK (rows_read >= 0),
    imported    bigint NOT NULL DEFAULT 0 CHECK (imported >= 0),
    -- Those of them that were attached at once.
    attached    bigint NOT NULL DEFAULT 0 CHECK (attached BETWEEN 0 AND imported),
    taken_back  bigint NOT NULL DEFAULT 0 CHECK (taken_back BETWEEN 0 AND imported - attached),
    -- How many rows were bad for which reason.
    bad         jsonb NOT NULL DEFAULT '{}',
    error       text,
    started_at  timestamptz NOT NULL DEFAULT now(),
    ended_at    timestamptz
);

-- The same file with the same options goes on where it stopped; it is never brought in twice side by side.
CREATE UNIQUE INDEX import_once ON import (program_id, file_sha256, options) WHERE state IN ('running', 'stopped');
-- What consoles have to do.
CREATE INDEX import_uploaded ON import (started_at) WHERE uploaded AND state = 'running';

CREATE TABLE import_bad_row (
    import_id  uuid NOT NULL REFERENCES import,
    row_number bigint NOT NULL CHECK (row_number > 0),
    -- Cut, and without what Postgres can't store.
    text       text NOT NULL,
    reason     text NOT NULL,
    PRIMARY KEY (import_id, row_number)
);

-- An uploaded file until it is brought in.
CREATE TABLE import_piece (
    import_id uuid NOT NULL REFERENCES import,
    number    integer NOT NULL CHECK (number >= 0),
    bytes     bytea NOT NULL,
    PRIMARY KEY (import_id, number)
);
ALTER TABLE import_piece ALTER COLUMN bytes SET STORAGE EXTERNAL;

ALTER TABLE block
    -- The import that brought its codes in.
    ADD COLUMN import_id uuid REFERENCES import,
    ADD CONSTRAINT block_import CHECK (import_id IS NULL OR origin = 'import'),
    -- Codes that an undone import took back. Nobody had them, and the program holds them no more.
    ADD COLUMN undone bigint NOT NULL DEFAULT 0 CHECK (undone >= 0),
    DROP CONSTRAINT block_conserved,
    ADD CONSTRAINT block_conserved CHECK (next + holes = attached + deleted + returned + undone);
CREATE INDEX block_import ON block (import_id) WHERE import_id IS NOT NULL;

-- Two foreign keys took more than half of the time of a COPY. The audit checks them instead.
ALTER TABLE code DROP CONSTRAINT code_block_id_fkey, DROP CONSTRAINT code_program_id_fkey;
