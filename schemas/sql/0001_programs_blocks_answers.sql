-- Programs, their stock of codes, and every answer ever given.
--
-- No index that a request touches has a random key: blocks are few, and answers grow at the right edge of both of
-- their indexes when request ids are time-ordered.

CREATE EXTENSION IF NOT EXISTS btree_gist;

CREATE TABLE program (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name                text NOT NULL UNIQUE CHECK (name ~ '^[A-Za-z0-9_]{1,64}$'),
    title               text NOT NULL,
    description         text NOT NULL,
    groups              text[] NOT NULL,
    active              boolean NOT NULL,
    removed_at          timestamptz,
    valid_from          timestamptz,
    valid_until         timestamptz,
    source              jsonb NOT NULL,
    scenario_can_create boolean NOT NULL,
    campaign_can_create boolean NOT NULL,
    shared              boolean NOT NULL,
    codes_max           bigint NOT NULL CHECK (codes_max > 0),
    pool_max            bigint NOT NULL CHECK (pool_max BETWEEN 1 AND codes_max),
    ttl                 interval CHECK (ttl > interval '0' AND ttl <= interval '36500 days'),
    ttl_from            text NOT NULL CHECK (ttl_from IN ('creation', 'attachment')),
    fields              jsonb NOT NULL,
    reuse               text NOT NULL CHECK (reuse IN ('request', 'profile', 'campaign', 'step')),
    allow_guessable     boolean NOT NULL,
    -- The version of the template that new codes are minted from.
    version             integer NOT NULL DEFAULT 1,
    made                bigint NOT NULL DEFAULT 0 CHECK (made >= 0),
    imported            bigint NOT NULL DEFAULT 0 CHECK (imported >= 0),
    created_at          timestamptz NOT NULL DEFAULT now(),
    CHECK (valid_from < valid_until),
    -- A program never holds more codes than its maximum, whoever fills it.
    CONSTRAINT program_maximum CHECK (made + imported <= codes_max)
);

-- One secret key for each template that a program ever had. Numbers below next_number are minted.
CREATE TABLE template_version (
    program_id  bigint NOT NULL REFERENCES program,
    version     integer NOT NULL,
    template    text NOT NULL,
    algorithm   smallint NOT NULL,
    key         bytea NOT NULL,
    key_wrapped boolean NOT NULL,
    next_number bigint NOT NULL DEFAULT 0 CHECK (next_number >= 0),
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (program_id, version)
);

-- A run of codes made together: of a template's numbers, or a list of texts. A pool is a few open blocks.
CREATE TABLE block (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    program_id bigint NOT NULL REFERENCES program,
    kind       text NOT NULL CHECK (kind IN ('range', 'list')),
    version    integer,
    first      bigint CHECK (first >= 0),
    size       bigint NOT NULL CHECK (size > 0),
    -- Positions below it have been taken or stepped over.
    next       bigint NOT NULL DEFAULT 0,
    attached   bigint NOT NULL DEFAULT 0 CHECK (attached >= 0),
    deleted    bigint NOT NULL DEFAULT 0 CHECK (deleted >= 0),
    -- Flips once, when nothing is left or its codes expired. The index of open blocks asks this and not
    -- next < size, so that taking codes is a heap-only update.
    open       boolean NOT NULL DEFAULT true,
    expires_at timestamptz,
    fields     jsonb,
    origin     text NOT NULL CHECK (origin IN ('pool', 'request', 'generate')),
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((kind = 'range') = (first IS NOT NULL)),
    CHECK ((kind = 'range') = (version IS NOT NULL)),
    -- A claim that runs past a block's end would give numbers of the next block a second time.
    CONSTRAINT block_not_overrun CHECK (0 <= next AND next <= size),
    CONSTRAINT block_conserved CHECK (attached + deleted <= size),
    -- Two blocks of the same numbers would give the same texts twice.
    CONSTRAINT block_numbers_once EXCLUDE USING gist (
        program_id WITH =, version WITH =, int8range(first, first + size) WITH &&) WHERE (kind = 'range')
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 500);

-- Soonest to expire is given first. Closed blocks are not in it, however many there were.
CREATE INDEX block_open ON block (program_id, expires_at, id) WHERE open;

-- The texts of list blocks. Its unique key is random; only what brings texts in and look-ups touch it.
CREATE TABLE code (
    block_id   bigint NOT NULL REFERENCES block,
    position   bigint NOT NULL CHECK (position >= 0),
    program_id bigint NOT NULL REFERENCES program,
    text       text NOT NULL CHECK (text <> ''),
    PRIMARY KEY (block_id, position),
    -- A text enters a program once.
    CONSTRAINT code_once UNIQUE (program_id, text)
);

-- Every answer: one row for each code given, or one row for a refusal. Append only. It has no foreign keys, as a
-- check of each row would lock the block that the same transaction holds; the audit checks them instead.
CREATE TABLE answer (
    request_id  uuid NOT NULL,
    -- The place among the request's programs; a refusal has place 0.
    ordinal     smallint NOT NULL CHECK (ordinal >= 0),
    program_id  bigint,
    block_id    bigint,
    position    bigint,
    -- A code that somebody has already, given again: the program shares its code, or reuses it for its profile.
    again       boolean NOT NULL DEFAULT false,
    preview     boolean NOT NULL DEFAULT false,
    profile_id  text NOT NULL,
    code        text,
    expires_at  timestamptz,
    fields      jsonb,
    refusals    json,
    answered_at timestamptz NOT NULL DEFAULT now(),
    -- One request gets one answer: copies of it that meet in two workers clash here, whether they attach or refuse.
    CONSTRAINT answer_once UNIQUE (request_id, ordinal),
    CHECK (CASE
        WHEN refusals IS NOT NULL THEN
            ordinal = 0 AND code IS NULL AND block_id IS NULL AND position IS NULL AND NOT again
        WHEN preview THEN
            code IS NOT NULL AND program_id IS NOT NULL AND block_id IS NULL AND position IS NULL AND NOT again
        ELSE
            code IS NOT NULL AND program_id IS NOT NULL AND block_id IS NOT NULL AND position IS NOT NULL
    END)
) WITH (autovacuum_vacuum_insert_scale_factor = 0.05);

-- No code is attached to two profiles.
CREATE UNIQUE INDEX answer_code_once ON answer (block_id, position) WHERE block_id IS NOT NULL AND NOT again;

-- The code that a profile has in a program which gives it again. A program that shares one code with everybody has
-- one row, of the empty profile. It has no foreign key either: that would make claims wait for who fills the program.
CREATE TABLE holding (
    program_id bigint NOT NULL,
    profile_id text NOT NULL,
    scope      text NOT NULL,
    block_id   bigint NOT NULL,
    position   bigint NOT NULL,
    code       text NOT NULL,
    expires_at timestamptz,
    fields     jsonb,
    CONSTRAINT holding_once PRIMARY KEY (program_id, profile_id, scope)
);

-- What happened to a code after it was made, for the few to which something did.
CREATE TABLE code_state (
    block_id     bigint NOT NULL REFERENCES block,
    position     bigint NOT NULL CHECK (position >= 0),
    activated_at timestamptz,
    deleted_at   timestamptz,
    PRIMARY KEY (block_id, position)
);
