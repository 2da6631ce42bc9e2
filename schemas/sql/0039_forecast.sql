-- Forecasts of when programs run out of codes.

-- What a program gave in each hour of a day of UTC, less what came back: `usage_hour` as one row a day, so that the
-- history of many programs is read fast. A generator adds each whole hour. No foreign key: it would lock rows of
-- programs.
CREATE TABLE demand_day (
    program_id bigint NOT NULL,
    day timestamptz NOT NULL,
    hours integer[] NOT NULL CHECK (cardinality(hours) = 24),
    PRIMARY KEY (program_id, day)
) WITH (fillfactor = 70);
-- To delete what is old.
CREATE INDEX demand_day_by_day ON demand_day (day);

-- Up to which hour that is done; what came later is in `usage_hour` only.
CREATE TABLE demand_done (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    until timestamptz NOT NULL
);

-- For how fast a remote service delivers: its last requests.
CREATE INDEX remote_request_done ON remote_request (program_id, finished_at) WHERE state = 'done';
