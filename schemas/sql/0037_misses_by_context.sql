-- Look-ups of unknown codes are counted by the caller's context too, so that one who guesses through a till stops
-- neither its other customers nor its own calls. token_miss counts all of them.

-- At most as many rows for a token as unknown codes were asked for in a minute: consoles delete older ones when they
-- count new ones.
CREATE TABLE context_miss (
    token_id bigint NOT NULL REFERENCES token ON DELETE CASCADE,
    -- SHA-256 of what the caller said; empty for calls that said nothing.
    context  bytea NOT NULL CHECK (octet_length(context) IN (0, 32)),
    since    timestamptz NOT NULL,
    misses   integer NOT NULL CHECK (misses > 0),
    PRIMARY KEY (token_id, context)
) WITH (fillfactor = 50);

CREATE INDEX context_miss_by_age ON context_miss (since);
