-- Codes ordered from remote services: what was asked for, what came of it, and with what requests are signed.

-- Codes that were asked for and have not come. They count as if they were there: a service that answers late must
-- not bring a program past its maximum.
ALTER TABLE program ADD COLUMN on_order bigint NOT NULL DEFAULT 0 CHECK (on_order >= 0);
ALTER TABLE program
    DROP CONSTRAINT program_maximum,
    ADD CONSTRAINT program_maximum CHECK (made + imported + on_order <= codes_max);

-- A request to a remote service, stored before it is sent for the first time. All attempts carry its id.
CREATE TABLE remote_request (
    -- A UUID version 7: random, with the time in front.
    id              uuid PRIMARY KEY DEFAULT encode(set_bit(set_bit(overlay(
                        uuid_send(gen_random_uuid()) PLACING
                        substring(int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
                        FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid,
    program_id      bigint NOT NULL REFERENCES program,
    count           bigint NOT NULL CHECK (count > 0),
    -- The custom fields that go along, as they were given.
    fields          jsonb NOT NULL,
    -- Whether the pool lacked codes or a person asked for them: a person may where the switches are off.
    origin          text NOT NULL CHECK (origin IN ('pool', 'generate')),
    state           text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'done', 'given_up')),
    attempts        integer NOT NULL DEFAULT 0,
    -- How many answers came that could not be used.
    refused         integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    -- Until then a generator has it in hand; a generator that died has not, afterwards.
    leased_until    timestamptz,
    received        bigint NOT NULL DEFAULT 0,
    error           text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    finished_at     timestamptz,
    CONSTRAINT remote_request_not_exceeded CHECK (received BETWEEN 0 AND count),
    CHECK ((state = 'open') = (finished_at IS NULL)),
    CHECK (state = 'done' OR received = 0)
);

-- What is to be sent; the finished ones are not in it, however many there were.
CREATE INDEX remote_request_open ON remote_request (program_id, next_attempt_at) WHERE state = 'open';

-- Which request brought a block's codes.
ALTER TABLE block ADD COLUMN remote_request_id uuid REFERENCES remote_request;

-- How a program's remote service has behaved, for all generators together.
CREATE TABLE remote_service (
    program_id bigint PRIMARY KEY REFERENCES program,
    -- In a row, up to now.
    failures   integer NOT NULL DEFAULT 0 CHECK (failures >= 0),
    -- Nothing is sent before.
    rest_until timestamptz,
    error      text,
    error_at   timestamptz
);

-- With what requests are signed. The newest has no end; the one before ends a while after it was replaced.
CREATE TABLE remote_secret (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    program_id bigint NOT NULL REFERENCES program,
    secret     bytea NOT NULL,
    wrapped    boolean NOT NULL,
    made_at    timestamptz NOT NULL DEFAULT now(),
    ends_at    timestamptz
);

CREATE UNIQUE INDEX remote_secret_newest ON remote_secret (program_id) WHERE ends_at IS NULL;

INSERT INTO remote_service (program_id) SELECT id FROM program WHERE source->>'kind' = 'remote';
