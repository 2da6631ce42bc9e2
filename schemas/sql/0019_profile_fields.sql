-- Which fields profiles have, so that a misspelt one is refused without a look at every profile.

CREATE TABLE profile_field (name text PRIMARY KEY CHECK (name <> ''));
INSERT INTO profile_field SELECT DISTINCT name FROM profile, jsonb_object_keys(fields) AS k (name);
