-- Texts are compared by their characters' code points: so the unique index also finds the texts with a prefix.
ALTER TABLE code ALTER COLUMN text TYPE text COLLATE "C";
