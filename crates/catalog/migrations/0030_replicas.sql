-- The journals of other sites that this one keeps, and how each stands.
CREATE TABLE replicas (
    journal_id TEXT NOT NULL PRIMARY KEY,
    peer_id TEXT NOT NULL,
    vm_id TEXT NOT NULL,
    vm_name TEXT NOT NULL,
    definition TEXT NOT NULL,
    retention_seconds BIGINT NOT NULL,
    -- Whether the operator has set the retention: then the source's wish counts no more.
    retention_is_set BIGINT NOT NULL,
    first_segment BIGINT NOT NULL,
    standing TEXT NOT NULL,
    -- The moment from which the VM of a failover was made.
    failed_over_to BIGINT,
    offered_at BIGINT NOT NULL
);

-- The tests that were made of them; those that are not cleaned up have a VM.
CREATE TABLE failover_tests (
    vm_id TEXT NOT NULL PRIMARY KEY,
    journal_id TEXT NOT NULL,
    vm_name TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    moment_at BIGINT NOT NULL,
    begun_at BIGINT NOT NULL,
    cleaned_up_at BIGINT,
    verdict TEXT
);

-- The newest generation of VMs that were failed over to this site, whatever becomes of their replicas.
CREATE TABLE fences (
    vm_id TEXT NOT NULL PRIMARY KEY,
    generation BIGINT NOT NULL,
    begun_at BIGINT NOT NULL
);
