-- Uses of codes and holds by orders: who redeemed a code, how often, and which order keeps it from others for a while.

ALTER TABLE program
    -- How often a code may be used, {"per_code", "per_profile"}, each a number or null (no limit). Null: the default.
    ADD COLUMN uses jsonb,
    -- Whether only a profile that has the code may use it.
    ADD COLUMN holder_only boolean NOT NULL DEFAULT false,
    -- What a refunded order does with its uses.
    ADD COLUMN refund text NOT NULL DEFAULT 'give_back' CHECK (refund IN ('give_back', 'keep_used'));

-- `activated_at` is set once a code is used up. Consoles before this migration set it without a row in code_use.
ALTER TABLE code_state
    -- Uses that were not taken back.
    ADD COLUMN uses integer NOT NULL DEFAULT 0 CHECK (uses >= 0),
    -- When the last hold of the code ends; in the past or null: nobody holds it.
    ADD COLUMN held_until timestamptz;

-- One row for each hold or use. A hold becomes a use in place; whoever writes here has locked the code's code_state.
-- It has no foreign keys, as the audit checks them.
CREATE TABLE code_use (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    program_id bigint NOT NULL,
    block_id   bigint NOT NULL,
    position   bigint NOT NULL,
    order_id   text CHECK (order_id <> ''),
    profile_id text CHECK (profile_id <> ''),
    context    text,
    -- How many may hold or use the code, as the program said at `taken_at`; null: no limit.
    per_code   integer,
    -- Since when it counts: the start of the hold, or the use without one.
    taken_at   timestamptz NOT NULL,
    held_until timestamptz,
    used_at    timestamptz,
    -- Released, or taken back: by a call for the code, or by an event of the order.
    ended_at   timestamptz,
    ended_by   text CHECK (ended_by IN ('call', 'order')),
    CHECK (used_at IS NOT NULL OR held_until IS NOT NULL AND order_id IS NOT NULL),
    CHECK ((ended_at IS NULL) = (ended_by IS NULL))
);
-- An order holds or uses a code once.
CREATE UNIQUE INDEX code_use_order_once ON code_use (block_id, position, order_id)
    WHERE ended_at IS NULL AND order_id IS NOT NULL;
CREATE INDEX code_use_code ON code_use (block_id, position, profile_id);
CREATE INDEX code_use_holds ON code_use (block_id, position, held_until) WHERE used_at IS NULL AND ended_at IS NULL;
CREATE INDEX code_use_order ON code_use (order_id) WHERE order_id IS NOT NULL;
-- To forget a profile, which nobody waits for.
CREATE INDEX code_use_profile ON code_use USING brin (profile_id text_bloom_ops (n_distinct_per_range = 4000))
    WITH (pages_per_range = 64, autosummarize = on);
-- A limit that is lowered finds the codes that are used up by it.
CREATE INDEX code_state_part_used ON code_state (block_id) WHERE uses > 0 AND activated_at IS NULL;

-- What the shop said about orders that hold or used codes. Events may come twice and out of order: the latest time of
-- each kind is kept. An event without a time is -infinity (paid) or infinity (cancelled, refunded).
CREATE TABLE shop_order (
    order_id     text PRIMARY KEY CHECK (order_id <> ''),
    paid_at      timestamptz,
    cancelled_at timestamptz,
    refunded_at  timestamptz,
    -- Codes that a paid order did not get, and why: [{"program_id", "code", "reason", "detail"}].
    refusals     jsonb NOT NULL DEFAULT '[]',
    changed_at   timestamptz NOT NULL DEFAULT now()
);

-- In programs whose profiles share a code, one customer's activation was the code's. By the default from now on, each
-- profile uses the code once: such an activation becomes the use of one customer, who is not known.
WITH used AS (
    SELECT s.block_id, s.position, s.activated_at, b.program_id
    FROM code_state s JOIN block b ON b.id = s.block_id JOIN program p ON p.id = b.program_id
    WHERE p.shared AND s.activated_at IS NOT NULL AND s.deleted_at IS NULL AND s.returned_at IS NULL
), opened AS (
    UPDATE code_state s SET activated_at = NULL, uses = 1 FROM used u
    WHERE s.block_id = u.block_id AND s.position = u.position
)
INSERT INTO code_use (program_id, block_id, position, taken_at, used_at)
SELECT program_id, block_id, position, activated_at, activated_at FROM used;
