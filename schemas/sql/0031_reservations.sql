-- Reservations: codes of a program that are set aside for one campaign or scenario, as whole blocks of their own.

CREATE TABLE reservation (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    program_id bigint NOT NULL REFERENCES program,
    source     text NOT NULL CHECK (source IN ('campaign', 'scenario')),
    source_id  text NOT NULL CHECK (source_id <> ''),
    -- How many codes were asked for, and how many of them it got or has on order: the rest is its shortfall.
    count      bigint NOT NULL CHECK (count > 0),
    granted    bigint NOT NULL CHECK (granted >= 0),
    -- Granted codes that a remote service has not brought yet.
    on_order   bigint NOT NULL DEFAULT 0 CHECK (on_order >= 0),
    until      timestamptz NOT NULL,
    send_at    timestamptz,
    partial    boolean NOT NULL,
    overflow   text NOT NULL CHECK (overflow IN ('pool', 'refuse')),
    -- Codes that its campaign got from blocks that are no longer its own, and which campaigns got them.
    used_before bigint NOT NULL DEFAULT 0 CHECK (used_before >= 0),
    takers     text[] NOT NULL DEFAULT '{}',
    -- Counts the changes of `count`, so that each of them may have its own events.
    revision   integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    ended_at   timestamptz,
    ended_by   text CHECK (ended_by IN ('release', 'until', 'program_ended', 'program_removed')),
    CHECK ((ended_at IS NULL) = (ended_by IS NULL)),
    -- It never has more codes than it was asked to have.
    CONSTRAINT reservation_granted CHECK (granted <= count AND on_order <= granted)
);

-- A campaign has one reservation in a program: what is given to it has one place to come from.
CREATE UNIQUE INDEX reservation_once ON reservation (program_id, source, source_id) WHERE ended_at IS NULL;
CREATE INDEX reservation_of_program ON reservation (program_id, id);
CREATE INDEX reservation_open ON reservation (until) WHERE ended_at IS NULL;

-- How many open reservations a program has. Claims look for them only where this is not 0.
ALTER TABLE program ADD COLUMN reservations integer NOT NULL DEFAULT 0 CHECK (reservations >= 0);

-- A reserved block is closed (`open` is false) to every statement that gives codes of the pool, also to those of
-- workers that know no reservations. It is given back with reservation_id null and `open` true.
ALTER TABLE block
    ADD COLUMN reservation_id  bigint REFERENCES reservation,
    -- When, and its `next` then: codes before it were given before.
    ADD COLUMN reserved_at     timestamptz,
    ADD COLUMN reserved_first  bigint,
    -- How many of its codes the reservation may give, from then on: all, except of a block that could not be split.
    ADD COLUMN reserved_size   bigint CHECK (reserved_size > 0),
    ADD COLUMN reserved_used   bigint NOT NULL DEFAULT 0 CHECK (reserved_used >= 0),
    -- The campaigns and scenarios that got codes of it, for the audit.
    ADD COLUMN reserved_takers text[],
    -- As `open`, for the reservation.
    ADD COLUMN reserved_open   boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT block_reserved CHECK (reservation_id IS NULL OR NOT open);
ALTER TABLE block
    ADD CONSTRAINT block_reserved_used CHECK (reserved_used <= coalesce(reserved_size, 0));

CREATE INDEX block_reserved_open ON block (program_id, reservation_id, expires_at, id) WHERE reserved_open;
CREATE INDEX block_reservation ON block (reservation_id) WHERE reservation_id IS NOT NULL;

-- A code of a reserved block is given for its reservation only. A worker that knows no reservations, and attaches such
-- a code by its text, fails here.
CREATE FUNCTION refuse_reserved_code() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'block % is reserved', OLD.id USING ERRCODE = 'check_violation', CONSTRAINT = 'block_reserved_code';
END
$$;
CREATE TRIGGER block_reserved_code BEFORE UPDATE OF attached ON block FOR EACH ROW
    WHEN (OLD.reservation_id IS NOT NULL AND NEW.reservation_id IS NOT NULL
          AND NEW.attached - OLD.attached > NEW.reserved_used - OLD.reserved_used)
    EXECUTE FUNCTION refuse_reserved_code();

-- What happened to reservations, until it is published.
CREATE TABLE reservation_event (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    reservation_id bigint NOT NULL REFERENCES reservation,
    revision       integer NOT NULL,
    state          text NOT NULL CHECK (state IN ('ready', 'nearly_used', 'used_up', 'released')),
    count          bigint NOT NULL,
    reserved       bigint NOT NULL,
    used           bigint NOT NULL,
    at             timestamptz NOT NULL DEFAULT statement_timestamp(),
    published_at   timestamptz,
    -- Each state is published once, with one event id.
    CONSTRAINT reservation_event_once UNIQUE (reservation_id, revision, state)
);
CREATE INDEX reservation_event_unpublished ON reservation_event (id) WHERE published_at IS NULL;
