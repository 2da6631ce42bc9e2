-- Uploaded files whose columns are still to be chosen. Each is deleted when its import begins, or some time after it
-- came. Their pieces are moved to import_piece, so that any console can show and import a file that another one took.

CREATE TABLE upload (
    id          uuid PRIMARY KEY,
    program_id  bigint NOT NULL REFERENCES program,
    -- Who uploaded it, and may have a few of them.
    token_id    bigint NOT NULL REFERENCES token,
    file_name   text NOT NULL,
    file_bytes  bigint NOT NULL CHECK (file_bytes >= 0),
    uploaded_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX upload_token ON upload (token_id, uploaded_at);
CREATE INDEX upload_age ON upload (uploaded_at);

CREATE TABLE upload_piece (
    upload_id uuid NOT NULL REFERENCES upload ON DELETE CASCADE,
    number    integer NOT NULL CHECK (number >= 0),
    bytes     bytea NOT NULL,
    PRIMARY KEY (upload_id, number)
);
ALTER TABLE upload_piece ALTER COLUMN bytes SET STORAGE EXTERNAL;
