-- Programs change: what held when, whose request had codes made, and which numbers a template left out.

-- Whose request had the codes of a block made. Blocks from before this column don't say.
ALTER TABLE block ADD COLUMN source text CHECK (source IN ('campaign', 'scenario'));
ALTER TABLE block ADD CONSTRAINT block_source CHECK (source IS NULL OR origin = 'request');

-- Numbers below next_number that are in no block, as the program had their texts already: from an older template or
-- from a list.
ALTER TABLE template_version ADD COLUMN skipped bigint NOT NULL DEFAULT 0;
ALTER TABLE template_version ADD CHECK (skipped BETWEEN 0 AND next_number);

-- The settings that say when codes may be given and made, each with the moment from which it held. The audit judges
-- what happened by what held then.
CREATE TABLE program_history (
    id                  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    program_id          bigint NOT NULL REFERENCES program,
    held_from           timestamptz NOT NULL,
    active              boolean NOT NULL,
    removed             boolean NOT NULL,
    valid_from          timestamptz,
    valid_until         timestamptz,
    campaign_can_create boolean NOT NULL,
    scenario_can_create boolean NOT NULL,
    shared              boolean NOT NULL
);

CREATE INDEX program_history_by_moment ON program_history (program_id, held_from);

-- A change holds from its commit, and this runs as the last step before it, while the program's row is locked: whoever
-- makes codes had that row before, and is dated before, or gets it after, and is dated after. A claim locks no program;
-- it may have read the old settings up to the commit, a moment after the one that is noted here.
CREATE FUNCTION note_program_settings() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE'
        AND (OLD.active, OLD.removed_at IS NULL, OLD.valid_from, OLD.valid_until, OLD.campaign_can_create,
             OLD.scenario_can_create, OLD.shared)
            IS NOT DISTINCT FROM
            (NEW.active, NEW.removed_at IS NULL, NEW.valid_from, NEW.valid_until, NEW.campaign_can_create,
             NEW.scenario_can_create, NEW.shared)
    THEN
        RETURN NULL;
    END IF;
    INSERT INTO program_history (program_id, held_from, active, removed, valid_from, valid_until, campaign_can_create,
                                 scenario_can_create, shared)
    -- Nobody else sees a new program before its commit, and what its own transaction makes is made by its rules.
    VALUES (NEW.id, CASE TG_OP WHEN 'INSERT' THEN NEW.created_at ELSE clock_timestamp() END, NEW.active,
            NEW.removed_at IS NOT NULL, NEW.valid_from, NEW.valid_until, NEW.campaign_can_create,
            NEW.scenario_can_create, NEW.shared);
    RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER program_settings_noted
    AFTER INSERT OR UPDATE OF active, removed_at, valid_from, valid_until, campaign_can_create, scenario_can_create,
                              shared
    ON program DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note_program_settings();

-- Until now no setting could be changed.
INSERT INTO program_history (program_id, held_from, active, removed, valid_from, valid_until, campaign_can_create,
                             scenario_can_create, shared)
SELECT id, created_at, active, removed_at IS NOT NULL, valid_from, valid_until, campaign_can_create,
       scenario_can_create, shared
FROM program ORDER BY id;
