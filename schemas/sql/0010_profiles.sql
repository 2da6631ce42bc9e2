-- What is known of customers beside their id: fields that an export may show.

CREATE TABLE profile (
    profile_id text PRIMARY KEY CHECK (profile_id <> ''),
    fields     jsonb NOT NULL CHECK (jsonb_typeof(fields) = 'object'),
    changed_at timestamptz NOT NULL DEFAULT now()
);
