-- How full each program's pool was, every ten minutes, for the chart of a program's stock over time. A generator writes
-- it at the end of a sweep, apart from its work; where several generators run, the first of ten minutes does.
CREATE TABLE pool_level (
    program_id bigint NOT NULL,
    at timestamptz NOT NULL,
    pooled bigint NOT NULL CHECK (pooled >= 0),
    PRIMARY KEY (program_id, at)
);
-- To see whether these ten minutes are written, and to delete what is old.
CREATE INDEX pool_level_by_time ON pool_level (at);
