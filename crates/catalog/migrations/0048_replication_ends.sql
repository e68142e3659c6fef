-- Of a replication that is being ended: whether the replica goes as well. Null of one that is not.
ALTER TABLE replications ADD COLUMN ends_with_replica BIGINT;
-- Whether the other site may have been asked to take the VM over.
ALTER TABLE replications ADD COLUMN is_handed_over BIGINT NOT NULL DEFAULT 0;
-- How a replica's source has it replicated, as it said last. A document.
ALTER TABLE replicas ADD COLUMN source_settings TEXT;
