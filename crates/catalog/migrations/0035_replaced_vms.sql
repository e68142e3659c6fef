-- What VMs were before a failover has replaced them: a document. Their disks stay until the failover is committed.
CREATE TABLE replaced_vms (
    journal_id TEXT NOT NULL PRIMARY KEY,
    vm_id TEXT NOT NULL,
    vm TEXT NOT NULL,
    replaced_at BIGINT NOT NULL
);
