-- How the VMs that replicas become are to be at this site, as far as somebody here has said so. `settings` is a document.
CREATE TABLE replica_settings (
    journal_id TEXT NOT NULL PRIMARY KEY,
    settings TEXT NOT NULL
);

-- Recovery points that were made of replicas, and the record of the journal after which each shows its VM.
CREATE TABLE replica_points (
    vault_id TEXT NOT NULL,
    point_id TEXT NOT NULL,
    journal_id TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    PRIMARY KEY (vault_id, point_id)
);
