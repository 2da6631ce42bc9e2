-- Codes that come from files and from remote services.

ALTER TABLE program ADD COLUMN auto_link boolean NOT NULL DEFAULT false;

ALTER TABLE block
    DROP CONSTRAINT block_origin_check,
    ADD CONSTRAINT block_origin_check CHECK (
        origin IN ('pool', 'request', 'generate', 'return', 'hand', 'import', 'remote'));
