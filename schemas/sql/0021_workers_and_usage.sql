-- What the workers say of themselves, and what programs gave. Each worker writes both every 5 s on a connection of its
-- own, never in a transaction that decides requests. A worker that is killed loses the figures of its last 5 s.

-- A row for each running process; generators remove those of processes that are gone.
CREATE TABLE worker (
    id uuid PRIMARY KEY,
    service text NOT NULL CHECK (service IN ('issuer', 'generator', 'console')),
    host text NOT NULL,
    pid integer NOT NULL,
    version text NOT NULL,
    started_at timestamptz NOT NULL,
    -- The number of its last report. One that is sent again, because its outcome was unknown, counts once.
    report bigint NOT NULL,
    seen_at timestamptz NOT NULL,
    state text NOT NULL CHECK (state IN ('running', 'stopping', 'stopped')),
    -- Server -> why it waits for it; {} is ready.
    waiting_for jsonb NOT NULL,
    -- Rates, latencies and lag since its last report, by name.
    counters jsonb NOT NULL
) WITH (fillfactor = 50);

-- How many codes a program attached, gave again, got back and had activated, and whom it refused, in one minute of UTC.
-- `outcome` is attached, reused, returned, activated, or a reason of a refusal. No foreign key: it would lock rows of
-- programs.
CREATE TABLE usage_minute (
    program_id bigint NOT NULL,
    minute timestamptz NOT NULL,
    source text NOT NULL CHECK (source IN ('campaign', 'scenario', 'person')),
    outcome text NOT NULL CHECK (outcome ~ '^[a-z_]+$'),
    number bigint NOT NULL CHECK (number > 0),
    PRIMARY KEY (program_id, minute, source, outcome)
) WITH (fillfactor = 80);
-- For the figures of all programs in the last hour, and to delete what is old.
CREATE INDEX usage_minute_by_time ON usage_minute (minute);

-- The same by hour, kept for longer.
CREATE TABLE usage_hour (
    program_id bigint NOT NULL,
    hour timestamptz NOT NULL,
    source text NOT NULL CHECK (source IN ('campaign', 'scenario', 'person')),
    outcome text NOT NULL CHECK (outcome ~ '^[a-z_]+$'),
    number bigint NOT NULL CHECK (number > 0),
    PRIMARY KEY (program_id, hour, source, outcome)
) WITH (fillfactor = 80);
CREATE INDEX usage_hour_by_time ON usage_hour (hour);
