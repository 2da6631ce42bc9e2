-- What people type into the console's forms of programs, until the program is made or changed.

CREATE TABLE program_draft (
    id         uuid PRIMARY KEY,
    -- The person: how they signed in, and as whom.
    kind       text NOT NULL,
    name       text NOT NULL,
    -- The program that is edited; null: a new one. `base` are its settings as the form began from them.
    program    text,
    base       text,
    -- The fields of the form, as JSON.
    form       text NOT NULL CHECK (length(form) <= 300000),
    -- The program that came of it.
    made       text,
    changed_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX program_draft_of_person ON program_draft (kind, name, changed_at);
CREATE INDEX program_draft_changed ON program_draft (changed_at);
