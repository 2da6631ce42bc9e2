-- min_worker: 45
-- Logical replication, as for a major upgrade of Postgres, finds an answer again by its key: updates and deletes of a
-- published table are refused without one. It costs nothing where rows are only added.
ALTER TABLE answer REPLICA IDENTITY USING INDEX answer_once;
