-- min_worker: 45
-- How long after a code's expiry its answer stays in the database; null: as long as the generators' setting says.
ALTER TABLE program ADD COLUMN retention interval;
