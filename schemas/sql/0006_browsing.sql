-- Deleted codes are few, and a block may have very many that are activated.
CREATE INDEX code_state_deleted ON code_state (block_id, position) WHERE deleted_at IS NOT NULL;
