-- What a person has to know about a program, until somebody clears it.
CREATE TABLE alert (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    program_id bigint NOT NULL REFERENCES program,
    kind       text NOT NULL CHECK (kind <> ''),
    -- What it is about within the program, such as a request; '' where the kind says all.
    key        text NOT NULL DEFAULT '',
    raised_at  timestamptz NOT NULL DEFAULT now(),
    -- The last of `count` times that it was raised.
    last_at    timestamptz NOT NULL DEFAULT now(),
    count      bigint NOT NULL DEFAULT 1 CHECK (count > 0),
    details    jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(details) = 'object'),
    cleared_at timestamptz,
    cleared_by text,
    CHECK ((cleared_at IS NULL) = (cleared_by IS NULL))
);

-- Raised again while it is open, an alert is counted and not repeated. Few are open.
CREATE UNIQUE INDEX alert_open_once ON alert (program_id, kind, key) WHERE cleared_at IS NULL;
CREATE INDEX alert_of_program ON alert (program_id, id);
