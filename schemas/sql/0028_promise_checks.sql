-- Checks of the promises that people asked a console for. Rows that break a rule are counted and not stored, as they
-- name profiles; `codewell audit` lists them.
CREATE TABLE promise_check (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    actor text NOT NULL,
    rules integer NOT NULL CHECK (rules > 0),
    started_at timestamptz NOT NULL DEFAULT now(),
    rules_done integer NOT NULL DEFAULT 0,
    ended_at timestamptz,
    -- Why it could not be done; null: it was done.
    error text,
    -- The broken rules: promise, says, count.
    findings jsonb NOT NULL DEFAULT '[]'
);
