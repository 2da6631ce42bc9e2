-- Deleted codes are few, and a block may have very many that are activated.
CREATE INDEX code_state_deleted ON code_state (block_id, position) WHERE deleted_at IS NOT NULL;

-- Set while the program comes by texts that consoles may still remember as none of its own: by whoever does that.
ALTER TABLE program ADD COLUMN changing uuid;
