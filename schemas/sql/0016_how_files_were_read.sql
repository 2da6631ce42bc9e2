-- How each file was read, and why a row was not.

ALTER TABLE import
    -- All that was given or detected: columns, head, sheet, delimiter, encoding. Null before this version.
    ADD COLUMN reading jsonb,
    -- Imported codes that differ from an earlier one of the file only in case.
    ADD COLUMN case_variants bigint NOT NULL DEFAULT 0 CHECK (case_variants >= 0);
ALTER TABLE import_bad_row
    -- What is wrong with the cell, in words; empty where the reason says it.
    ADD COLUMN detail text NOT NULL DEFAULT '';

-- Ids are in the order of time, so this lists a program's imports.
CREATE INDEX import_listed ON import (program_id, id);
