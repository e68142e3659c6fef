-- Which VM follows which policy with its backups or its snapshots, and the last run. Backups follow as long as the VM is
-- protected: `protected_vm_id` is the VM's id there, and nothing where it is snapshots that follow.
CREATE TABLE policy_followers (
    vm_id TEXT NOT NULL REFERENCES vms (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    protected_vm_id TEXT REFERENCES protections (vm_id) ON DELETE CASCADE,
    policy TEXT NOT NULL REFERENCES policies (name),
    joined_at BIGINT NOT NULL,
    consistency TEXT,
    last_run_at BIGINT,
    last_job TEXT,
    skipped TEXT,
    PRIMARY KEY (vm_id, kind)
);

INSERT INTO policy_followers (vm_id, kind, protected_vm_id, policy, joined_at, last_run_at, last_job, skipped)
SELECT vm_id, 'backup', vm_id, policy, joined_at, last_run_at, last_job, skipped FROM policy_members;

DROP TABLE policy_members;
