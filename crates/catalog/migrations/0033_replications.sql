-- VMs that are replicated to other sites. `trusted_epoch` is the newest epoch of change tracking before which the journal
-- durably lacks nothing; `fenced` says why the replication must not go on; `durable_at` is the moment of the newest
-- checkpoint that the other site durably has; `rpo_history` is a document.
CREATE TABLE replications (
    vm_id TEXT NOT NULL PRIMARY KEY REFERENCES vms (id),
    journal_id TEXT NOT NULL UNIQUE,
    peer_id TEXT NOT NULL,
    peer_name TEXT NOT NULL,
    generation BIGINT NOT NULL,
    retention_hours BIGINT NOT NULL,
    application_every_seconds BIGINT,
    rate_limit_bytes BIGINT,
    rate_windows TEXT NOT NULL,
    journal_size_bytes BIGINT NOT NULL,
    is_paused SMALLINT NOT NULL,
    trusted_epoch BIGINT,
    fenced TEXT,
    durable_at BIGINT,
    rpo_history TEXT,
    created_at BIGINT NOT NULL
);
